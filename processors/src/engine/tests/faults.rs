//! Faults of the broker, through the real protocol: which of them are sat out, which abort the
//! transaction, which cost the producer, and which end the engine. No call is ever repeated.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use comanda_schemas::OrderId;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr::{self as Code, *};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::metrics::{ABORTS_TOTAL, PRODUCERS_REPLACED_TOTAL};
use super::super::{Engine, Error, METRICS_PREFIX};
use super::{Bench, DEADLINE, Scripted, event};

const ORDERS: usize = 40;

/// A cluster on which orders wait, and an engine that has not begun.
struct Case {
    bench: Bench,
    processor: Arc<Scripted>,
    metrics: PrometheusHandle,
    engine: Engine<Arc<Scripted>>,
}

impl Case {
    async fn new() -> Self {
        let bench = Bench::new().await;
        for n in 0..ORDERS {
            bench.place(&event(&n.to_string(), 1, ""));
        }
        let recorder = PrometheusBuilder::new().build_recorder();
        let processor = Arc::new(Scripted::default());
        // Its meters belong to the recorder that is there when it is made.
        let engine = metrics::with_local_recorder(&recorder, || bench.engine(processor.clone()));
        Self { bench, processor, metrics: recorder.handle(), engine }
    }

    /// Runs it until each order has a result, while the broker answers requests of the kind `api`
    /// with `errors`, one each; how many transactions were aborted and how many producers
    /// replaced, and how many results there are.
    async fn survives(self, api: Api, errors: &[Code]) -> (u64, u64, usize) {
        self.bench.cluster.request_errors(api, errors);
        let shutdown = CancellationToken::new();
        let engine = tokio::spawn(self.engine.run_until_stopped(shutdown.clone()));
        let mut results = self.bench.payments(ORDERS).await;
        // The mock cluster shows aborted records, so one that was written again stands there twice.
        let all: HashSet<OrderId> =
            (0..ORDERS).map(|n| OrderId::derive("c", &n.to_string())).collect();
        let mut wanted = ORDERS;
        while results.iter().map(|r| r.order_id).collect::<HashSet<_>>() != all {
            wanted += 1;
            results = self.bench.payments(wanted).await;
        }
        shutdown.cancel();
        tokio::time::timeout(DEADLINE, engine).await.expect("stops in time").unwrap().unwrap();
        let results = tokio::task::block_in_place(|| self.bench.read_all("payments"));
        assert_eq!(self.processor.calls.load(Ordering::SeqCst), ORDERS as u32, "calls");
        (
            counted(&self.metrics, ABORTS_TOTAL),
            counted(&self.metrics, PRODUCERS_REPLACED_TOTAL),
            results.len(),
        )
    }

    /// Runs it until it ends by itself.
    async fn ends(self, api: Api, errors: &[Code]) -> Error {
        self.bench.cluster.request_errors(api, errors);
        let ended = self.engine.run_until_stopped(CancellationToken::new());
        let ended = tokio::time::timeout(DEADLINE, ended).await;
        ended.expect("ends by itself").expect_err("is an error")
    }
}

pub(super) fn counted(metrics: &PrometheusHandle, name: &str) -> u64 {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(&format!("{METRICS_PREFIX}_{name}{{")));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// A kind of request, and an error that the broker answers it with.
type Fault = (Api, Code);

/// Survives each of `faults`, `times` in a row, all side by side; calls `check` with what
/// [`Case::survives`] tells.
async fn survive(faults: &[Fault], times: usize, check: fn((u64, u64, usize)) -> bool) {
    let mut cases = JoinSet::new();
    let runtime = Handle::current();
    for fault @ (api, error) in faults.iter().copied() {
        let runtime = runtime.clone();
        // On threads, because a mock cluster stays on its own.
        cases.spawn_blocking(move || {
            let case = async { Case::new().await.survives(api, &vec![error; times]).await };
            (fault, runtime.block_on(case))
        });
    }
    while let Some(ended) = cases.join_next().await {
        let (fault, told) = ended.unwrap();
        assert!(check(told), "{fault:?}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_ready_is_asked_again() {
    let faults = [
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS),
        (Api::AddOffsetsToTxn, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
        (Api::TxnOffsetCommit, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
        (Api::Produce, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
    ];
    survive(&faults, 2, |told| told == (0, 0, ORDERS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_a_transaction_is_made_again() {
    let faults = [Api::Produce, Api::TxnOffsetCommit, Api::EndTxn]
        .map(|api| (api, RD_KAFKA_RESP_ERR__TRANSPORT));
    survive(&faults, 2, |told| told == (0, 0, ORDERS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_refused_is_aborted_and_its_results_are_written_again() {
    let faults = [
        (Api::TxnOffsetCommit, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION),
        (Api::TxnOffsetCommit, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        (Api::Produce, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
    ];
    survive(&faults, 1, |(aborts, replaced, _)| aborts > 0 && replaced == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_broken_is_replaced_and_its_results_are_written_again() {
    let faults = [Api::AddPartitionsToTxn, Api::EndTxn]
        .map(|api| (api, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE));
    survive(&faults, 1, |(aborts, replaced, _)| (aborts, replaced) == (0, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_whose_id_another_one_took_ends_the_engine() {
    for error in [RD_KAFKA_RESP_ERR_PRODUCER_FENCED, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH] {
        let ended = Case::new().await.ends(Api::EndTxn, &[error]).await;
        assert!(matches!(ended, Error::Fenced { .. }), "{error:?}: {ended}");
        assert!(ended.to_string().contains("engine.instance"), "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_end_the_engine() {
    let error = RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    let ended = Case::new().await.ends(Api::InitProducerId, &[error]).await;
    assert!(matches!(ended, Error::Kafka { .. }), "{ended}");
}
