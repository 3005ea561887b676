//! Reads one topic: a blocking loop on a thread of its own, a member of the topic's group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comanda_schemas::{Topic, headers};
use comanda_store::Store;
use metrics::counter;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Message, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::batch::Batch;
use super::metrics::RETRIES_TOTAL;
use super::options::Backoff;
use super::partitions::{self, ASK};
use super::{Error, Options};
use comanda_kafka::group::{self, Closing, Context, Rebalance};

/// How long to wait for the first record of a batch, or for the writer to take one; shutdown is
/// noticed after it at the latest.
const IDLE: Duration = Duration::from_millis(100);
/// How long the writer may keep a batch waiting before fetching stops and only the group is
/// served, which takes a silent member for dead after minutes. A pause throws fetched records
/// away, so a short wait is sat out.
const PATIENCE: Duration = Duration::from_secs(10);

/// The reader of one topic.
pub(super) struct Reader {
    topic: Topic,
    /// Full name of the topic.
    name: String,
    consumer: Arc<BaseConsumer<Context>>,
    around: Surroundings,
    /// How long to wait before partitions are tried to be taken over again.
    backoff: Backoff,
    /// Where each partition ended when it was taken over, of those not read up to there.
    behind: HashMap<i32, i64>,
    has_joined: bool,
    has_caught_up: bool,
    is_paused: bool,
}

/// What the readers of all topics have in common.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// Where Kafka is, for the log.
    pub brokers: String,
    pub options: Options,
    pub store: Store,
    pub batches: mpsc::Sender<Batch>,
    pub shutdown: CancellationToken,
}

impl Reader {
    pub fn new(
        topic: Topic,
        name: String,
        consumer: BaseConsumer<Context>,
        around: Surroundings,
    ) -> Self {
        Self {
            topic,
            name,
            consumer: Arc::new(consumer),
            backoff: around.options.backoff(),
            around,
            behind: HashMap::new(),
            has_joined: false,
            has_caught_up: false,
            is_paused: false,
        }
    }

    /// Reads until it is stopped or nobody takes the batches. Blocking.
    pub fn run(mut self) -> Result<(), Error> {
        let _closing = Closing { consumer: self.consumer.clone(), topic: self.name.clone() };
        if !self.wait_for_topic() {
            return Ok(());
        }
        self.consumer.subscribe(&[&self.name]).map_err(|source| self.failed(source))?;
        while !self.around.shutdown.is_cancelled() {
            self.rebalance()?;
            let mut batch = self.next_batch()?;
            let caught_up = self.has_joined && self.behind.is_empty();
            batch.caught_up = caught_up && !self.has_caught_up;
            self.has_caught_up |= caught_up;
            if (!batch.records.is_empty() || batch.caught_up) && !self.hand_over(batch)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits until the topic is there; `false` when stopped before.
    fn wait_for_topic(&self) -> bool {
        let (topic, mut backoff) = (self.name.as_str(), self.around.options.backoff());
        loop {
            match group::has_topic(&self.consumer, topic, ASK) {
                Ok(true) => return true,
                Ok(false) => warn!(topic, "topic does not exist yet, trying again"),
                Err(error) => {
                    let error = headers::error_chain(&error);
                    warn!(
                        topic,
                        brokers = self.around.brokers,
                        error,
                        "Kafka can't be reached yet"
                    );
                }
            }
            counter!(RETRIES_TOTAL, "cause" => "kafka", "topic" => self.name.clone()).increment(1);
            if self.stopped_within(backoff.next_wait()) {
                return false;
            }
        }
    }

    /// Acts on what the group decided, one decision after another.
    fn rebalance(&mut self) -> Result<(), Error> {
        while let Some(decision) = self.consumer.context().decision() {
            match decision {
                Rebalance::Assigned(partitions) => {
                    if !self.take_over(&partitions)? {
                        let wait = self.backoff.next_wait();
                        self.stopped_within(wait);
                        return Ok(());
                    }
                    self.backoff = self.around.options.backoff();
                }
                Rebalance::Revoked { partitions, .. } => self.give_back(&partitions)?,
            }
        }
        Ok(())
    }

    /// Goes on where the store stands; `false` while it or the broker does not tell.
    fn take_over(&mut self, partitions: &[i32]) -> Result<bool, Error> {
        let topic = self.name.as_str();
        let retried = |cause: &'static str, error: &dyn std::error::Error| {
            let error = headers::error_chain(error);
            warn!(topic, ?partitions, cause, error, "where to go on is not known yet");
            counter!(RETRIES_TOTAL, "cause" => cause, "topic" => topic.to_owned()).increment(1);
        };
        let positions = match Handle::current().block_on(self.around.store.positions()) {
            Ok(positions) => positions,
            Err(error) => {
                retried("store", &error);
                return Ok(false);
            }
        };
        let positions = positions.into_iter().filter(|position| position.topic == topic);
        let positions = positions.map(|p| (p.partition, p.next_offset)).collect();
        let starts = match partitions::starts(&self.consumer, topic, partitions, &positions) {
            Ok(starts) => starts,
            Err(error) => {
                retried("kafka", &error);
                return Ok(false);
            }
        };
        self.begin(&starts).map_err(|source| self.failed(source))?;
        info!(topic, ?partitions, "projector reads partitions");
        self.behind.extend(starts.iter().filter_map(|s| Some((s.partition, s.behind?))));
        self.has_joined = true;
        Ok(true)
    }

    fn begin(&self, starts: &[partitions::Start]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for start in starts {
            list.add_partition_offset(&self.name, start.partition, start.offset)?;
        }
        group::take_over(&self.consumer, &list, self.is_paused)
    }

    /// What was read of them is still written: applying a record again changes nothing.
    fn give_back(&mut self, partitions: &[i32]) -> Result<(), Error> {
        self.behind.retain(|partition, _| !partitions.contains(partition));
        group::give_back(&self.consumer, &self.name, partitions)
            .map_err(|source| self.failed(source))?;
        info!(topic = self.name, ?partitions, "projector gave partitions back");
        Ok(())
    }

    /// What there is, up to the bounds of a batch; empty when nothing comes for a while.
    fn next_batch(&mut self) -> Result<Batch, Error> {
        let was_behind = !self.behind.is_empty();
        let mut batch = Batch::new(self.topic);
        let mut until = Instant::now() + IDLE;
        while !batch.is_full(&self.around.options) {
            let wait = until.saturating_duration_since(Instant::now());
            let was_empty = batch.records.is_empty();
            if !self.poll(wait, &mut batch)? || (was_behind && self.behind.is_empty()) {
                break;
            }
            if was_empty && !batch.records.is_empty() {
                until = Instant::now() + Duration::from_millis(self.around.options.batch_wait_ms);
            }
        }
        Ok(batch)
    }

    /// Serves the group, and adds the next record to `batch`; `false` when nothing happens.
    fn poll(&mut self, wait: Duration, batch: &mut Batch) -> Result<bool, Error> {
        match self.consumer.poll(wait) {
            None => return Ok(false),
            Some(Ok(record)) => {
                let (partition, next) = (record.partition(), record.offset() + 1);
                if self.behind.get(&partition).is_some_and(|end| next >= *end) {
                    self.behind.remove(&partition);
                }
                batch.push(&record);
            }
            // The last offsets may be a transaction's markers, which are never handed out.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.behind.remove(&partition);
            }
            Some(Err(source @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(self.failed(source));
            }
            Some(Err(error)) => {
                let (topic, error) = (self.name.as_str(), headers::error_chain(&error));
                warn!(topic, error, "reading a topic is disturbed, going on");
            }
        }
        Ok(true)
    }

    /// Gives the writer a batch, however long it takes; `false` when it takes none any more.
    fn hand_over(&mut self, mut batch: Batch) -> Result<bool, Error> {
        let since = Instant::now();
        loop {
            let batches = self.around.batches.clone();
            let place = async { timeout(IDLE, batches.reserve_owned()).await };
            match Handle::current().block_on(place) {
                Ok(Ok(permit)) => {
                    permit.send(batch);
                    break;
                }
                Ok(Err(_)) => return Ok(false),
                Err(_) if self.around.shutdown.is_cancelled() => return Ok(false),
                Err(_) if since.elapsed() < PATIENCE => {}
                Err(_) => {
                    self.set_paused(true);
                    self.poll(Duration::ZERO, &mut batch)?;
                    self.rebalance()?;
                }
            }
        }
        self.set_paused(false);
        Ok(true)
    }

    fn set_paused(&mut self, paused: bool) {
        if self.is_paused == paused {
            return;
        }
        match group::set_paused(&self.consumer, paused) {
            Ok(()) => self.is_paused = paused,
            Err(error) => warn!(topic = self.name, %error, "pausing or resuming failed"),
        }
    }

    /// Whether it is stopped within `wait`.
    fn stopped_within(&self, wait: Duration) -> bool {
        let stopped = async { timeout(wait, self.around.shutdown.cancelled()).await };
        Handle::current().block_on(stopped).is_ok()
    }

    fn failed(&self, source: KafkaError) -> Error {
        Error::Reader { topic: self.name.clone(), source }
    }
}
