//! The engine while partitions come and go, on a real Kafka.

use std::sync::Arc;
use std::time::Duration;

use comanda_processors::engine::{self, Engine, Input, Outcome, Processor};
use comanda_schemas::{
    Encoder, OrderEvent, Payment, PaymentEvent, PaymentEventType, Stage, Timestamp, Topic,
};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::placed;
use crate::harness::installation::Installation;
use crate::harness::{self, eventually};

/// Pays each order as soon as the gate is open.
struct Gated {
    open: watch::Receiver<bool>,
}

impl Processor for Gated {
    type In = OrderEvent;
    type Out = PaymentEvent;
    const STAGE: Stage = Stage::Payment;

    async fn handle(&self, input: &Input<OrderEvent>) -> Outcome<PaymentEvent> {
        let event = &input.event;
        // Fails when the test has ended.
        let _ = self.open.clone().wait_for(|open| *open).await;
        Outcome::Emit(PaymentEvent {
            event_id: PaymentEvent::derive_id(event.event_id),
            r#type: PaymentEventType::Succeeded,
            order_id: event.order_id,
            version: event.version,
            occurred_at: Timestamp::now(),
            order: event.order.clone(),
            payment: Payment {
                provider: "gated".into(),
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

struct Running {
    handle: engine::Handle,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), engine::Error>>,
}

impl Running {
    async fn start(installation: &Installation, open: &watch::Receiver<bool>) -> Self {
        let options = engine::Options {
            instance: uuid::Uuid::new_v4().to_string(),
            max_in_flight_records: 50,
            max_in_flight_bytes: 1 << 24,
            max_attempts: 3,
            max_retry_age_ms: 60_000,
            drain_ms: 500,
            session_timeout_ms: 6_000,
            transaction_timeout_ms: 10_000,
            breaker_window_records: 0,
            breaker_dead_percent: 90,
            compression: "none".into(),
            max_transaction_records: 1_000,
        };
        let parts = installation.parts;
        let encoder = Encoder::new(installation.schema_id(Topic::Payments).await);
        let (kafka, registry) = (parts.kafka.options(), parts.registry.client());
        let processor = Gated { open: open.clone() };
        let engine =
            Engine::new(options, kafka, &installation.names, registry, encoder, processor).unwrap();
        let (handle, shutdown) = (engine.handle(), CancellationToken::new());
        let ended = tokio::spawn(engine.run_until_stopped(shutdown.clone()));
        Self { handle, shutdown, ended }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap();
    }
}

async fn place(installation: &Installation, count: usize) {
    let producer: FutureProducer =
        installation.parts.kafka.options().client_config("it-place").create().unwrap();
    let topic = installation.names.name(Topic::Orders);
    let encoder = Arc::new(Encoder::new(installation.schema_id(Topic::Orders).await));
    for _ in 0..count {
        let event = placed();
        let (key, value) = (event.order_id.to_string(), encoder.encode(&event).unwrap());
        let record = FutureRecord::to(&topic).key(&key).payload(&value);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
}

async fn results(installation: &Installation, count: usize) {
    let what = format!("{count} results");
    let results = eventually(&what, Duration::from_secs(60), async || {
        let results = installation.events::<PaymentEvent>().await;
        (results.len() >= count).then_some(results)
    })
    .await;
    let sources: std::collections::HashSet<_> = results.iter().map(|r| &r.source).collect();
    assert_eq!((results.len(), sources.len()), (count, count), "doubled");
}

/// librdkafka keeps a partition's pause while it belongs to somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back() {
    let Some(parts) = harness::real_parts().await else { return };
    let installation = Installation::new(parts, "pause").await;
    let (gate, open) = watch::channel(false);
    place(&installation, 300).await;
    let first = Running::start(&installation, &open).await;
    let limit = Duration::from_secs(30);
    let paused = async || first.handle.is_paused().then_some(());
    eventually("the first is full and pauses", limit, paused).await;
    let second = Running::start(&installation, &open).await;
    let full = async || second.handle.is_paused().then_some(());
    eventually("the second got partitions and is full", limit, full).await;
    gate.send_replace(true);
    results(&installation, 300).await;
    second.stop().await;
    place(&installation, 60).await;
    results(&installation, 360).await;
    first.stop().await;
}
