//! Transactions that fail on a real broker. Whatever happens, each record has one result, and no
//! call is made twice where the partition stayed.

use std::time::Duration;

use comanda_processors::engine;
use comanda_schemas::{KafkaOptions, Stage};
use rdkafka::producer::{FutureProducer, Producer as _};

use super::{LIMIT, Running, Script, options, place, results};
use crate::harness::installation::Installation;
use crate::harness::kafka;
use crate::harness::proxy::{END_TXN, Fault, Proxy};
use crate::harness::{self, eventually};

const ORDERS: usize = 100;
/// The least that lets a transaction time out soon.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(3);

fn short_transactions() -> engine::Options {
    let timeout = TRANSACTION_TIMEOUT.as_millis() as u64;
    engine::Options { transaction_timeout_ms: timeout, ..options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_id_was_taken_stops_and_its_successor_goes_on() {
    let Some(parts) = harness::real_parts().await else { return };
    let installation = Installation::new(parts, "hijack").await;
    let (gate, script) = Script::gated();
    gate.send_replace(true);
    let options = options();
    let kafka = parts.kafka.options();
    let first = Running::start_with(&installation, &script, options.clone(), kafka.clone()).await;
    place(&installation, ORDERS).await;
    results(&installation, ORDERS).await;

    let id = format!("{}-{}", installation.names.group(Stage::Payment), options.instance);
    let mut config = kafka.client_config("it-hijack");
    let hijacker: FutureProducer = config.set("transactional.id", &id).create().unwrap();
    tokio::task::block_in_place(|| hijacker.init_transactions(LIMIT)).unwrap();
    place(&installation, ORDERS).await;
    let error = first.fails().await;
    assert!(
        matches!(&error, engine::Error::Fenced { transactional_id } if *transactional_id == id)
    );

    let second = Running::start_with(&installation, &script, options, kafka).await;
    results(&installation, 2 * ORDERS).await;
    second.stop().await;
}

/// A broker of its own, and how to reach it through a proxy for one kind of request.
pub(super) async fn proxied(
    name: &str,
    request: i16,
) -> Option<(Installation, Proxy, KafkaOptions)> {
    let parts = harness::own_parts().await?;
    let installation = Installation::new(parts, name).await;
    let side = parts.kafka.side();
    let proxy = Proxy::start(side, request).await.unwrap();
    let kafka = kafka::options(&format!("127.0.0.1:{}", side[1]));
    Some((installation, proxy, kafka))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_transaction_whose_answer_is_held_cut_or_late_leaves_one_result() {
    let Some((installation, proxy, kafka)) = proxied("endtxn", END_TXN).await else { return };
    let (gate, script) = Script::gated();
    gate.send_replace(true);
    let engine = Running::start_with(&installation, &script, short_transactions(), kafka).await;
    place(&installation, ORDERS).await;
    results(&installation, ORDERS).await;
    let mut placed = ORDERS;
    let outlasted = TRANSACTION_TIMEOUT * 2;
    for (fault, lasts) in [
        (Fault::CutResponses, Duration::ZERO),
        (Fault::HoldResponses, Duration::ZERO),
        // The broker has committed, and nobody tells.
        (Fault::HoldResponses, outlasted),
        // The broker gives the transaction up meanwhile: what comes then comes from a stranger.
        (Fault::HoldRequests, outlasted),
    ] {
        let before = proxy.struck();
        proxy.set(fault);
        place(&installation, ORDERS).await;
        placed += ORDERS;
        let struck = async || (proxy.struck() > before).then_some(());
        eventually(&format!("{fault:?} strikes"), LIMIT, struck).await;
        // The fault is the time that passes; there is nothing else to wait for.
        tokio::time::sleep(lasts).await;
        proxy.set(Fault::None);
        results(&installation, placed).await;
    }
    engine.stop().await;
    assert_eq!(script.calls(), placed, "calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_killed_is_waited_for_and_no_call_is_repeated() {
    let Some(parts) = harness::own_parts().await else { return };
    let installation = Installation::new(parts, "outage").await;
    let (gate, script) = Script::gated();
    let kafka = parts.kafka.options();
    // Longer than the outage; after a longer one the partitions count as lost.
    let options = engine::Options { session_timeout_ms: 45_000, ..short_transactions() };
    let engine = Running::start_with(&installation, &script, options, kafka).await;
    place(&installation, ORDERS).await;
    // The window is full of calls when the broker goes, and they end while it is away.
    let full = async || (script.calls() >= 50).then_some(());
    eventually("calls are under way", LIMIT, full).await;
    parts.kafka.kill9();
    gate.send_replace(true);
    let outlasted = TRANSACTION_TIMEOUT * 2;
    tokio::time::sleep(outlasted).await;
    parts.kafka.restart().await.unwrap();
    results(&installation, ORDERS).await;

    // And one that is stopped for maintenance, with transactions under way.
    place(&installation, ORDERS).await;
    parts.kafka.stop().await;
    parts.kafka.restart().await.unwrap();
    results(&installation, 2 * ORDERS).await;
    engine.stop().await;
    assert_eq!(script.calls(), 2 * ORDERS, "calls");
}
