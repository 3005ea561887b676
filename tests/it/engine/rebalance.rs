//! Partitions that come and go.

use std::time::Duration;

use comanda_schemas::PaymentEvent;

use super::{Running, Script, place, results};
use crate::harness::installation::Installation;
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
