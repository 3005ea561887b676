//! The engine on librdkafka's mock cluster: `handling` of records, and `faults` of the broker. What
//! only a real broker can prove (offsets that a transaction commits, which the mock forgets, fencing,
//! aborted records, rebalances between processes) is in the integration tests.

mod faults;
mod handling;
mod hangs;
mod isolation;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{
    Contact, Currency, Encoder, Order, OrderEvent, OrderEventType, OrderId, OrderLine, Payment,
    PaymentEvent, PaymentEventType, PaymentReport, PaymentReportType, Registry, RegistryOptions,
    Stage, Timestamp, Topic, TopicNames, TraceContext, headers,
};
use rdkafka::Message;
use rdkafka::message::OwnedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use tokio_util::sync::CancellationToken;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{Engine, HandlerError, Input, Options, Outcome, Processor};

const DEADLINE: Duration = Duration::from_secs(30);

fn options() -> Options {
    Options {
        instance: "test".into(),
        max_in_flight_records: 64,
        max_in_flight_bytes: 1 << 20,
        max_attempts: 3,
        max_retry_age_ms: 60_000,
        drain_ms: 2_000,
        session_timeout_ms: 6_000,
        transaction_timeout_ms: 10_000,
        stall_ms: 0,
        breaker_window_records: 40,
        breaker_dead_percent: 90,
        compression: "none".into(),
        max_transaction_records: 1_000,
    }
}

/// What the processor under test does with an order, by the order's note.
#[derive(Default)]
struct Scripted {
    calls: AtomicU32,
    seen: Mutex<Vec<(OrderId, i32)>>,
    running: Mutex<HashMap<OrderId, u32>>,
    widest: AtomicU32,
    overlapped: AtomicU32,
    /// Of each call whose event looks back: its version, those before, whether it was redriven.
    looked_back: Mutex<Vec<(i32, Vec<i32>, bool)>>,
    /// Whose events an earlier owner of the partition may have begun.
    suspects: Mutex<Vec<OrderId>>,
    news: tokio::sync::Notify,
    hung: AtomicBool,
    waits: AtomicU32,
}

impl Processor for std::sync::Arc<Scripted> {
    type In = OrderEvent;
    type Out = PaymentEvent;
    type Note = PaymentReport;
    const STAGE: Stage = Stage::Payment;

    fn looks_back(event: &OrderEvent, redriven_from: Option<i64>) -> Option<i64> {
        event.seen_offset.or(redriven_from)
    }

    fn is_neighbours_fault(error: &HandlerError) -> bool {
        error.kind == "neighbour"
    }

    async fn news(&self, _: &OrderEvent) {
        self.news.notified().await;
    }

    async fn handle(&self, input: &Input<OrderEvent>) -> Outcome<PaymentEvent, PaymentReport> {
        if input.event.seen_offset.is_some() || input.is_redriven {
            let earlier = input.earlier.iter().map(|event| event.version).collect();
            let looked = (input.event.version, earlier, input.is_redriven);
            self.looked_back.lock().unwrap().push(looked);
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        let order_id = input.event.order_id;
        if input.is_suspect {
            self.suspects.lock().unwrap().push(order_id);
        }
        {
            let mut running = self.running.lock().unwrap();
            if running.insert(order_id, 1).is_some() {
                self.overlapped.fetch_add(1, Ordering::SeqCst);
            }
            self.widest.fetch_max(running.len() as u32, Ordering::SeqCst);
        }
        let error = HandlerError { kind: "scripted", chain: "as told".into() };
        let note = input.event.order.note.clone().unwrap_or_default();
        let outcome = match note.as_str() {
            "skip" => Outcome::Skip,
            "panic" => panic!("as told"),
            "dead" => Outcome::DeadLetter { error, result: None },
            "dead with result" => Outcome::DeadLetter { error, result: Some(result(input)) },
            "retry once" if input.attempt < 2 => {
                Outcome::Retry { after: Duration::from_millis(20), error }
            }
            // More often than the engine's cap on attempts allows.
            "hold" if input.attempt <= 5 => {
                assert_eq!(input.is_held, input.attempt > 1);
                let note = (input.attempt == 1).then(|| note_on(input));
                Outcome::Hold { after: Duration::from_millis(20), error, note }
            }
            "hold for ever" => {
                let note = (!input.is_held).then(|| note_on(input));
                Outcome::Hold { after: Duration::from_millis(20), error, note }
            }
            "hold for news" if input.attempt == 1 => {
                Outcome::Hold { after: Duration::from_secs(3_600), error, note: None }
            }
            "hang once" if !self.hung.swap(true, Ordering::SeqCst) => std::future::pending().await,
            // More often, and longer, than the engine's caps allow.
            "wait" if input.attempt == 1 && self.waits.fetch_add(1, Ordering::SeqCst) < 10 => {
                assert!(input.failing_for < Duration::from_millis(500), "{:?}", input.failing_for);
                Outcome::Wait { after: Duration::from_millis(100), error }
            }
            "retry late" => Outcome::Retry { after: Duration::from_secs(4_000), error },
            "refused" => {
                let error = HandlerError { kind: "neighbour", ..error };
                Outcome::DeadLetter { error, result: None }
            }
            "retry for ever" => Outcome::Retry { after: Duration::from_millis(1), error },
            _ => {
                tokio::time::sleep(Duration::from_millis(2)).await;
                Outcome::Emit(result(input))
            }
        };
        self.running.lock().unwrap().remove(&order_id);
        self.seen.lock().unwrap().push((order_id, input.event.version));
        outcome
    }
}

fn note_on(input: &Input<OrderEvent>) -> PaymentReport {
    let event = &input.event;
    PaymentReport {
        event_id: PaymentReport::in_doubt_id(event.event_id),
        r#type: PaymentReportType::InDoubt,
        order_id: event.order_id,
        version: event.version,
        occurred_at: Timestamp::now(),
        provider: "scripted".into(),
        payment_id: None,
        outcome: None,
        amount_minor: None,
        currency: None,
        detail: None,
        attempts: 1,
        source: Some(input.source.clone()),
    }
}

fn result(input: &Input<OrderEvent>) -> PaymentEvent {
    let event = &input.event;
    PaymentEvent {
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
            attempts: input.attempt as i32,
        },
        source: input.source.clone(),
    }
}

fn event(key: &str, version: i32, note: &str) -> OrderEvent {
    let order_id = OrderId::derive("c", key);
    OrderEvent {
        event_id: OrderEvent::derive_id(order_id, version, OrderEventType::Placed),
        r#type: OrderEventType::Placed,
        order_id,
        version,
        occurred_at: Timestamp::now(),
        customer_id: "c".into(),
        order: Order {
            currency: Currency::parse("EUR").unwrap(),
            total_minor: 100,
            lines: vec![OrderLine {
                sku: "s".into(),
                name: "n".into(),
                quantity: 1,
                unit_price_minor: 100,
            }],
            contact: Contact { name: "n".into(), email: "n@example.com".into() },
            payment_method: "pm_card_visa".into(),
            note: Some(note.into()),
        },
        reason: None,
        seen_offset: None,
    }
}

/// A mock cluster, a registry that knows the ids, and an engine on them.
struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    _registry: MockServer,
    kafka: comanda_schemas::KafkaOptions,
    names: TopicNames,
    registry: Registry,
    orders: BaseProducer,
}

impl Bench {
    async fn new() -> Self {
        Self::on(1).await
    }

    /// On a cluster of so many brokers, the first of which leads every partition.
    async fn on(brokers: i32) -> Self {
        let cluster = MockCluster::new(brokers).unwrap();
        let names = TopicNames {
            prefix: String::new(),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
            payment_reports: "payment-reports".into(),
        };
        for topic in names.all() {
            cluster.create_topic(&topic, 2, 1).unwrap();
            for partition in 0..2 {
                cluster.partition_leader(&topic, partition, Some(1)).unwrap();
            }
        }
        let server = MockServer::start().await;
        for (topic, id) in [("orders", 1), ("payments", 2), ("payment-reports", 3)] {
            Mock::given(method("POST"))
                .and(path_regex(format!("^/subjects/{topic}-value/versions")))
                .respond_with(
                    ResponseTemplate::new(200).set_body_json(serde_json::json!({ "id": id })),
                )
                .mount(&server)
                .await;
        }
        let registry = Registry::new(&RegistryOptions {
            url: server.uri(),
            username: String::new(),
            password: String::new().into(),
            auto_register: true,
            timeout_ms: 5_000,
        })
        .unwrap();
        registry.resolve(&names, Topic::Orders).await.unwrap();
        registry.resolve(&names, Topic::Payments).await.unwrap();
        registry.resolve(&names, Topic::PaymentReports).await.unwrap();
        let kafka = comanda_schemas::KafkaOptions {
            brokers: cluster.bootstrap_servers(),
            security_protocol: "plaintext".into(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password: String::new().into(),
            ssl_ca_location: String::new(),
            properties: Default::default(),
        };
        let orders = kafka.client_config("test").create().unwrap();
        Self { cluster, _registry: server, kafka, names, registry, orders }
    }

    fn engine(&self, processor: std::sync::Arc<Scripted>) -> Engine<std::sync::Arc<Scripted>> {
        self.engine_with(options(), processor)
    }

    fn engine_with(
        &self,
        options: Options,
        processor: std::sync::Arc<Scripted>,
    ) -> Engine<std::sync::Arc<Scripted>> {
        let encoders = (Encoder::new(2), Encoder::new(3));
        let (kafka, registry) = (self.kafka.clone(), self.registry.clone());
        Engine::new(options, kafka, &self.names, registry, encoders, processor).unwrap()
    }

    fn place(&self, event: &OrderEvent) {
        let value = Encoder::new(1).encode(event).unwrap();
        let headers = headers::event_headers(event, "/test", &TraceContext::new_root());
        self.send(&event.order_id.to_string(), &value, headers);
    }

    fn send(&self, key: &str, value: &[u8], headers: rdkafka::message::OwnedHeaders) {
        let record = BaseRecord::to("orders").key(key).payload(value).headers(headers);
        self.orders.send(record).map_err(|(e, _)| e).unwrap();
        self.orders.flush(Duration::from_secs(10)).unwrap();
    }

    /// Waits until `topic` has `count` records; all it has then.
    fn read(&self, topic: &str, count: usize) -> Vec<OwnedMessage> {
        let mut scan = Scan::open(&self.kafka, topic, From::Beginning).unwrap();
        let (mut records, until) = (Vec::new(), Instant::now() + DEADLINE);
        while records.len() < count {
            assert!(Instant::now() < until, "{topic} has {} of {count}", records.len());
            if let Step::Record(record) = scan.next(Duration::from_millis(50)).unwrap() {
                records.push(record.detach());
            }
        }
        records
    }

    /// All records of `topic` up to its end.
    fn read_all(&self, topic: &str) -> Vec<OwnedMessage> {
        let mut scan = Scan::open(&self.kafka, topic, From::Beginning).unwrap();
        let (mut records, until) = (Vec::new(), Instant::now() + DEADLINE);
        loop {
            assert!(Instant::now() < until, "{topic} does not end");
            match scan.next(Duration::from_millis(50)).unwrap() {
                Step::Record(record) => records.push(record.detach()),
                Step::End => return records,
                Step::Idle => {}
            }
        }
    }

    async fn payments(&self, count: usize) -> Vec<PaymentEvent> {
        let records = tokio::task::block_in_place(|| self.read("payments", count));
        let mut events = Vec::new();
        for record in records {
            events.push(self.registry.read(record.payload().unwrap()).await.unwrap());
        }
        events
    }
}

async fn running<T>(bench: &Bench, processor: std::sync::Arc<Scripted>, test: T)
where
    T: AsyncFnOnce(),
{
    let shutdown = CancellationToken::new();
    let engine = tokio::spawn(bench.engine(processor).run_until_stopped(shutdown.clone()));
    test().await;
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, engine).await.expect("stops in time").unwrap().unwrap();
}
