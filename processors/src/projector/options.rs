//! Settings of the projector.

use std::time::Duration;

use comanda_schemas::KafkaOptions;
use rdkafka::ClientConfig;
use serde::Deserialize;

use comanda_kafka::group;

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
    /// After how long without a sign of life a projector's partitions go to the others, in
    /// milliseconds.
    pub session_timeout_ms: u64,
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

/// Configuration of the reader of one topic, a member of `group`.
pub(super) fn client_config(kafka: &KafkaOptions, group: &str, options: &Options) -> ClientConfig {
    let mut config = kafka.client_config("projector");
    group::configure(&mut config, group, options.session_timeout_ms);
    config
        .set("enable.partition.eof", "true")
        .set("topic.metadata.refresh.interval.ms", options.partitions_refresh_ms.to_string())
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
