//! What is in flight is bounded, in records and in bytes.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::task::JoinSet;

use super::client::place;
use super::{Admin, LIMIT};
use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::Installation;
use crate::harness::{self, eventually};

const RECORDS: usize = 50;
const BYTES: usize = 10_000;
/// Clients at one time.
const CLIENTS: usize = 64;
const REFUSED: usize = 1_000;
/// More memory than this is not needed for orders that are refused.
const GROWTH: u64 = 24 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn orders_beyond_what_may_be_in_flight_are_refused_while_the_broker_stands_still() {
    let Some(parts) = harness::own_parts().await else { return };
    let _alone = harness::heavy().await;
    let mut installation = Installation::new(parts, "bounds").await;
    // Those that are in flight wait for the broker.
    installation.set("producer.delivery_timeout_ms=120000".to_owned());
    installation.set("gateway.request_timeout_ms=200000".to_owned());
    installation.set(format!("producer.max_in_flight_records={RECORDS}"));
    for max_bytes in [1 << 20, BYTES] {
        installation.set(format!("producer.max_in_flight_bytes={max_bytes}"));
        let (mut process, gateway) = installation.start_gateway().await;
        let admin = Admin::of(&mut process).await;
        let gateway = Arc::new(gateway);
        assert!(place(&gateway, &order("before")).await.placed().is_some());

        parts.kafka.pause();
        let mut waiting = JoinSet::new();
        for n in 0..2 * RECORDS {
            let gateway = gateway.clone();
            let input = order(&format!("waiting-{n}-{max_bytes}"));
            waiting.spawn(async move { place(&gateway, &input).await });
        }
        // From the first that is refused on there is no room: nothing is answered by the broker.
        let overloaded = "comanda_gateway_placements_total{outcome=\"OVERLOADED\"}";
        let full = async || (admin.metric(overloaded).await > 0.0).then_some(());
        eventually("there is no room", LIMIT, full).await;
        all_refused(&gateway).await;
        let before = process.memory();
        all_refused(&gateway).await;
        let after = process.memory();
        assert!(after < before + GROWTH, "from {before} to {after} bytes");
        let in_flight = admin.metric("comanda_producer_in_flight_records").await;
        let bytes = admin.metric("comanda_producer_in_flight_bytes").await;
        assert!(0.0 < in_flight && in_flight <= RECORDS as f64, "{in_flight} records");
        assert!(0.0 < bytes && bytes <= max_bytes as f64, "{bytes} bytes");
        parts.kafka.unpause();

        let answers = tokio::time::timeout(LIMIT, waiting.join_all()).await.unwrap();
        let placed = answers.iter().filter(|answer| answer.placed().is_some()).count();
        assert_eq!(placed as f64, in_flight, "what was in flight is stored");
        admin.metric_is("comanda_producer_in_flight_bytes", 0.0).await;
        assert!(place(&gateway, &order("after")).await.placed().is_some());
    }
}

async fn all_refused(gateway: &Gateway) {
    let refused = async |n: usize| {
        // Keys of their own: others of the same one would wait for the first.
        let key = format!("refused-{n}-{}", uuid::Uuid::new_v4());
        place(gateway, &order(&key)).await.is_failure("OVERLOADED")
    };
    let sent = stream::iter(0..REFUSED).map(refused).buffer_unordered(CLIENTS);
    let refused = sent.filter(|refused| std::future::ready(*refused)).count().await;
    assert_eq!(refused, REFUSED);
}
