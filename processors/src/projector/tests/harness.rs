//! A broker, a registry and a store for one test.

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use comanda_schemas::{
    Contact, Currency, Encoder, Event, KafkaOptions, Order, OrderEvent, OrderEventType, OrderId,
    OrderLine, Payment, PaymentEvent, PaymentEventType, Registry, RegistryOptions, Source,
    Timestamp, Topic, TopicNames,
};
use comanda_store::Store;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::projector::metrics::RETRIES_TOTAL;
use crate::projector::{Error, Handle, Options, Service};

pub const PARTITIONS: i32 = 2;

/// What one test runs against.
pub struct Bench {
    pub cluster: MockCluster<'static, DefaultProducerContext>,
    pub registry: MockServer,
    pub names: TopicNames,
    pub kafka: KafkaOptions,
    folder: TempDir,
    producer: FutureProducer,
}

impl Bench {
    /// `name` tells the test's topics and metrics from those of others.
    pub async fn start(name: &str) -> Self {
        recorder();
        let cluster = MockCluster::new(1).unwrap();
        let kafka = kafka(&cluster.bootstrap_servers());
        let producer = kafka.client_config("test").create().unwrap();
        let names = TopicNames {
            prefix: format!("{name}-"),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
            payment_reports: "payment-reports".into(),
        };
        let registry = MockServer::start().await;
        let folder = tempfile::tempdir().unwrap();
        Self { cluster, registry, names, kafka, folder, producer }
    }

    /// With the topics in the broker and the schemas in the registry.
    pub async fn ready(name: &str) -> Self {
        let bench = Self::start(name).await;
        bench.create_topics();
        bench.answer_schemas().await;
        bench
    }

    pub fn create_topics(&self) {
        for topic in Topic::ALL {
            self.cluster.create_topic(&self.names.name(topic), PARTITIONS, 1).unwrap();
        }
    }

    /// The id of a topic's schema is its place among the topics, from 1.
    pub async fn answer_schemas(&self) {
        for (id, topic) in (1..).zip(Topic::ALL) {
            self.schema_mock(id, topic).mount(&self.registry).await;
        }
    }

    pub fn schema_mock(&self, id: u32, topic: Topic) -> Mock {
        let body = json!({ "schema": topic.schema_json(), "schemaType": "AVRO" });
        Mock::given(method("GET"))
            .and(path(format!("/schemas/ids/{id}")))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
    }

    pub fn orders(&self) -> String {
        self.names.name(Topic::Orders)
    }

    pub fn database(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("orders.db").display())
    }

    pub async fn store(&self) -> Store {
        let options = comanda_store::Options {
            url: self.database(),
            max_connections: 2,
            keyed_connections: 2,
            busy_timeout_ms: 5_000,
            statement_timeout_ms: 5_000,
            auto_migrate: true,
        };
        Store::open(&options).await.unwrap()
    }

    pub async fn project(&self, options: Options) -> Running {
        let registry = RegistryOptions {
            url: self.registry.uri(),
            username: String::new(),
            password: String::new().into(),
            auto_register: false,
            timeout_ms: 5_000,
        };
        let service = Service::new(
            options,
            self.kafka.clone(),
            self.names.clone(),
            Registry::new(&registry).unwrap(),
            self.store().await,
        );
        let (handle, shutdown) = (service.handle(), CancellationToken::new());
        let task = tokio::spawn(service.run_until_stopped(shutdown.clone()));
        Running { handle, shutdown, task }
    }

    /// Stores a record; its offset.
    pub async fn produce(&self, topic: Topic, partition: i32, value: &[u8]) -> i64 {
        let name = self.names.name(topic);
        let record = FutureRecord::to(&name).partition(partition).key("k").payload(value);
        self.producer.send(record, Duration::from_secs(10)).await.unwrap().offset
    }

    pub async fn publish<E: Event>(&self, event: &E) -> i64 {
        let id = (1..).zip(Topic::ALL).find(|(_, topic)| *topic == E::TOPIC).unwrap().0;
        let partition = i32::from(event.order_id().as_uuid().as_bytes()[0]) % PARTITIONS;
        self.produce(E::TOPIC, partition, &Encoder::new(id).encode(event).unwrap()).await
    }
}

pub fn kafka(brokers: &str) -> KafkaOptions {
    KafkaOptions {
        brokers: brokers.into(),
        security_protocol: "plaintext".into(),
        sasl_mechanism: String::new(),
        sasl_username: String::new(),
        sasl_password: String::new().into(),
        ssl_ca_location: String::new(),
        properties: Default::default(),
    }
}

pub fn options() -> Options {
    Options {
        batch_records: 500,
        batch_bytes: 1 << 20,
        batch_wait_ms: 5,
        session_timeout_ms: 6_000,
        partitions_refresh_ms: 1_000,
        retry_initial_ms: 10,
        retry_max_ms: 100,
    }
}

/// A projector under test.
pub struct Running {
    pub handle: Handle,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Asks it to stop; what it ended with, which must not take long.
    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.unwrap().unwrap()
    }
}

/// Waits until `condition` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "it never came to pass that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
}

/// The value of a metric that is told apart by its topic alone.
pub fn metric(name: &str, topic: &str) -> Option<f64> {
    value(&format!("{name}{{topic=\"{topic}\"}} "))
}

/// How often something was tried again.
pub fn retries(cause: &str, topic: &str) -> f64 {
    value(&format!("{RETRIES_TOTAL}{{cause=\"{cause}\",topic=\"{topic}\"}} ")).unwrap_or(0.0)
}

fn value(line: &str) -> Option<f64> {
    recorder().render().lines().find_map(|l| l.strip_prefix(line)?.parse().ok())
}

pub fn placed(key: &str) -> OrderEvent {
    let order_id = OrderId::derive("c-1", key);
    OrderEvent {
        event_id: OrderEvent::derive_id(order_id, 1, OrderEventType::Placed),
        r#type: OrderEventType::Placed,
        order_id,
        version: 1,
        occurred_at: Timestamp::now(),
        customer_id: "c-1".into(),
        order: Order {
            currency: Currency::parse("EUR").unwrap(),
            total_minor: 1200,
            lines: vec![OrderLine {
                sku: "PIZ-1".into(),
                name: "Margherita".into(),
                quantity: 1,
                unit_price_minor: 1200,
            }],
            contact: Contact { name: "Ana Ruiz".into(), email: "ana@example.com".into() },
            payment_method: "pm_card_visa".into(),
            note: None,
        },
        reason: None,
        seen_offset: None,
    }
}

pub fn paid(cause: &OrderEvent) -> PaymentEvent {
    PaymentEvent {
        event_id: PaymentEvent::derive_id(cause.event_id),
        r#type: PaymentEventType::Succeeded,
        order_id: cause.order_id,
        version: cause.version,
        occurred_at: Timestamp::now(),
        order: cause.order.clone(),
        payment: Payment {
            provider: "stripe".into(),
            payment_id: Some("pi_1".into()),
            amount_minor: cause.order.total_minor,
            currency: cause.order.currency,
            reason: None,
            detail: None,
            attempts: 1,
        },
        source: Source { topic: "orders".into(), partition: 0, offset: 0 },
    }
}
