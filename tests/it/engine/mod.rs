//! The engine in this process, on a real Kafka: partitions that come and go (`rebalance`),
//! transactions that fail (`faults`), a deploy that fails at everything (`poison`).

mod faults;
mod poison;
mod rebalance;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use comanda_processors::HandlerError;
use comanda_processors::engine::{self, Engine, Input, Outcome, Processor};
use comanda_schemas::{
    Encoder, KafkaOptions, OrderEvent, Payment, PaymentEvent, PaymentEventType, PaymentReport,
    Stage, Timestamp, Topic,
};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::placed;
use crate::harness::eventually;
use crate::harness::installation::Installation;

const LIMIT: Duration = Duration::from_secs(60);

/// What the processor under test does.
#[derive(Debug, Clone)]
struct Script {
    /// Calls wait until this is true.
    open: watch::Receiver<bool>,
    /// Every record is a dead letter.
    poison: bool,
    calls: Arc<AtomicUsize>,
}

impl Script {
    /// Pays each order; the sender opens its gate, and has to be kept.
    fn gated() -> (watch::Sender<bool>, Self) {
        let (gate, open) = watch::channel(false);
        (gate, Self { open, poison: false, calls: Arc::default() })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Processor for Script {
    type In = OrderEvent;
    type Out = PaymentEvent;
    type Note = PaymentReport;
    const STAGE: Stage = Stage::Payment;

    async fn handle(&self, input: &Input<OrderEvent>) -> Outcome<PaymentEvent, PaymentReport> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        // Fails when the test has ended.
        let _ = self.open.clone().wait_for(|open| *open).await;
        if self.poison {
            let error = HandlerError { kind: "bad_deploy", chain: "as told".into() };
            return Outcome::DeadLetter { error, result: None };
        }
        let event = &input.event;
        Outcome::Emit(PaymentEvent {
            event_id: PaymentEvent::derive_id(event.event_id),
            r#type: PaymentEventType::Succeeded,
            order_id: event.order_id,
            version: event.version,
            occurred_at: Timestamp::now(),
            order: event.order.clone(),
            payment: Payment {
                provider: "scripted".into(),
                payment_id: None,
                amount_minor: event.order.total_minor,
                currency: event.order.currency,
                reason: None,
                detail: None,
                attempts: 1,
            },
            source: input.source.clone(),
        })
    }
}

fn options() -> engine::Options {
    engine::Options {
        instance: uuid::Uuid::new_v4().to_string(),
        max_in_flight_records: 50,
        max_in_flight_bytes: 1 << 24,
        max_attempts: 3,
        max_retry_age_ms: 60_000,
        drain_ms: 500,
        session_timeout_ms: 6_000,
        transaction_timeout_ms: 10_000,
        stall_ms: 0,
        breaker_window_records: 0,
        breaker_dead_percent: 90,
        compression: "none".into(),
        max_transaction_records: 1_000,
    }
}

/// An engine at work.
struct Running {
    handle: engine::Handle,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), engine::Error>>,
}

impl Running {
    async fn start(installation: &Installation, script: &Script) -> Self {
        let kafka = installation.parts.kafka.options();
        Self::start_with(installation, script, options(), kafka).await
    }

    async fn start_with(
        installation: &Installation,
        script: &Script,
        options: engine::Options,
        kafka: KafkaOptions,
    ) -> Self {
        let results = Encoder::new(installation.schema_id(Topic::Payments).await);
        let notes = Encoder::new(installation.schema_id(Topic::PaymentReports).await);
        let registry = installation.parts.registry.client();
        registry.resolve(&installation.names, Topic::Orders).await.unwrap();
        let names = &installation.names;
        let encoders = (results, notes);
        let engine =
            Engine::new(options, kafka, names, registry, encoders, script.clone()).unwrap();
        let (handle, shutdown) = (engine.handle(), CancellationToken::new());
        let ended = tokio::spawn(engine.run_until_stopped(shutdown.clone()));
        Self { handle, shutdown, ended }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap();
    }

    /// Why it ends without being asked.
    async fn fails(self) -> engine::Error {
        let ended = tokio::time::timeout(LIMIT, self.ended).await;
        ended.expect("ends by itself").unwrap().expect_err("is an error")
    }
}

/// Places `count` orders.
pub async fn place(installation: &Installation, count: usize) {
    let orders: Vec<_> = std::iter::repeat_with(placed).take(count).collect();
    write(installation, &orders).await;
}

/// Writes order events to their topic.
pub async fn write(installation: &Installation, events: &[OrderEvent]) {
    let producer: FutureProducer =
        installation.parts.kafka.options().client_config("it-place").create().unwrap();
    let topic = installation.names.name(Topic::Orders);
    let encoder = Encoder::new(installation.schema_id(Topic::Orders).await);
    let mut sent = Vec::new();
    for event in events {
        let (key, value) = (event.order_id.to_string(), encoder.encode(event).unwrap());
        let record = FutureRecord::to(&topic).key(&key).payload(&value);
        sent.push(producer.send_result(record).map_err(|(e, _)| e).unwrap());
    }
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

/// Waits until there are `count` results, no more, each of a record of its own.
pub async fn results(installation: &Installation, count: usize) {
    let what = format!("{count} results");
    let results = eventually(&what, LIMIT, async || {
        let results = installation.events::<PaymentEvent>().await;
        (results.len() >= count).then_some(results)
    })
    .await;
    let sources: HashSet<_> = results.iter().map(|r| &r.source).collect();
    assert_eq!((results.len(), sources.len()), (count, count), "doubled");
}
