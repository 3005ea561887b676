//! An engine as a service: what it needs, how it starts and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comanda_schemas::{Encoder, Event, KafkaOptions, Registry, TopicNames};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::instance::Instance;
use super::look_back::LookBack;
use super::metrics::Meters;
use super::run::{Run, Setup};
use super::task::Shared;
use super::{Error, Options, Processor};
use crate::group::{self, Context};

/// Wait between two tries to reach Kafka at start.
const START_RETRY: Duration = Duration::from_secs(2);
/// Limit of one question about the topic at start.
const ASK: Duration = Duration::from_secs(5);

/// Runs one processor over its topic.
pub struct Engine<P: Processor> {
    shared: Arc<Shared<P>>,
    kafka: KafkaOptions,
    instance: Instance,
    transactional_id: String,
    state: Arc<State>,
}

/// What others may know of a running engine.
#[derive(Debug, Default)]
pub(super) struct State {
    pub joined: AtomicBool,
    pub commits: AtomicBool,
    pub paused: AtomicBool,
}

/// A view of a running engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    state: Arc<State>,
}

impl Handle {
    /// Whether it has joined its group and can commit.
    pub fn is_ready(&self) -> bool {
        self.state.joined.load(Ordering::Acquire) && self.state.commits.load(Ordering::Acquire)
    }

    /// Whether it has stopped fetching, because its window stays full.
    pub fn is_paused(&self) -> bool {
        self.state.paused.load(Ordering::Acquire)
    }
}

impl<P: Processor> Engine<P> {
    /// An engine; nothing is connected yet.
    pub fn new(
        options: Options,
        kafka: KafkaOptions,
        names: &TopicNames,
        registry: Registry,
        (encoder, note_encoder): (Encoder<P::Out>, Encoder<P::Note>),
        processor: P,
    ) -> Result<Self, Error> {
        let group = names.group(P::STAGE);
        let folder = std::env::temp_dir();
        let instance = Instance::claim(&options.instance, &group, &folder)
            .map_err(|source| Error::Instance { folder: folder.display().to_string(), source })?;
        let transactional_id = format!("{group}-{}", instance.name);
        let shared = Shared {
            processor,
            registry,
            look_back: Arc::new(LookBack::new(kafka.clone(), names.name(P::STAGE.input()))),
            encoder,
            note_encoder,
            input: names.name(P::STAGE.input()),
            output: names.name(P::STAGE.output()),
            notes: names.name(P::Note::TOPIC),
            dead_letters: names.dead_letters(P::STAGE),
            group,
            options,
            meters: Arc::new(Meters::new(P::STAGE.as_str())),
        };
        Ok(Self {
            shared: Arc::new(shared),
            kafka,
            instance,
            transactional_id,
            state: Arc::default(),
        })
    }

    /// A view that outlives the call to [`Engine::run_until_stopped`].
    pub fn handle(&self) -> Handle {
        Handle { state: self.state.clone() }
    }

    /// Works until `shutdown`, then finishes what has begun, as far as it fits into the drain
    /// time, and commits it.
    ///
    /// Kafka is waited for as long as it takes. The loop has an OS thread of its own, because
    /// polls and transactions block; calls run on the current tokio runtime.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), Error> {
        let runtime = tokio::runtime::Handle::current();
        let (ended, end) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("engine-{}", P::STAGE.as_str()));
        let spawned = thread.spawn(move || {
            // A receiver that is gone has no use for the result.
            let _ = ended.send(self.run(runtime, &shutdown));
        });
        spawned.map_err(|_| Error::Thread)?;
        end.await.map_err(|_| Error::Thread)?
    }

    fn run(
        self,
        runtime: tokio::runtime::Handle,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let options = &self.shared.options;
        let config = options.consumer_config(&self.kafka, &self.shared.group);
        let consumer = create(&config).map_err(|source| Error::Kafka {
            stage: P::STAGE.as_str(),
            doing: "creating the consumer",
            source,
        })?;
        if !self.wait_for_topic(&consumer, &runtime, shutdown) {
            return Ok(());
        }
        info!(
            stage = P::STAGE.as_str(),
            input = self.shared.input,
            output = self.shared.output,
            group = self.shared.group,
            transactional_id = self.transactional_id,
            "engine starts"
        );
        let producer = options.producer_config(&self.kafka, &self.transactional_id);
        let setup = Setup {
            runtime,
            consumer,
            producer,
            transactional_id: self.transactional_id,
            state: self.state,
            shutdown: shutdown.clone(),
        };
        let ended = Run::new(self.shared, setup)?.run();
        drop(self.instance);
        ended
    }

    /// Waits until the broker answers and has the topic; `false` when shutdown came first.
    fn wait_for_topic(
        &self,
        consumer: &BaseConsumer<Context>,
        runtime: &tokio::runtime::Handle,
        shutdown: &CancellationToken,
    ) -> bool {
        while !shutdown.is_cancelled() {
            match group::has_topic(consumer, &self.shared.input, ASK) {
                Ok(true) => return true,
                Ok(false) => warn!(
                    stage = P::STAGE.as_str(),
                    topic = self.shared.input,
                    "the topic does not exist yet; `comanda topics apply` creates it"
                ),
                Err(error) => warn!(
                    stage = P::STAGE.as_str(), brokers = self.kafka.brokers, %error,
                    "Kafka does not answer, trying again"
                ),
            }
            runtime.block_on(async {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(START_RETRY) => {}
                }
            });
        }
        false
    }
}

fn create(config: &ClientConfig) -> rdkafka::error::KafkaResult<BaseConsumer<Context>> {
    BaseConsumer::from_config_and_context(config, Context::default())
}
