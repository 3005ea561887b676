//! Settings of the engine and what they mean to librdkafka.

use std::time::Duration;

use comanda_kafka::group;
use rdkafka::ClientConfig;
use serde::Deserialize;

use crate::Topology;
use crate::topology::Connect;

/// Settings of an engine. Those that want the same names and times on every process of a group say
/// so in the README.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Name of this instance in its transactional id, the same after each restart; `auto` takes
    /// the host's name and the lowest number that no other process on the host has.
    pub instance: String,
    /// Calls under way, those that wait before their next try included, at least 1. As many records
    /// may wait in memory behind others of their keys; beyond that only their offsets do.
    pub max_in_flight_records: usize,
    /// Bytes of the records begun and not yet committed; half as many may wait beside them.
    pub max_in_flight_bytes: usize,
    /// Calls for one record before it becomes a dead letter, at least 1.
    pub max_attempts: u32,
    /// Age since its first failure at which a record that still fails becomes a dead letter, in
    /// milliseconds.
    pub max_retry_age_ms: u64,
    /// How long calls may go on after their partition is taken away, or at shutdown, in
    /// milliseconds; below the session time-out.
    pub drain_ms: u64,
    /// Group session time-out, in milliseconds.
    pub session_timeout_ms: u64,
    /// After how long the broker aborts a transaction of a dead process, in milliseconds.
    pub transaction_timeout_ms: u64,
    /// After how long the engine is started again in place when it has work in hand and nothing ends,
    /// nothing is committed and nothing waits for a known reason, in milliseconds; 0 for never.
    pub stall_ms: u64,
    /// How many of the last records are watched for dead letters; 0 for none.
    pub breaker_window_records: usize,
    /// Share of dead letters among them at which the engine stops, in percent.
    pub breaker_dead_percent: u8,
    /// Compression of what is written: `none`, `gzip`, `lz4`, `zstd` or `snappy`.
    pub compression: String,
    /// Records in one transaction at the most, and results that wait for one.
    pub max_transaction_records: usize,
}

/// Records of one partition that wait behind others of their keys, in memory or as offsets, before
/// the partition is not read any further.
pub(crate) const PARKED_PER_PARTITION: usize = 4_096;

/// Size of a record that an engine writes, at the most; the topics it writes to must take as much.
pub const MAX_MESSAGE_BYTES: u32 = 16 << 20;

impl Options {
    /// The configuration of the engine's producer, for checks before anything is connected.
    pub fn client_config(&self, connect: &Connect) -> ClientConfig {
        self.producer_config(connect, "check")
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// Records read and not committed at the most: see `is_full` in `run`, and a batch under way.
    pub(crate) fn in_hand(&self) -> usize {
        self.max_in_flight_records + 2 * self.max_transaction_records + PARKED_PER_PARTITION
    }

    pub(crate) fn transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.transaction_timeout_ms)
    }

    /// How long one call of the committer may last before its producer is given up. By then the
    /// broker has ended the transaction, so that nothing is lost with it.
    pub(crate) fn committer_limit(&self) -> Duration {
        2 * self.transaction_timeout() + Duration::from_secs(5)
    }

    pub(crate) fn consumer_config(&self, connect: &Connect, of: &Topology) -> ClientConfig {
        let mut config = connect.client_config(&of.group);
        group::configure(&mut config, &of.group, self.session_timeout_ms);
        config
    }

    pub(crate) fn producer_config(&self, connect: &Connect, id: &str) -> ClientConfig {
        let mut config = connect.client_config(id);
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", self.transaction_timeout_ms.to_string())
            .set("message.timeout.ms", (self.transaction_timeout_ms * 3 / 4).to_string())
            .set("partitioner", "murmur2_random")
            .set("compression.type", &self.compression)
            // Without any, small batches fill the requests in flight.
            .set("linger.ms", "1")
            // A failed one makes the commit fail; nobody asks about the others.
            .set("delivery.report.only.error", "true")
            // A dead letter is its record and headers that tell why: larger than what was read.
            .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
            // Paid inside each transaction.
            .set("retry.backoff.ms", "20");
        config
    }
}
