//! The engine on librdkafka's mock cluster. What only a real broker can prove (offsets that a
//! transaction commits, which the mock forgets, fencing, aborted records, rebalances between
//! processes) is in the integration tests.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{
    Contact, Currency, Encoder, Order, OrderEvent, OrderEventType, OrderId, OrderLine, Payment,
    PaymentEvent, PaymentEventType, Registry, RegistryOptions, Stage, Timestamp, Topic, TopicNames,
    TraceContext, headers,
};
use rdkafka::Message;
use rdkafka::message::OwnedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use tokio_util::sync::CancellationToken;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{Engine, Error, HandlerError, Input, Options, Outcome, Processor};

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
}

impl Processor for std::sync::Arc<Scripted> {
    type In = OrderEvent;
    type Out = PaymentEvent;
    const STAGE: Stage = Stage::Payment;

    async fn handle(&self, input: &Input<OrderEvent>) -> Outcome<PaymentEvent> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let order_id = input.event.order_id;
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
    }
}

/// A mock cluster, a registry that knows the ids, and an engine on them.
struct Bench {
    _cluster: MockCluster<'static, DefaultProducerContext>,
    _registry: MockServer,
    kafka: comanda_schemas::KafkaOptions,
    names: TopicNames,
    registry: Registry,
    orders: BaseProducer,
}

impl Bench {
    async fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let names = TopicNames {
            prefix: String::new(),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
        };
        for topic in names.all() {
            cluster.create_topic(&topic, 2, 1).unwrap();
        }
        let server = MockServer::start().await;
        for (topic, id) in [("orders", 1), ("payments", 2)] {
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
        Self { _cluster: cluster, _registry: server, kafka, names, registry, orders }
    }

    fn engine(&self, processor: std::sync::Arc<Scripted>) -> Engine<std::sync::Arc<Scripted>> {
        let encoder = Encoder::new(2);
        let (kafka, registry) = (self.kafka.clone(), self.registry.clone());
        Engine::new(options(), kafka, &self.names, registry, encoder, processor).unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_one_result_in_the_order_of_its_key_and_keys_overlap() {
    let bench = Bench::new().await;
    let processor = std::sync::Arc::new(Scripted::default());
    for version in 1..=5 {
        for key in 0..20 {
            bench.place(&event(&format!("k{key}"), version, ""));
        }
    }
    running(&bench, processor.clone(), async || {
        let results = bench.payments(100).await;
        let mut versions: HashMap<OrderId, Vec<i32>> = HashMap::new();
        for result in &results {
            versions.entry(result.order_id).or_default().push(result.version);
        }
        assert_eq!(versions.len(), 20);
        assert!(versions.values().all(|v| *v == [1, 2, 3, 4, 5]), "{versions:?}");
    })
    .await;
    assert_eq!(processor.calls.load(Ordering::SeqCst), 100);
    assert_eq!(processor.overlapped.load(Ordering::SeqCst), 0);
    // Two partitions, so anything wider shows that keys run side by side.
    assert!(processor.widest.load(Ordering::SeqCst) > 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_goes_to_the_dead_letters_as_it_came() {
    let bench = Bench::new().await;
    let original = rdkafka::message::OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "mine", value: Some("kept") });
    bench.send("not-an-id", b"{\"not\":\"avro\"}", original);
    bench.place(&event("good", 1, ""));
    running(&bench, Default::default(), async || {
        assert_eq!(bench.payments(1).await.len(), 1);
        let dead = tokio::task::block_in_place(|| bench.read("orders.payment.dlq", 1));
        let [dead] = dead.as_slice() else { panic!("one dead letter") };
        assert_eq!(dead.payload(), Some(b"{\"not\":\"avro\"}".as_slice()));
        assert_eq!(dead.key(), Some(b"not-an-id".as_slice()));
        let headers = dead.headers().unwrap();
        let header = |key| headers::text(headers, key).unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(header("mine"), "kept");
        assert_eq!(header("comanda_dlq_topic"), "orders");
        assert!(["0", "1"].contains(&header("comanda_dlq_partition")));
        assert_eq!(header("comanda_dlq_offset"), "0");
        assert_eq!(header("comanda_dlq_group"), "comanda-payment");
        assert_eq!(header("comanda_dlq_error_kind"), "decode");
        assert!(header("comanda_dlq_error_chain").contains("first byte"));
        assert_eq!(header("comanda_dlq_attempts"), "1");
        assert!(Timestamp::parse_rfc3339(header("comanda_dlq_timestamp")).is_some());
        assert!(Timestamp::parse_rfc3339(header("comanda_dlq_first_failed_at")).is_some());
        assert_eq!(header("comanda_dlq_build"), env!("CARGO_PKG_VERSION"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_carried_out() {
    let bench = Bench::new().await;
    let processor = std::sync::Arc::new(Scripted::default());
    for note in ["skip", "panic", "dead", "dead with result", "retry once", "retry for ever"] {
        bench.place(&event(note, 1, note));
    }
    running(&bench, processor.clone(), async || {
        let results = bench.payments(2).await;
        let attempts: HashMap<OrderId, i32> =
            results.iter().map(|r| (r.order_id, r.payment.attempts)).collect();
        assert_eq!(attempts[&OrderId::derive("c", "retry once")], 2);
        assert_eq!(attempts[&OrderId::derive("c", "dead with result")], 1);
        let dead = tokio::task::block_in_place(|| bench.read("orders.payment.dlq", 4));
        let mut kinds: Vec<(String, String)> = dead
            .iter()
            .map(|d| {
                let header = |key| headers::text(d.headers().unwrap(), key).unwrap().to_owned();
                (header("comanda_dlq_error_kind"), header("comanda_dlq_attempts"))
            })
            .collect();
        kinds.sort();
        let expected = [("panic", "1"), ("scripted", "1"), ("scripted", "1"), ("scripted", "3")];
        let kinds: Vec<_> = kinds.iter().map(|(k, a)| (k.as_str(), a.as_str())).collect();
        assert_eq!(kinds, expected);
    })
    .await;
    // One call each for four of them, two and three for the retried ones.
    assert_eq!(processor.calls.load(Ordering::SeqCst), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_fails_at_everything_is_stopped() {
    let bench = Bench::new().await;
    for key in 0..100 {
        bench.place(&event(&format!("k{key}"), 1, "dead"));
    }
    let engine = bench.engine(Default::default());
    let ended = tokio::time::timeout(DEADLINE, engine.run_until_stopped(CancellationToken::new()));
    let error = ended.await.expect("stops by itself").expect_err("is an error");
    assert!(matches!(error, Error::TooManyDeadLetters { window: 40, .. }), "{error}");
    let dead = tokio::task::block_in_place(|| bench.read_all("orders.payment.dlq"));
    assert!(dead.len() < 100, "{} dead letters: it went on", dead.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_carries_its_cause_and_continues_the_trace() {
    let bench = Bench::new().await;
    bench.place(&event("traced", 1, ""));
    running(&bench, Default::default(), async || {
        let order = tokio::task::block_in_place(|| bench.read("orders", 1)).remove(0);
        let record = tokio::task::block_in_place(|| bench.read("payments", 1)).remove(0);
        let result: PaymentEvent = bench.registry.read(record.payload().unwrap()).await.unwrap();
        assert_eq!(result.source.topic, "orders");
        assert_eq!(result.source.partition, order.partition());
        assert_eq!(result.source.offset, order.offset());
        assert_eq!(record.key(), order.key());
        let header =
            |of: &OwnedMessage, key| headers::text(of.headers().unwrap(), key).unwrap().to_owned();
        assert_eq!(header(&record, "ce_id"), result.event_id.to_string());
        assert_eq!(header(&record, "ce_type"), "comanda.payment.succeeded");
        assert_eq!(header(&record, "ce_source"), "/comanda/payment");
        assert_eq!(header(&record, "ce_specversion"), "1.0");
        assert_eq!(header(&record, "ce_time"), result.occurred_at.to_rfc3339());
        let trace = |of| header(of, "traceparent").split('-').nth(1).unwrap().to_owned();
        assert_eq!(trace(&record), trace(&order));
    })
    .await;
}
