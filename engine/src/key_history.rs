//! Records read from the topic once more: what stood before a record under its key, and records of
//! which only the offsets wait.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comanda_kafka::ClientLog;
use comanda_kafka::scan::{configure_reader, is_passing};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::Semaphore;

use crate::Record;
use crate::topology::Connect;

/// Clients that read at one time; further records wait for one.
const READERS: usize = 4;
/// How long the next record may take to come.
const PATIENCE: Duration = Duration::from_secs(2);

type Reader = BaseConsumer<ClientLog>;

/// Reads back. Clients are made when they are first needed, and kept.
pub(crate) struct KeyHistory {
    connect: Connect,
    topic: Arc<str>,
    idle: Mutex<Vec<Reader>>,
    turns: Semaphore,
}

impl KeyHistory {
    pub fn new(connect: Connect, topic: &str) -> Self {
        let topic = topic.into();
        Self { connect, topic, idle: Mutex::default(), turns: Semaphore::new(READERS) }
    }

    /// The records with `key` at `offsets` of `partition`, in log order. What was
    /// deleted since is left out.
    pub async fn records(
        self: &Arc<Self>,
        partition: i32,
        offsets: Range<i64>,
        key: &[u8],
    ) -> KafkaResult<Vec<Record>> {
        let key = key.to_owned();
        self.read_with(partition, offsets, move |record| record.key() == Some(&key)).await
    }

    /// The records at `offsets`, ascending, of `partition`; those that were deleted since are left
    /// out.
    pub async fn records_at(
        self: &Arc<Self>,
        partition: i32,
        offsets: Vec<i64>,
    ) -> KafkaResult<Vec<Record>> {
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return Ok(Vec::new());
        };
        let range = *first..*last + 1;
        let is_wanted =
            move |record: &BorrowedMessage<'_>| offsets.binary_search(&record.offset()).is_ok();
        self.read_with(partition, range, is_wanted).await
    }

    async fn read_with(
        self: &Arc<Self>,
        partition: i32,
        offsets: Range<i64>,
        is_wanted: impl Fn(&BorrowedMessage<'_>) -> bool + Send + 'static,
    ) -> KafkaResult<Vec<Record>> {
        let _turn = self.turns.acquire().await.expect("never closed");
        let own = self.clone();
        let reading = tokio::task::spawn_blocking(move || own.read(partition, &offsets, is_wanted));
        reading.await.unwrap_or(Err(KafkaError::Canceled))
    }

    fn read(
        &self,
        partition: i32,
        offsets: &Range<i64>,
        is_wanted: impl Fn(&BorrowedMessage<'_>) -> bool,
    ) -> KafkaResult<Vec<Record>> {
        let idle = || self.idle.lock().unwrap_or_else(|e| e.into_inner());
        let reader = idle().pop();
        let reader = reader.map_or_else(|| self.reader(), Ok)?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.topic, partition, Offset::Offset(offsets.start))?;
        reader.assign(&from)?;
        let mut records = Vec::new();
        loop {
            match reader.poll(PATIENCE) {
                Some(Ok(record)) if record.offset() >= offsets.end => break,
                Some(Ok(record)) => {
                    if is_wanted(&record) {
                        records.push(Record::copy(&self.topic, &record));
                    }
                    if record.offset() + 1 == offsets.end {
                        break;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    // A new leader can have an earlier end for a while: what was read there before
                    // is only gone where the log begins behind it.
                    let (begin, _) = reader.fetch_watermarks(&self.topic, partition, PATIENCE)?;
                    if begin < offsets.end {
                        return Err(KafkaError::MessageConsumption(
                            RDKafkaErrorCode::OffsetNotAvailable,
                        ));
                    }
                    break;
                }
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(error),
                None => {
                    return Err(KafkaError::MessageConsumption(
                        RDKafkaErrorCode::OperationTimedOut,
                    ));
                }
            }
        }
        reader.unassign()?;
        idle().push(reader);
        Ok(records)
    }

    fn reader(&self) -> KafkaResult<Reader> {
        let mut config = self.connect.client_config("look-back");
        configure_reader(&mut config, "look-back");
        config
            // A redrive writes to the topic in transactions.
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            // The next look must not wait behind the last one's fetch.
            .set("fetch.wait.max.ms", "10")
            .set("queued.max.messages.kbytes", "4096");
        config.create_with_context(ClientLog)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

    use super::*;

    #[tokio::test]
    async fn a_log_that_ends_too_early_is_no_word_on_records() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("orders", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let producer: BaseProducer = config.create().unwrap();
        for _ in 0..3 {
            producer.send(BaseRecord::to("orders").partition(0).key("a").payload("b")).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
        let history = Arc::new(KeyHistory::new(Connect::from(config), "orders"));
        let found = history.records_at(0, vec![0, 2]).await.unwrap();
        assert_eq!(found.iter().map(Record::offset).collect::<Vec<_>>(), [0, 2]);
        let beyond = history.records_at(0, vec![0, 2, 5]).await;
        let code = beyond.unwrap_err().rdkafka_error_code();
        assert_eq!(code, Some(RDKafkaErrorCode::OffsetNotAvailable));
        let earlier = history.records(0, 0..6, b"a").await;
        assert!(earlier.is_err(), "as many as there are: {earlier:?}");
    }
}
