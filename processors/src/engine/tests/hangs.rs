//! Calls into librdkafka that do not return.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use comanda_schemas::PaymentEvent;
use metrics_exporter_prometheus::PrometheusBuilder;
use rdkafka::mocking::MockCoordinator;
use tokio_util::sync::CancellationToken;

use super::super::Options;
use super::super::metrics::{PRODUCERS_ABANDONED_TOTAL, RESTARTS_TOTAL};
use super::faults::counted;
use super::{Bench, DEADLINE, Scripted, event, options};

/// The group's coordinator moves while its old broker is gone for good: librdkafka's
/// `send_offsets_to_transaction` waits for the old one, whatever its time-out.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_returns_costs_the_producer_and_nothing_else() {
    let bench = Bench::on(2).await;
    let group = "comanda-payment";
    let on = |broker| {
        bench.cluster.coordinator(MockCoordinator::Group(group.into()), broker).unwrap();
    };
    bench.cluster.coordinator(MockCoordinator::Transaction(format!("{group}-test")), 1).unwrap();
    on(2);
    bench.place(&event("first", 1, ""));
    let recorder = PrometheusBuilder::new().build_recorder();
    let processor = Arc::new(Scripted::default());
    let options = Options { transaction_timeout_ms: 2_000, ..options() };
    let engine =
        metrics::with_local_recorder(&recorder, || bench.engine_with(options, processor.clone()));
    let handle = engine.handle();
    let shutdown = CancellationToken::new();
    let engine = tokio::spawn(engine.run_until_stopped(shutdown.clone()));
    bench.payments(1).await;
    bench.cluster.broker_down(2).unwrap();
    on(1);
    for n in 0..10 {
        bench.place(&event(&n.to_string(), 1, ""));
    }
    // A commit that went through is seen by the window: it has nothing left.
    let is_done = async {
        while counted(&recorder.handle(), PRODUCERS_ABANDONED_TOTAL) == 0
            || handle.in_hand() > 0
            || processor.calls.load(Ordering::SeqCst) < 11
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, is_done).await.expect("goes on by itself");
    assert!(handle.is_ready());
    assert_eq!(processor.calls.load(Ordering::SeqCst), 11, "no call is repeated");
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, engine).await.expect("stops in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_work_stands_still_is_started_again_in_place() {
    let bench = Bench::new().await;
    bench.place(&event("stuck", 1, "hang once"));
    let recorder = PrometheusBuilder::new().build_recorder();
    let options = Options { stall_ms: 1_000, drain_ms: 100, ..options() };
    let engine =
        metrics::with_local_recorder(&recorder, || bench.engine_with(options, Default::default()));
    let handle = engine.handle();
    let shutdown = CancellationToken::new();
    let engine = tokio::spawn(engine.run_until_stopped(shutdown.clone()));
    let told = async {
        while handle.standstill().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, told).await.expect("is told");
    assert!(!handle.is_ready(), "it is not ready meanwhile");
    let results = bench.payments(1).await;
    assert_eq!(results[0].order_id, event("stuck", 1, "").order_id);
    assert_eq!(counted(&recorder.handle(), RESTARTS_TOTAL), 1);
    let goes_on = async {
        while !handle.is_ready() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, goes_on).await.expect("is ready again");
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, engine).await.expect("stops in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_dropped_stops_and_leaves_its_name() {
    let bench = Bench::new().await;
    bench.place(&event("a", 1, ""));
    let engine =
        tokio::spawn(bench.engine(Default::default()).run_until_stopped(Default::default()));
    bench.payments(1).await;
    engine.abort();
    // One that went on would fence this one, or be fenced by it, and take its records.
    bench.place(&event("b", 1, ""));
    super::running(&bench, Default::default(), async || {
        let of_b = |r: &PaymentEvent| r.order_id == event("b", 1, "").order_id;
        let mut results = bench.payments(2).await;
        if !results.iter().any(of_b) {
            // The mock cluster forgets what a transaction commits, so the first one may come again.
            results = bench.payments(3).await;
        }
        assert!(results.iter().any(of_b), "{results:?}");
    })
    .await;
}
