//! Partitions that come and go.

use std::time::Duration;

use comanda_processors::engine;
use comanda_schemas::PaymentEvent;

use super::faults::proxied;
use super::{LIMIT, Running, Script, options, place, results};
use crate::harness::installation::Installation;
use crate::harness::proxy::{Fault, PRODUCE};
use crate::harness::{self, eventually};

/// librdkafka keeps a partition's pause while it belongs to somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back() {
    let Some(parts) = harness::real_parts().await else { return };
    let installation = Installation::new(parts, "pause").await;
    let (gate, script) = Script::gated();
    place(&installation, 300).await;
    let first = Running::start(&installation, &script).await;
    let limit = Duration::from_secs(30);
    let paused = async || first.handle.is_paused().then_some(());
    eventually("the first is full and pauses", limit, paused).await;
    let second = Running::start(&installation, &script).await;
    let full = async || second.handle.is_paused().then_some(());
    eventually("the second got partitions and is full", limit, full).await;
    gate.send_replace(true);
    results(&installation, 300).await;
    second.stop().await;
    place(&installation, 60).await;
    results(&installation, 360).await;
    first.stop().await;
}

/// What was finished when the partitions went is committed first, so nobody handles it again.
#[tokio::test(flavor = "multi_thread")]
async fn growing_and_shrinking_under_load_repeats_nothing() {
    const ORDERS: usize = 2_000;
    let Some(parts) = harness::real_parts().await else { return };
    let installation = Installation::new(parts, "grow").await;
    let (gate, script) = Script::gated();
    gate.send_replace(true);
    let first = Running::start(&installation, &script).await;
    let joined = async || first.handle.is_ready().then_some(());
    eventually("the first joins", Duration::from_secs(30), joined).await;
    let mut others = Vec::new();
    for n in 0..4 {
        place(&installation, ORDERS / 4).await;
        if n % 2 == 0 {
            let other = Running::start(&installation, &script).await;
            let joined = async || other.handle.is_ready().then_some(());
            eventually("another one joins", Duration::from_secs(30), joined).await;
            others.push(other);
        } else if let Some(other) = others.pop() {
            other.stop().await;
        }
    }
    results(&installation, ORDERS).await;
    first.stop().await;
    assert_eq!(script.calls(), ORDERS, "calls");
    assert_eq!(installation.events::<PaymentEvent>().await.len(), ORDERS);
}

/// The broker checks who is a member, not whose the partition is: a batch that was taken before the
/// partition went must not pass for one of the generation after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_outlives_its_partition_is_not_committed() {
    // A crowd, which is collected for a moment, so that the batch has some of each partition.
    const ORDERS: usize = 200;
    let Some((installation, proxy, kafka)) = proxied("late", PRODUCE).await else { return };
    let (gate, script) = Script::gated();
    let patient = engine::Options {
        max_in_flight_records: ORDERS,
        transaction_timeout_ms: 40_000,
        ..options()
    };
    let first = Running::start_with(&installation, &script, patient, kafka).await;
    place(&installation, ORDERS).await;
    let begun = async || (script.calls() == ORDERS).then_some(());
    eventually("all calls are under way", LIMIT, begun).await;
    proxy.set(Fault::HoldResponses);
    gate.send_replace(true);
    let struck = async || (proxy.struck() > 0).then_some(());
    eventually("the batch waits for its deliveries", LIMIT, struck).await;
    let second = Running::start(&installation, &script).await;
    let handled = async || {
        let results = installation.events::<PaymentEvent>().await;
        (!results.is_empty()).then_some(())
    };
    eventually("the second one handles what the first gave up", LIMIT, handled).await;
    proxy.set(Fault::None);
    results(&installation, ORDERS).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(installation.events::<PaymentEvent>().await.len(), ORDERS, "doubled");
}
