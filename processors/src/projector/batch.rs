//! What the readers hand to the writer.

use comanda_schemas::{Timestamp, Topic};
use comanda_store::Recorded;
use rdkafka::message::{BorrowedMessage, Message};

use super::Options;

/// Records of one topic, in the order of each partition.
#[derive(Debug)]
pub(super) struct Batch {
    pub topic: Topic,
    pub records: Vec<Raw>,
    bytes: u64,
    /// With these, everything has been read that was there when the reader got its partitions.
    pub caught_up: bool,
}

/// One record as it was read.
#[derive(Debug)]
pub(super) struct Raw {
    pub at: Recorded,
    pub value: Option<Vec<u8>>,
}

impl Batch {
    pub fn new(topic: Topic) -> Self {
        Self { topic, records: Vec::new(), bytes: 0, caught_up: false }
    }

    pub fn is_full(&self, options: &Options) -> bool {
        self.records.len() >= options.batch_records.max(1) as usize
            || self.bytes >= options.batch_bytes.max(1)
    }

    pub fn push(&mut self, record: &BorrowedMessage<'_>) {
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
