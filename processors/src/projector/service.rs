//! The projector as a service: a reader for each topic, one writer.

use comanda_schemas::{Health, KafkaOptions, Registry, Topic, TopicNames};
use comanda_store::Store;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::lag;
use super::options::client_config;
use super::reader::{Reader, Surroundings};
use super::writer::Writer;
use super::{Error, Options};
use comanda_kafka::group::Context;

/// Batches that wait for the writer, of all topics together; each reader holds one more.
const WAITING_BATCHES: usize = 2;

/// The projector.
pub struct Service {
    options: Options,
    kafka: KafkaOptions,
    names: TopicNames,
    registry: Registry,
    store: Store,
    /// End of the groups' names, where they are not those that projectors share.
    apart: Option<String>,
    progress: watch::Sender<Progress>,
    health: Health,
}

/// How far a projector came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Records written to the store or skipped.
    pub records: u64,
    /// Whether the store has what was there at the start.
    pub caught_up: bool,
}

/// Tells how a [`Service`] is doing; clones share it.
#[derive(Debug, Clone)]
pub struct Handle {
    progress: watch::Receiver<Progress>,
    health: Health,
}

impl Handle {
    /// Whether it has caught up and does its work; if not, why, and since when.
    pub fn check(&self) -> Result<(), String> {
        self.health.check()?;
        self.caught_up().then_some(()).ok_or_else(|| "has not caught up".to_owned())
    }

    /// Whether the store has everything that was in the partitions of this projector when it first
    /// got some. Stays true from then on.
    pub fn caught_up(&self) -> bool {
        self.progress.borrow().caught_up
    }

    /// Records that were written to the store or skipped since the start.
    pub fn records(&self) -> u64 {
        self.progress.borrow().records
    }
}

impl Service {
    /// A projector that, with others of the same topics, writes to `store`; nothing is connected
    /// yet.
    pub fn new(
        options: Options,
        kafka: KafkaOptions,
        names: TopicNames,
        registry: Registry,
        store: Store,
    ) -> Self {
        let progress = watch::Sender::default();
        let health = Health::default();
        Self { options, kafka, names, registry, store, apart: None, progress, health }
    }

    /// Reads all partitions, whatever other projectors read: in groups of its own, whose names end
    /// in `name`.
    pub fn apart(self, name: String) -> Self {
        Self { apart: Some(name), ..self }
    }

    /// A handle to it.
    pub fn handle(&self) -> Handle {
        Handle { progress: self.progress.subscribe(), health: self.health.clone() }
    }

    /// Follows the topics until `shutdown`. What is being written then is finished; the rest is
    /// read again after the next start. Waits as long as it takes for a broker, a topic, a
    /// registry or a store that is away.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), Error> {
        // Dropping this future must stop the readers too.
        let stop = shutdown.child_token();
        let _stopping = stop.clone().drop_guard();
        let (batches, received) = mpsc::channel(WAITING_BATCHES);
        let around = Surroundings {
            brokers: self.kafka.brokers.clone(),
            options: self.options.clone(),
            store: self.store.clone(),
            batches,
            health: self.health.clone(),
            shutdown: stop.clone(),
        };
        let mut readers = JoinSet::new();
        for topic in Topic::ALL {
            let reader = self.reader(topic, around.clone())?;
            readers.spawn_blocking(move || reader.run());
        }
        // The writer ends when the readers have.
        drop(around);
        let writer = Writer {
            options: self.options,
            registry: self.registry,
            store: self.store,
            progress: self.progress,
            health: self.health,
            shutdown: stop.clone(),
        };
        let supervise = async {
            let mut outcome = Ok(());
            while let Some(ended) = readers.join_next().await {
                stop.cancel();
                outcome = outcome.and(ended.map_err(Error::Thread).flatten());
            }
            outcome
        };
        let ((), outcome) = tokio::join!(writer.run(received), supervise);
        outcome
    }

    fn reader(&self, topic: Topic, around: Surroundings) -> Result<Reader, Error> {
        let name = self.names.name(topic);
        let mut group = self.names.projector_group(topic);
        if let Some(name) = &self.apart {
            group = format!("{group}-{name}");
        }
        let config = client_config(&self.kafka, &group, &self.options);
        let reported = name.clone();
        let context = Context::with_statistics(move |found| lag::report(found, &reported));
        let consumer =
            BaseConsumer::from_config_and_context(&config, context).map_err(Error::Client)?;
        Reader::new(topic, name, consumer, around)
    }
}
