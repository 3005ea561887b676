//! Reading one topic from a point on, outside any consumer group: what `tail` and `audit` do.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::{ClientLog, KafkaOptions, hear};

/// Limit of one question to the broker about the topic.
const ASK: Duration = Duration::from_secs(10);

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The oldest record still kept.
    Beginning,
    /// Only what comes from now on.
    End,
    /// The first record stamped at or after this time, in milliseconds since 1970.
    Time(i64),
    /// As many offsets before the end, shared among the partitions.
    Last(i64),
}

/// Why a topic could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The cluster does not have it.
    #[error("topic {0} does not exist")]
    NoTopic(String),
    /// The broker or the client failed.
    #[error("reading topic {topic} failed")]
    Kafka {
        /// The topic.
        topic: String,
        /// What librdkafka says.
        #[source]
        source: KafkaError,
    },
}

/// A `read_committed` reader of all partitions of one topic. Blocking: use it off async workers.
pub struct Scan {
    topic: String,
    consumer: BaseConsumer<ClientLog>,
    partitions: usize,
    ended: HashSet<i32>,
}

/// One step of a [`Scan`].
pub enum Step<'s> {
    /// A record.
    Record(BorrowedMessage<'s>),
    /// Nothing came within the time given.
    Idle,
    /// Every partition was read to where it ended at some moment since the scan began.
    End,
}

/// Configuration of a consumer that assigns partitions to itself. The group is never joined;
/// librdkafka wants a name all the same, and brokers may ask for rights to it.
pub fn reader_config(kafka: &KafkaOptions, client: &str, group: &str) -> ClientConfig {
    let mut config = kafka.client_config(client);
    configure_reader(&mut config, group);
    config
}

/// Adds to `config` what [`reader_config`] has beyond the connection.
pub fn configure_reader(config: &mut ClientConfig, group: &str) {
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "50");
}

/// The partitions of `topic`; none where there is no such topic. Blocks for `limit` at the most.
/// Records that the consumer has fetched are lost: to be asked before it has partitions.
pub fn partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    limit: Duration,
) -> KafkaResult<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), limit);
    hear(consumer);
    let metadata = metadata?;
    let found = metadata.topics().iter().filter(|found| found.name() == topic);
    Ok(found.flat_map(|found| found.partitions()).map(|partition| partition.id()).collect())
}

impl Scan {
    /// Finds the partitions of `topic` and the offsets of `from`.
    pub fn open(kafka: &KafkaOptions, topic: &str, from: From) -> Result<Self, ScanError> {
        let failed = |source| ScanError::Kafka { topic: topic.to_owned(), source };
        let mut config = reader_config(kafka, "scan", "comanda-scan");
        config
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "100");
        let consumer: BaseConsumer<ClientLog> =
            config.create_with_context(ClientLog).map_err(failed)?;
        let partitions = partitions(&consumer, topic, ASK).map_err(failed)?;
        if partitions.is_empty() {
            return Err(ScanError::NoTopic(topic.to_owned()));
        }
        let ends = |partition| consumer.fetch_watermarks(topic, partition, ASK).map_err(failed);
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            let offset = match from {
                From::Beginning => Offset::Beginning,
                From::End => Offset::Offset(ends(*partition)?.1),
                From::Last(count) => {
                    let (low, high) = ends(*partition)?;
                    let share = count / partitions.len() as i64;
                    Offset::Offset((high - share).max(low))
                }
                From::Time(time) => Offset::Offset(time),
            };
            list.add_partition_offset(topic, *partition, offset).map_err(failed)?;
        }
        if let From::Time(_) = from {
            list = consumer.offsets_for_times(list, ASK).map_err(failed)?;
        }
        consumer.assign(&list).map_err(failed)?;
        Ok(Self {
            topic: topic.to_owned(),
            consumer,
            partitions: partitions.len(),
            ended: HashSet::new(),
        })
    }

    /// The next record, or what there is instead within `wait`.
    ///
    /// A broker that is away for a while is waited for; only an error that will not pass is
    /// returned.
    pub fn next(&mut self, wait: Duration) -> Result<Step<'_>, ScanError> {
        let until = Instant::now() + wait;
        loop {
            if self.ended.len() == self.partitions {
                self.ended.clear();
                return Ok(Step::End);
            }
            match self.consumer.poll(until.saturating_duration_since(Instant::now())) {
                None => return Ok(Step::Idle),
                Some(Ok(record)) => return Ok(Step::Record(record)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ended.insert(partition);
                }
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(source)) => {
                    return Err(ScanError::Kafka { topic: self.topic.clone(), source });
                }
            }
        }
    }
}

/// Waits until what is in `topic` now is settled: until no transaction that has written there is open
/// any more. A [`Scan`] that is opened then reads all of it that was committed. Blocks; between two
/// looks `go_on` is asked, and may give up: then the answer is `false`.
pub fn settle(
    kafka: &KafkaOptions,
    topic: &str,
    mut go_on: impl FnMut() -> bool,
) -> Result<bool, ScanError> {
    let failed = |source| ScanError::Kafka { topic: topic.to_owned(), source };
    // What a partition ends with depends on it: the last record, or the first open transaction.
    let reader = |isolation| -> Result<BaseConsumer<ClientLog>, ScanError> {
        let mut config = reader_config(kafka, "settle", "comanda-scan");
        config.set("isolation.level", isolation).create_with_context(ClientLog).map_err(failed)
    };
    let (written, committed) = (reader("read_uncommitted")?, reader("read_committed")?);
    let end = |reader: &BaseConsumer<ClientLog>, partition| {
        reader.fetch_watermarks(topic, partition, ASK).map(|(_, end)| end).map_err(failed)
    };
    let mut open = Vec::new();
    for partition in partitions(&written, topic, ASK).map_err(failed)? {
        open.push((partition, end(&written, partition)?));
    }
    loop {
        let mut still_open = Vec::new();
        for (partition, wanted) in open {
            if end(&committed, partition)? < wanted {
                still_open.push((partition, wanted));
            }
        }
        open = still_open;
        if open.is_empty() {
            return Ok(true);
        }
        if !go_on() {
            return Ok(false);
        }
    }
}

/// Whether librdkafka goes on by itself after this error of a consumer.
pub fn is_passing(error: &KafkaError) -> bool {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Fatal,
        )
        | None => false,
        Some(_) => true,
    }
}
