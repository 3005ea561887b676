//! An installation of comanda on the real broker and registry: topics of its own, the settings
//! that its processes share.

use std::sync::Arc;
use std::time::Duration;

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{
    Encoder, Event, NotificationEvent, OrderEvent, PaymentEvent, Stage, Topic, TopicNames,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message as _, TopicPartitionList};
use serde_json::Value;

use super::graphql::Gateway;
use super::process::{self, Comanda};
use super::{RealParts, eventually, run_dir, unique};

/// Key of an operator at the gateway.
const KEY: &str = "key-of-the-tests-operator";

/// Partition and offset of a record.
pub type Place = (i32, i64);

/// What the processes of one test share.
pub struct Installation {
    pub parts: &'static RealParts,
    pub names: TopicNames,
    store_url: String,
    settings: Vec<String>,
}

impl Installation {
    /// With new topics; every address is on a free port.
    pub async fn new(parts: &'static RealParts, name: &str) -> Self {
        let names = TopicNames {
            prefix: unique(name),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
            payment_reports: "payment-reports".into(),
        };
        let store_url = sqlite_url(name);
        let mut installation = Self { parts, names, store_url, settings: Vec::new() };
        for setting in [
            format!("kafka.brokers={}", parts.kafka.brokers()),
            format!("registry.url={}", parts.registry.url()),
            format!("topics.prefix={}", installation.names.prefix),
            format!("topics.replication_factor={}", parts.kafka.replicas()),
            format!("store.url={}", installation.store_url),
            "gateway.listen=127.0.0.1:0".to_owned(),
            format!(
                "gateway.api_keys=[{{ name = \"it\", role = \"operator\", sha256 = \"{}\" }}]",
                comanda_gateway::hash_key(KEY)
            ),
            "admin.listen=127.0.0.1:0".to_owned(),
            // A killed member is missed after this long; the least that the broker allows.
            "engine.session_timeout_ms=6000".to_owned(),
            "projector.session_timeout_ms=6000".to_owned(),
            "engine.drain_ms=3000".to_owned(),
        ] {
            installation.set(setting);
        }
        let created = process::run(&installation.arguments(&["topics", "apply"])).await;
        assert!(created.status.success(), "{created:#?}");
        installation
    }

    /// Where the order store is: a SQLite file, unless it was put elsewhere.
    pub fn store_url(&self) -> &str {
        &self.store_url
    }

    /// Puts the order store elsewhere, for what is started from now on.
    pub fn use_store(&mut self, url: String) {
        self.set(format!("store.url={url}"));
        self.store_url = url;
    }

    /// Waits until each result has its notification, `limit` at the most; the results, and what the
    /// audit says, which finds nothing lost or doubled. There are no dead letters.
    pub async fn all_told(&self, limit: Duration) -> (Vec<PaymentEvent>, Value) {
        let results = self.events::<PaymentEvent>().await;
        eventually("all is told", limit, async || {
            let told = self.events::<NotificationEvent>().await.len();
            (told >= results.len()).then_some(())
        })
        .await;
        let audit = process::run(&self.arguments(&["audit", "--json"])).await;
        assert!(audit.status.success(), "{audit:#?}");
        self.has_no_dead_letters().await;
        (results, audit.json())
    }

    /// Starts the sandbox's payment provider, for what is started from now on; it, and its URL.
    pub async fn start_provider(&mut self, settings: &[&str]) -> (Comanda, String) {
        let settings = settings.iter().flat_map(|setting| ["--set", *setting]);
        let listen = ["sandbox", "payment", "--listen", "127.0.0.1:0"];
        let mut provider = Comanda::start(&listen.into_iter().chain(settings).collect::<Vec<_>>());
        let url = provider.banner("Payments").await;
        self.set(format!("payment.provider_url={url}"));
        (provider, url)
    }

    /// Starts the sandbox's mailbox, for what is started from now on; it, and its URL.
    pub async fn start_mailbox(&mut self) -> (Comanda, String) {
        let mut mailbox = Comanda::start(&["sandbox", "mailbox", "--listen", "127.0.0.1:0"]);
        let url = mailbox.banner("Mailbox").await;
        self.set(format!("notifier.provider_url={url}"));
        (mailbox, url)
    }

    /// Adds a setting, `section.key=value`, for what is started from now on.
    pub fn set(&mut self, setting: String) {
        self.settings.extend(["--set".to_owned(), setting]);
    }

    /// Starts a command with the settings.
    pub fn start(&self, command: &[&str]) -> Comanda {
        Comanda::start(&self.arguments(command))
    }

    /// The gateway that `process` runs.
    pub async fn gateway(&self, process: &mut Comanda) -> Gateway {
        let addr = process.logged("gateway listens", "addr").await;
        Gateway::new(format!("http://{addr}/graphql"), KEY.to_owned())
    }

    /// Starts a gateway, and its client.
    pub async fn start_gateway(&self) -> (Comanda, Gateway) {
        let mut process = self.start(&["gateway"]);
        let gateway = self.gateway(&mut process).await;
        (process, gateway)
    }

    /// A command with the settings.
    pub fn arguments<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        command.iter().copied().chain(self.settings.iter().map(String::as_str)).collect()
    }

    /// Puts order events on the log one after another, as others than a gateway may.
    pub async fn publish(&self, events: &[OrderEvent]) {
        let producer: FutureProducer =
            self.parts.kafka.options().client_config("it-orders").create().unwrap();
        let encoder = Encoder::new(self.schema_id(Topic::Orders).await);
        let topic = self.names.name(Topic::Orders);
        for event in events {
            let (key, value) = (event.order_id.to_string(), encoder.encode(event).unwrap());
            let record = FutureRecord::to(&topic).key(&key).payload(&value);
            producer.send(record, Duration::from_secs(30)).await.unwrap();
        }
    }

    /// All committed events of the topic of `E`, as it ends now.
    pub async fn events<E: Event>(&self) -> Vec<E> {
        self.stored().await.into_iter().map(|(_, event)| event).collect()
    }

    /// As [`Installation::events`], each with its partition and offset.
    pub async fn stored<E: Event>(&self) -> Vec<(Place, E)> {
        let registry = self.parts.registry.client();
        let mut events = Vec::new();
        for record in self.records(&self.names.name(E::TOPIC)).await {
            let event = registry.read(record.payload().expect("a value")).await.unwrap();
            events.push(((record.partition(), record.offset()), event));
        }
        events
    }

    /// All committed records of a topic, as it ends now.
    pub async fn records(&self, topic: &str) -> Vec<OwnedMessage> {
        let (kafka, topic) = (self.parts.kafka.options(), topic.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let mut scan = Scan::open(&kafka, &topic, From::Beginning).unwrap();
            let mut records = Vec::new();
            loop {
                match scan.next(Duration::from_secs(30)).unwrap() {
                    Step::Record(record) => records.push(record.detach()),
                    Step::End => break records,
                    Step::Idle => panic!("the broker does not answer"),
                }
            }
        });
        read.await.unwrap()
    }

    /// Registry id of the schema of `topic`, registered if it is not yet.
    pub async fn schema_id(&self, topic: Topic) -> u32 {
        self.parts.registry.client().resolve(&self.names, topic).await.unwrap()
    }

    /// Fails where any processor has given a record up.
    pub async fn has_no_dead_letters(&self) {
        for stage in Stage::ALL {
            let dead = self.records(&self.names.dead_letters(stage)).await;
            assert!(dead.is_empty(), "dead letters of {}", stage.as_str());
        }
    }

    /// Waits until the payment processors have committed the end of every partition of `orders`,
    /// whatever the broker is at meanwhile.
    pub async fn consumed_whole(&self, limit: Duration) {
        let names = &self.names;
        let (topic, group) = (names.name(Topic::Orders), names.group(Stage::Payment));
        let mut config = self.parts.kafka.options().client_config("it-lag");
        let client: BaseConsumer = config.set("group.id", group).create().unwrap();
        let client = Arc::new(client);
        eventually("the payment processors commit all orders", limit, async || {
            let (client, topic) = (client.clone(), topic.clone());
            let lag = tokio::task::spawn_blocking(move || lag(&client, &topic));
            lag.await.unwrap().is_ok_and(|lag| lag == 0).then_some(())
        })
        .await;
    }
}

/// URL of a SQLite file that does not exist yet.
pub fn sqlite_url(name: &str) -> String {
    format!("sqlite://{}", run_dir::folder(name).join("orders.db").display())
}

fn lag(client: &BaseConsumer, topic: &str) -> KafkaResult<i64> {
    const ASK: Duration = Duration::from_secs(10);
    let metadata = client.fetch_metadata(Some(topic), ASK)?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        partitions.add_partition(topic, partition.id());
    }
    let mut behind = 0;
    for at in client.committed_offsets(partitions, ASK)?.elements() {
        let (_, end) = client.fetch_watermarks(topic, at.partition(), ASK)?;
        behind += end - at.offset().to_raw().filter(|offset| *offset > 0).unwrap_or(0);
    }
    Ok(behind)
}
