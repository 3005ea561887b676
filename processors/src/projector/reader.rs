//! Reads one topic: a blocking loop on a thread of its own.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use comanda_schemas::{Timestamp, Topic, headers};
use comanda_store::Recorded;
use metrics::counter;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::lag::Context;
use super::metrics::RETRIES_TOTAL;
use super::{Error, Options, partitions};

/// How long to wait for the first record of a batch; shutdown is noticed after it at the latest.
const IDLE: Duration = Duration::from_millis(100);

/// Records of one topic, in the order of each partition.
#[derive(Debug)]
pub(super) struct Batch {
    pub topic: Topic,
    pub records: Vec<Raw>,
    bytes: u64,
    /// With these, everything has been read that was there at the start.
    pub caught_up: bool,
}

/// One record as it was read.
#[derive(Debug)]
pub(super) struct Raw {
    pub at: Recorded,
    pub value: Option<Vec<u8>>,
}

/// The reader of one topic.
pub(super) struct Reader {
    pub topic: Topic,
    /// Full name of the topic.
    pub name: String,
    /// Where Kafka is, for the log.
    pub brokers: String,
    pub consumer: BaseConsumer<Context>,
    pub options: Options,
    /// How far the store came, by partition.
    pub positions: HashMap<i32, i64>,
    pub batches: mpsc::Sender<Batch>,
    pub shutdown: CancellationToken,
}

impl Reader {
    /// Reads until it is stopped or nobody takes the batches. Blocking.
    pub fn run(self) -> Result<(), Error> {
        let Some(mut assigned) = self.assign_first() else { return Ok(()) };
        let mut refresh_at = self.next_refresh();
        let mut told = false;
        while !self.shutdown.is_cancelled() {
            if Instant::now() >= refresh_at {
                self.assign_new(&mut assigned.partitions);
                refresh_at = self.next_refresh();
            }
            let mut batch = self.next_batch(&mut assigned.behind)?;
            batch.caught_up = assigned.behind.is_empty() && !told;
            told |= batch.caught_up;
            if !batch.records.is_empty() || batch.caught_up {
                let Ok(()) = self.batches.blocking_send(batch) else { break };
            }
        }
        Ok(())
    }

    fn next_refresh(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.options.partitions_refresh_ms)
    }

    /// Waits until the topic is there; `None` when stopped before.
    fn assign_first(&self) -> Option<Assigned> {
        let mut backoff = self.options.backoff();
        loop {
            let topic = self.name.as_str();
            match self.assign(&BTreeSet::new()) {
                Ok(assigned) if !assigned.partitions.is_empty() => {
                    info!(topic, partitions = assigned.partitions.len(), "projector reads a topic");
                    return Some(assigned);
                }
                Ok(_) => warn!(topic, "topic does not exist yet, trying again"),
                Err(error) => {
                    let error = headers::error_chain(&error);
                    warn!(topic, brokers = self.brokers, error, "Kafka can't be reached yet");
                }
            }
            counter!(RETRIES_TOTAL, "cause" => "kafka", "topic" => self.name.clone()).increment(1);
            if self.stopped_within(backoff.next_wait()) {
                return None;
            }
        }
    }

    fn assign_new(&self, known: &mut BTreeSet<i32>) {
        let topic = self.name.as_str();
        match self.assign(known) {
            Ok(Assigned { mut partitions, .. }) if !partitions.is_empty() => {
                info!(topic, ?partitions, "projector reads new partitions");
                known.append(&mut partitions);
            }
            Ok(_) => {}
            Err(error) => {
                let error = headers::error_chain(&error);
                warn!(topic, error, "looking for new partitions failed");
            }
        }
    }

    /// Starts to read the partitions that the topic has beyond those `known`.
    fn assign(&self, known: &BTreeSet<i32>) -> KafkaResult<Assigned> {
        let mut partitions = partitions::list(&self.consumer, &self.name)?;
        partitions.retain(|partition| !known.contains(partition));
        let starts = partitions::starts(&self.consumer, &self.name, &partitions, &self.positions)?;
        let mut list = TopicPartitionList::with_capacity(starts.len());
        let mut behind = HashMap::new();
        for start in starts {
            list.add_partition_offset(&self.name, start.partition, start.offset)?;
            behind.extend(start.behind.map(|end| (start.partition, end)));
        }
        if list.count() > 0 {
            self.consumer.incremental_assign(&list)?;
        }
        Ok(Assigned { partitions, behind })
    }

    /// What there is, up to the bounds of a batch; empty when nothing comes for a while.
    /// Partitions that were read to their end at the start are taken out of `behind`.
    fn next_batch(&self, behind: &mut HashMap<i32, i64>) -> Result<Batch, Error> {
        let was_behind = !behind.is_empty();
        let mut batch =
            Batch { topic: self.topic, records: Vec::new(), bytes: 0, caught_up: false };
        let mut until = Instant::now() + IDLE;
        while !batch.is_full(&self.options) {
            match self.consumer.poll(until.saturating_duration_since(Instant::now())) {
                None => break,
                Some(Ok(record)) => {
                    if batch.records.is_empty() {
                        until = Instant::now() + Duration::from_millis(self.options.batch_wait_ms);
                    }
                    behind.retain(|p, end| *p != record.partition() || record.offset() + 1 < *end);
                    batch.push(&record);
                }
                // The last offsets may be a transaction's markers, which are never handed out.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    behind.remove(&partition);
                    if was_behind && behind.is_empty() {
                        break;
                    }
                }
                Some(Err(source @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(Error::Reader { topic: self.name.clone(), source });
                }
                Some(Err(error)) => {
                    let (topic, error) = (self.name.as_str(), headers::error_chain(&error));
                    warn!(topic, error, "reading a topic is disturbed, going on");
                }
            }
        }
        Ok(batch)
    }

    /// Whether it is stopped within `wait`.
    fn stopped_within(&self, wait: Duration) -> bool {
        let stopped = async { tokio::time::timeout(wait, self.shutdown.cancelled()).await };
        Handle::current().block_on(stopped).is_ok()
    }
}

/// Partitions that were just taken up, and those of them that are not read to their end.
struct Assigned {
    partitions: BTreeSet<i32>,
    behind: HashMap<i32, i64>,
}

impl Batch {
    fn is_full(&self, options: &Options) -> bool {
        self.records.len() >= options.batch_records.max(1) as usize
            || self.bytes >= options.batch_bytes.max(1)
    }

    fn push(&mut self, record: &BorrowedMessage<'_>) {
        let value = record.payload().map(<[u8]>::to_vec);
        self.bytes += value.as_ref().map_or(0, Vec::len) as u64;
        let at = Recorded {
            topic: record.topic().to_owned(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp: Timestamp::from_millis(record.timestamp().to_millis().unwrap_or(0)),
        };
        self.records.push(Raw { at, value });
    }
}
