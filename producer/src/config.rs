//! Settings of a producer and what they mean to librdkafka.

use comanda_schemas::KafkaOptions;
use rdkafka::ClientConfig;
use serde::Deserialize;

/// Settings of a producer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Records that may wait for their acknowledgement at one time, at least 1.
    pub max_in_flight_records: u64,
    /// Bytes of keys and values that may wait for their acknowledgement at one time.
    pub max_in_flight_bytes: u64,
    /// How long an event may take to be acknowledged, retries included, in milliseconds.
    pub delivery_timeout_ms: u64,
    /// How long a batch waits for more records, in milliseconds; 0 sends at once.
    pub linger_ms: u64,
    /// `none`, `lz4`, `zstd`, `gzip` or `snappy`.
    pub compression: String,
}

impl Options {
    /// The configuration of the producer's client.
    pub fn client_config(&self, kafka: &KafkaOptions) -> ClientConfig {
        let mut config = kafka.client_config("producer");
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Java's default partitioner for records with a key, so that all clients agree.
            .set("partitioner", "murmur2_random")
            .set("compression.type", &self.compression)
            .set("linger.ms", self.linger_ms.to_string())
            .set("message.timeout.ms", self.delivery_timeout_ms.to_string())
            .set("retry.backoff.ms", "20")
            // The bounds are ours (records and bytes in flight); these only have to be above them.
            .set("queue.buffering.max.messages", (self.max_in_flight_records * 2).to_string())
            .set(
                "queue.buffering.max.kbytes",
                (self.max_in_flight_bytes / 512).clamp(1024, 2_000_000).to_string(),
            );
        config
    }
}
