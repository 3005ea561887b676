//! Reads one topic: a blocking loop on a thread of its own, a member of the topic's group.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use comanda_kafka::TopicId;
use comanda_kafka::starts::{Extent, PartitionAsker};
use comanda_schemas::{Health, Topic, headers};
use comanda_store::Store;
use metrics::{counter, gauge};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Message, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::batch::Batch;
use super::metrics::{PARTITIONS_WAITING, RETRIES_TOTAL};
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

/// How often a topic is looked at that is another than the store was written from.
const OTHER_TOPIC: Duration = Duration::from_secs(2);

/// A partition, for its troubles.
fn partition_of(topic: &str, partition: i32) -> String {
    format!("topic {topic}, partition {partition}")
}

/// The reader of one topic.
pub(super) struct Reader {
    topic: Topic,
    /// Full name of the topic.
    name: String,
    consumer: Arc<BaseConsumer<Context>>,
    around: Surroundings,
    /// Asks where partitions begin and end.
    asker: PartitionAsker,
    /// Partitions that came and are not read yet, each with the ticket of its last question.
    waiting: BTreeMap<i32, u64>,
    /// What is known of those.
    extents: Vec<Extent>,
    tickets: u64,
    /// How long to wait before the store is asked again where to go on, and when.
    backoff: Backoff,
    ask_store_at: Instant,
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
    /// What stands still.
    pub health: Health,
    pub shutdown: CancellationToken,
}

impl Reader {
    pub fn new(
        topic: Topic,
        name: String,
        consumer: BaseConsumer<Context>,
        around: Surroundings,
    ) -> Result<Self, Error> {
        let consumer = Arc::new(consumer);
        let (health, of) = (around.health.clone(), name.clone());
        let on_failure = move |partition: i32, error: &KafkaError| {
            counter!(RETRIES_TOTAL, "cause" => "kafka", "topic" => of.clone()).increment(1);
            let reason = format!("can't be read yet: {}", headers::error_chain(error));
            health.trouble(&partition_of(&of, partition), reason);
        };
        let asker = PartitionAsker::spawn(Arc::downgrade(&consumer), name.clone(), on_failure);
        let asker = asker.map_err(|source| Error::Spawn { topic: name.clone(), source })?;
        Ok(Self {
            topic,
            name,
            consumer,
            asker,
            waiting: BTreeMap::new(),
            extents: Vec::new(),
            tickets: 0,
            backoff: around.options.backoff(),
            ask_store_at: Instant::now(),
            around,
            behind: HashMap::new(),
            has_joined: false,
            has_caught_up: false,
            is_paused: false,
        })
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
            self.start_partitions()?;
            let mut batch = self.next_batch()?;
            let is_all_read = self.waiting.is_empty() && self.behind.is_empty();
            let caught_up = self.has_joined && is_all_read;
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
                Ok(true) => {
                    self.around.health.recovery(topic);
                    return true;
                }
                Ok(false) => {
                    self.around.health.trouble(topic, "there is no such topic");
                    warn!(topic, "topic does not exist yet, trying again");
                }
                Err(error) => {
                    let error = headers::error_chain(&error);
                    self.around.health.trouble(topic, format!("Kafka can't be reached: {error}"));
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
                    group::take_over_later(&self.consumer).map_err(|source| self.failed(source))?;
                    self.has_joined = true;
                    for partition in partitions {
                        self.ask(partition, Duration::ZERO);
                    }
                }
                Rebalance::Revoked { partitions, .. } => self.give_back(&partitions)?,
            }
        }
        Ok(())
    }

    /// Asks where a partition begins and ends, after `pause`. It is read once that is known.
    fn ask(&mut self, partition: i32, pause: Duration) {
        self.tickets += 1;
        self.waiting.insert(partition, self.tickets);
        self.asker.ask(partition, self.tickets, pause);
        self.tell_waiting();
    }

    fn tell_waiting(&self) {
        let waiting = self.waiting.len() as f64;
        gauge!(PARTITIONS_WAITING, "topic" => self.name.clone()).set(waiting);
    }

    /// Goes on, where the store stands, in the partitions of which it is known where they begin and
    /// end.
    fn start_partitions(&mut self) -> Result<(), Error> {
        self.extents.extend(self.asker.answers());
        let waiting = &self.waiting;
        self.extents.retain(|extent| waiting.get(&extent.partition) == Some(&extent.ticket));
        if self.extents.is_empty() || Instant::now() < self.ask_store_at {
            return Ok(());
        }
        let (positions, known) = match Handle::current().block_on(self.standing()) {
            Ok(standing) => standing,
            Err(error) => {
                let (topic, error) = (self.name.as_str(), headers::error_chain(&error));
                warn!(topic, error, "where to go on is not known yet: the order store failed");
                let reason = format!("does not say where to go on: {error}");
                self.around.health.trouble(&self.store_of(), reason);
                counter!(RETRIES_TOTAL, "cause" => "store", "topic" => self.name.clone())
                    .increment(1);
                self.ask_store_at = Instant::now() + self.backoff.next_wait();
                return Ok(());
            }
        };
        self.around.health.recovery(&self.store_of());
        self.backoff = self.around.options.backoff();
        let mut starts = Vec::new();
        for extent in std::mem::take(&mut self.extents) {
            let position = positions.get(&extent.partition).copied();
            match partitions::start(&self.name, extent, position, known) {
                Ok(start) => starts.push(start),
                Err(other) => self.wait_for_operator(extent.partition, &other.reason),
            }
        }
        if starts.is_empty() {
            return Ok(());
        }
        self.around.health.recovery(&self.name);
        let partitions: Vec<i32> = starts.iter().map(|start| start.partition).collect();
        let topic = self.name.clone();
        if let Err(error) = self.begin(&starts) {
            // The group has decided otherwise meanwhile, or will.
            warn!(topic, ?partitions, %error, "partitions can't be read yet, retrying");
            for partition in partitions {
                self.ask(partition, OTHER_TOPIC);
            }
            return Ok(());
        }
        info!(topic, ?partitions, "projector reads partitions");
        self.behind.extend(starts.iter().filter_map(|s| Some((s.partition, s.behind?))));
        for partition in partitions {
            self.waiting.remove(&partition);
            self.around.health.recovery(&partition_of(&topic, partition));
        }
        self.tell_waiting();
        Ok(())
    }

    /// How far the store came in each partition, and in which topic of this name; one of which that
    /// is not known yet is the one that is there.
    async fn standing(&self) -> Result<(HashMap<i32, i64>, Option<TopicId>), comanda_store::Error> {
        let store = &self.around.store;
        let positions = store.positions().await?;
        let positions = positions.into_iter().filter(|position| position.topic == self.name);
        let positions: HashMap<i32, i64> =
            positions.map(|p| (p.partition, p.next_offset)).collect();
        let known = store.topic_ids().await?.get(&self.name).copied();
        let ends_before =
            |e: &Extent| positions.get(&e.partition).is_some_and(|position| *position > e.high);
        if let (None, Some(id)) = (known, self.extents.iter().find_map(|extent| extent.topic_id))
            && !self.extents.iter().any(ends_before)
        {
            store.adopt_topic(&self.name, id).await?;
        }
        Ok((positions, known))
    }

    /// The topic is another than the store was written from: nothing is read until an operator has
    /// said what is to become of that.
    fn wait_for_operator(&mut self, partition: i32, reason: &str) {
        if self.around.health.trouble(&self.name, reason) {
            error!(topic = self.name, partition, "{reason}");
        }
        self.ask(partition, OTHER_TOPIC);
    }

    /// What the store is to this reader, for its troubles.
    fn store_of(&self) -> String {
        format!("order store, topic {}", self.name)
    }

    fn begin(&self, starts: &[partitions::Start]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for start in starts {
            list.add_partition_offset(&self.name, start.partition, start.offset)?;
        }
        group::start(&self.consumer, &list, self.is_paused)
    }

    /// What was read of them is still written: applying a record again changes nothing.
    fn give_back(&mut self, partitions: &[i32]) -> Result<(), Error> {
        self.behind.retain(|partition, _| !partitions.contains(partition));
        // Those that wait are not assigned yet, as librdkafka sees it.
        let is_read = |partition: &&i32| !self.waiting.contains_key(partition);
        let read: Vec<i32> = partitions.iter().filter(is_read).copied().collect();
        for partition in partitions {
            self.waiting.remove(partition);
            self.around.health.recovery(&partition_of(&self.name, *partition));
        }
        self.tell_waiting();
        group::give_back(&self.consumer, &self.name, &read)
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
                    self.start_partitions()?;
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
