//! A deploy that fails at everything.

use comanda_processors::engine;
use comanda_schemas::{PaymentEvent, Stage};

use super::{Running, Script, options, place, results};
use crate::harness::installation::Installation;
use crate::harness::{self, process};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deploy_is_stopped_and_after_the_repair_nothing_is_missing() {
    const ORDERS: usize = 400;
    let Some(parts) = harness::real_parts().await else { return };
    let installation = Installation::new(parts, "poison").await;
    place(&installation, ORDERS).await;
    let (gate, good) = Script::gated();
    gate.send_replace(true);
    let bad = Script { poison: true, ..good.clone() };
    let watched = engine::Options { breaker_window_records: 100, ..options() };
    let kafka = parts.kafka.options();
    let failed = Running::start_with(&installation, &bad, watched.clone(), kafka.clone()).await;
    let error = failed.fails().await;
    let engine::Error::TooManyDeadLetters { window: 100, topic, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*topic, installation.names.dead_letters(Stage::Payment));
    let letters = installation.records(topic).await.len();
    assert!(letters < ORDERS, "{letters} dead letters: it went on");
    assert!(installation.events::<PaymentEvent>().await.is_empty());

    let repaired = Running::start_with(&installation, &good, watched, kafka).await;
    results(&installation, ORDERS - letters).await;
    let redrive = ["dlq", "redrive", "--stage", "payment", "--kind", "bad_deploy", "--yes"];
    let redriven = process::run(&installation.arguments(&redrive)).await;
    assert!(redriven.status.success(), "{redriven:#?}");
    results(&installation, ORDERS).await;
    repaired.stop().await;
    let orders: std::collections::HashSet<_> =
        installation.events::<PaymentEvent>().await.iter().map(|r| r.order_id).collect();
    assert_eq!(orders.len(), ORDERS, "orders with a result");
}
