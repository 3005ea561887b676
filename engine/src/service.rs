//! An engine as a service: what it needs, how it starts and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use comanda_kafka::group::{self, Context};
use comanda_kafka::{TopicId, topic_ids};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::handle::{Handle, Standstill, State};
use super::instance::Instance;
use super::key_history::KeyHistory;
use super::metrics::Meters;
use super::run::{Run, Setup};
use super::task::Shared;
use super::topology::{Connect, Topology};
use super::watch::Pulse;
use super::watchdog::Watchdog;
use super::{Error, Options, Processor};

/// Wait between two tries to reach Kafka at start.
const START_RETRY: Duration = Duration::from_secs(2);
/// Limit of one question about the topic at start.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long a call into librdkafka may last while the engine stops; then its thread is left behind.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Pause before a loop is started again, doubled up to the maximum while none lasts for
/// [`RESTART_FORGET`].
const RESTART: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_secs(60);
const RESTART_FORGET: Duration = Duration::from_secs(600);

/// Runs one processor over its topic.
pub struct Engine<P: Processor> {
    parts: Arc<Parts<P>>,
}

/// What each run of the loop starts from.
struct Parts<P: Processor> {
    shared: Arc<Shared<P>>,
    connect: Connect,
    transactional_id: String,
    /// Claimed for as long as a loop of ours runs.
    _instance: Instance,
    state: Arc<State>,
}

/// One run of the loop, as the service sees it.
#[derive(Clone)]
struct Attempt {
    /// Has the loop finish what it has begun and end.
    stop: CancellationToken,
    /// Cuts calls off: the loop is given up.
    gone: CancellationToken,
    pulse: Pulse,
}

impl<P: Processor> Engine<P> {
    /// An engine; nothing is connected yet. `connect` is what each Kafka client starts from, a
    /// `ClientConfig` for example.
    pub fn new(
        options: Options,
        connect: impl Into<Connect>,
        topology: Topology,
        processor: P,
    ) -> Result<Self, Error> {
        let connect = connect.into();
        let folder = std::env::temp_dir();
        let instance = Instance::claim(&options.instance, &topology.group, &folder)
            .map_err(|source| Error::Instance { folder: folder.display().to_string(), source })?;
        let transactional_id = format!("{}-{}", topology.group, instance.name);
        let shared = Arc::new(Shared {
            processor,
            history: Arc::new(KeyHistory::new(connect.clone(), &topology.input)),
            options,
            meters: Arc::new(Meters::new(topology.metrics_prefix, topology.name)),
            input: topology.input.as_str().into(),
            dead_letters: topology.dead_letters.as_str().into(),
            topology,
            pauses: AtomicUsize::new(0),
        });
        let state = Arc::default();
        let parts = Parts { shared, connect, transactional_id, _instance: instance, state };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// A view that outlives the call to [`Engine::run_until_stopped`].
    pub fn handle(&self) -> Handle {
        Handle { state: self.parts.state.clone() }
    }

    /// Works until `shutdown`, then finishes what has begun, as far as it fits into the drain
    /// time, and commits it.
    ///
    /// Kafka is waited for as long as it takes. The loop has an OS thread of its own, because
    /// polls and transactions block; calls run on the current tokio runtime. A loop that does not
    /// return from librdkafka, or whose records stay where they are, is given up and started again
    /// in place.
    ///
    /// Dropped before its end, it stops as at shutdown, on the loop's own thread.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { parts } = self;
        let mut pause = RESTART;
        loop {
            let began = Instant::now();
            let attempt = Attempt {
                stop: shutdown.child_token(),
                gone: CancellationToken::new(),
                pulse: Pulse::default(),
            };
            let _stop_when_dropped = attempt.stop.clone().drop_guard();
            if let Some(ended) = parts.attempt(&attempt, &shutdown).await {
                return ended;
            }
            attempt.gone.cancel();
            if began.elapsed() > RESTART_FORGET {
                pause = RESTART;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RESTART_MAX);
        }
    }
}

impl<P: Processor> Parts<P> {
    /// Runs the loop once; `None` when it has to be started again.
    async fn attempt(
        self: &Arc<Self>,
        attempt: &Attempt,
        shutdown: &CancellationToken,
    ) -> Option<Result<(), Error>> {
        let stage = self.shared.name();
        let runtime = tokio::runtime::Handle::current();
        let (ended, mut end) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("engine-{stage}"));
        let (own, its) = (self.clone(), attempt.clone());
        let spawned = thread.spawn(move || {
            // A receiver that is gone has no use for the result.
            let _ = ended.send(own.run(runtime, &its));
        });
        if spawned.is_err() {
            return Some(Err(Error::Thread));
        }
        let options = &self.shared.options;
        let limit = Duration::from_millis(options.stall_ms);
        let mut dog = Watchdog::new(self.state.clone(), attempt.pulse.clone(), limit);
        let trouble = loop {
            tokio::select! {
                ended = &mut end => return Some(ended.unwrap_or(Err(Error::Thread))),
                () = tokio::time::sleep(LOOK) => {}
            }
            if shutdown.is_cancelled() {
                if dog.turn_lasts_beyond(STOP_MAX) {
                    warn!(
                        stage,
                        "stopping: a call into librdkafka does not return, its thread is left"
                    );
                    return Some(Ok(()));
                }
                continue;
            }
            match dog.look() {
                Some(trouble) => break trouble,
                None => *self.state.standstill() = None,
            }
        };
        let reason = trouble.to_string();
        error!(
            stage,
            reason,
            in_hand = self.state.in_hand.load(Ordering::Acquire),
            paused = self.state.paused.load(Ordering::Acquire),
            commits = self.state.commits.load(Ordering::Acquire),
            waiting = self.shared.pauses.load(Ordering::Acquire),
            "the engine stands still; it is started again in place"
        );
        self.shared.meters.restarts.increment(1);
        *self.state.standstill() = Some(Standstill { reason, since: SystemTime::now() });
        attempt.stop.cancel();
        let patience = options.drain() + STOP_MAX;
        if let Ok(ended) = tokio::time::timeout(patience, end).await {
            let ended = ended.unwrap_or(Err(Error::Thread));
            if ended.is_err() {
                return Some(ended);
            }
        } else {
            warn!(stage, "the engine's thread does not end and is left behind");
        }
        for gauge in [&self.state.calls, &self.state.finished, &self.state.in_hand] {
            gauge.store(0, Ordering::Release);
        }
        self.state.joined.store(false, Ordering::Release);
        self.state.commits.store(false, Ordering::Release);
        None
    }

    fn run(&self, runtime: tokio::runtime::Handle, attempt: &Attempt) -> Result<(), Error> {
        let _turns = attempt.pulse.enter();
        let options = &self.shared.options;
        let config = options.consumer_config(&self.connect, &self.shared.topology);
        let consumer = create(&config).map_err(|source| Error::Kafka {
            stage: self.shared.name(),
            doing: "creating the consumer",
            source,
        })?;
        let Some(topic_id) = self.wait_for_topic(&consumer, &runtime, attempt) else {
            return Ok(());
        };
        info!(
            stage = self.shared.name(),
            input = self.shared.topology.input,
            group = self.shared.topology.group,
            transactional_id = self.transactional_id,
            "engine starts"
        );
        let producer = options.producer_config(&self.connect, &self.transactional_id);
        let setup = Setup {
            runtime,
            consumer,
            topic_id,
            producer,
            transactional_id: self.transactional_id.clone(),
            state: self.state.clone(),
            pulse: attempt.pulse.clone(),
            shutdown: attempt.stop.clone(),
            gone: attempt.gone.clone(),
        };
        Run::new(self.shared.clone(), setup)?.run()
    }

    /// Waits until the broker answers and has the topic; its id, where the broker tells one. `None`
    /// when shutdown came first.
    fn wait_for_topic(
        &self,
        consumer: &BaseConsumer<Context>,
        runtime: &tokio::runtime::Handle,
        attempt: &Attempt,
    ) -> Option<Option<TopicId>> {
        let input = &self.shared.topology.input;
        let find = || {
            if !group::has_topic(consumer, input, TOPIC_TIMEOUT)? {
                return Ok(None);
            }
            let ids = topic_ids(consumer.client(), std::slice::from_ref(input), TOPIC_TIMEOUT)?;
            Ok::<_, KafkaError>(Some(ids.get(input).copied()))
        };
        while !attempt.stop.is_cancelled() {
            attempt.pulse.beat();
            match find() {
                Ok(Some(id)) => return Some(id),
                Ok(None) => warn!(
                    stage = self.shared.name(),
                    topic = self.shared.topology.input,
                    "the topic does not exist yet"
                ),
                Err(error) => warn!(
                    stage = self.shared.name(), %error,
                    "Kafka does not answer, trying again"
                ),
            }
            runtime.block_on(async {
                tokio::select! {
                    () = attempt.stop.cancelled() => {}
                    () = tokio::time::sleep(START_RETRY) => {}
                }
            });
        }
        None
    }
}

fn create(config: &ClientConfig) -> rdkafka::error::KafkaResult<BaseConsumer<Context>> {
    BaseConsumer::from_config_and_context(config, Context::default())
}
