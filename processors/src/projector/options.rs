//! Settings of the projector.

use std::time::Duration;

use comanda_schemas::{KafkaOptions, TopicNames};
use rdkafka::ClientConfig;
use serde::Deserialize;

/// Settings of the projector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Records written in one SQL transaction at most, at least 1.
    pub batch_records: u32,
    /// Bytes of record values after which a batch takes no more records.
    pub batch_bytes: u64,
    /// How long a batch waits for more records, in milliseconds; 0 takes what is there.
    pub batch_wait_ms: u64,
    /// How often to look for new partitions, in milliseconds.
    pub partitions_refresh_ms: u64,
    /// Wait before the first retry of anything that failed, in milliseconds; it doubles with each
    /// further one.
    pub retry_initial_ms: u64,
    /// Longest wait between two retries, in milliseconds.
    pub retry_max_ms: u64,
}

impl Options {
    pub(super) fn backoff(&self) -> Backoff {
        Backoff {
            next: Duration::from_millis(self.retry_initial_ms.max(1)),
            max: Duration::from_millis(self.retry_max_ms.max(1)),
        }
    }
}

/// Configuration of the reader of one topic.
pub(super) fn client_config(kafka: &KafkaOptions, names: &TopicNames) -> ClientConfig {
    let mut config = kafka.client_config("projector");
    config
        // Never joined and never committed to; librdkafka wants a name all the same.
        .set("group.id", format!("{}comanda-projector", names.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "50")
        .set("queued.max.messages.kbytes", "16384")
        .set("statistics.interval.ms", "1000");
    config
}

/// Waits that double up to a limit.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// The wait before the next retry.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next.min(self.max);
        self.next = wait.saturating_mul(2);
        wait
    }
}
