//! The projector as a service: three readers, one writer.

use comanda_schemas::{KafkaOptions, Registry, Topic, TopicNames};
use comanda_store::Store;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::lag;
use super::options::client_config;
use super::reader::{Reader, Surroundings};
use super::writer::Writer;
use super::{Error, Options};
use crate::group::Context;

/// Batches that wait for the writer, of all topics together; each reader holds one more.
const WAITING_BATCHES: usize = 2;

/// The projector.
pub struct Service {
    options: Options,
    kafka: KafkaOptions,
    names: TopicNames,
    registry: Registry,
    store: Store,
    caught_up: watch::Sender<bool>,
}

/// Tells how a [`Service`] is doing; clones share it.
#[derive(Debug, Clone)]
pub struct Handle {
    caught_up: watch::Receiver<bool>,
}

impl Handle {
    /// Whether the store has everything that was in the partitions of this projector when it first
    /// got some. Stays true from then on.
    pub fn caught_up(&self) -> bool {
        *self.caught_up.borrow()
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
        let caught_up = watch::Sender::new(false);
        Self { options, kafka, names, registry, store, caught_up }
    }

    /// A handle to it.
    pub fn handle(&self) -> Handle {
        Handle { caught_up: self.caught_up.subscribe() }
    }

    /// Follows the topics until `shutdown`. What is being written then is finished; the rest is
    /// read again after the next start. Waits as long as it takes for a broker, a topic, a
    /// registry or a store that is away.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), Error> {
        // Dropping this future must stop the readers too.
        let stop = shutdown.child_token();
        let _stopping = stop.clone().drop_guard();
        let (batches, received) = mpsc::channel(WAITING_BATCHES);
        let mut readers = JoinSet::new();
        for topic in Topic::ALL {
            let reader = self.reader(topic, &batches, &stop)?;
            readers.spawn_blocking(move || reader.run());
        }
        drop(batches);
        let writer = Writer {
            options: self.options,
            registry: self.registry,
            store: self.store,
            caught_up: self.caught_up,
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

    fn reader(
        &self,
        topic: Topic,
        batches: &mpsc::Sender<Batch>,
        shutdown: &CancellationToken,
    ) -> Result<Reader, Error> {
        let name = self.names.name(topic);
        let group = self.names.projector_group(topic);
        let config = client_config(&self.kafka, &group, &self.options);
        let reported = name.clone();
        let context = Context::with_statistics(move |found| lag::report(found, &reported));
        let consumer =
            BaseConsumer::from_config_and_context(&config, context).map_err(Error::Client)?;
        let surroundings = Surroundings {
            brokers: self.kafka.brokers.clone(),
            options: self.options.clone(),
            store: self.store.clone(),
            batches: batches.clone(),
            shutdown: shutdown.clone(),
        };
        Ok(Reader::new(topic, name, consumer, surroundings))
    }
}
