//! The projector as a service: three readers, one writer.

use std::collections::HashMap;

use comanda_schemas::{KafkaOptions, Registry, Topic, TopicNames, headers};
use comanda_store::{Position, Store};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::lag::Context;
use super::options::client_config;
use super::reader::{Batch, Reader};
use super::writer::Writer;
use super::{Error, Options};

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
    /// Whether the store has everything that was in the topics when the service started. Stays
    /// true from then on.
    pub fn caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }
}

impl Service {
    /// A projector that is the only one to write to `store`; nothing is connected yet.
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
        let Some(positions) = self.positions(&stop).await else { return Ok(()) };
        let mut readers = JoinSet::new();
        for topic in Topic::ALL {
            let reader = self.reader(topic, &positions, &batches, &stop)?;
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
        positions: &[Position],
        batches: &mpsc::Sender<Batch>,
        shutdown: &CancellationToken,
    ) -> Result<Reader, Error> {
        let name = self.names.name(topic);
        let config = client_config(&self.kafka, &self.names);
        let context = Context { topic: name.clone() };
        let consumer =
            BaseConsumer::from_config_and_context(&config, context).map_err(Error::Client)?;
        let of_topic = positions.iter().filter(|p| p.topic == name);
        let positions: HashMap<_, _> = of_topic.map(|p| (p.partition, p.next_offset)).collect();
        Ok(Reader {
            topic,
            name,
            brokers: self.kafka.brokers.clone(),
            consumer,
            options: self.options.clone(),
            positions,
            batches: batches.clone(),
            shutdown: shutdown.clone(),
        })
    }

    /// How far the store came; `None` when stopped before it said so.
    async fn positions(&self, shutdown: &CancellationToken) -> Option<Vec<Position>> {
        let mut backoff = self.options.backoff();
        loop {
            let failure = match self.store.positions().await {
                Ok(positions) => return Some(positions),
                Err(failure) => failure,
            };
            let error = headers::error_chain(&failure);
            error!(error, "order store failed, trying again");
            let wait = tokio::time::sleep(backoff.next_wait());
            shutdown.run_until_cancelled(wait).await?;
        }
    }
}
