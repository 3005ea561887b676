//! How to reach the Kafka cluster: the settings that every client of comanda shares.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tracing::{debug, error, warn};

use crate::diagnosis;

/// Errors that [`hear`] takes at one time.
const MAX_HEARD: usize = 100;

/// Connection settings, the same for producers, consumers and administration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaOptions {
    /// `host:port` pairs to start from, comma-separated.
    pub brokers: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; read where the protocol is a SASL one.
    pub sasl_mechanism: String,
    /// User for SASL.
    pub sasl_username: String,
    /// Password for SASL.
    pub sasl_password: SecretString,
    /// File or folder of CA certificates; empty for the system's.
    pub ssl_ca_location: String,
    /// Further librdkafka properties, taken as they are, for every client.
    pub properties: BTreeMap<String, String>,
}

impl KafkaOptions {
    /// The base of every client's configuration. `role` names the client in the broker's logs.
    pub fn client_config(&self, role: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("comanda-{role}"))
            .set("security.protocol", &self.security_protocol)
            // A topic that a broker makes by itself has the broker's partitions, for ever; and a
            // producer asks for that by default.
            .set("allow.auto.create.topics", "false")
            // A laptop's broker that comes up late is met within a second, not ten.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.nagle.disable", "true")
            // Of ten seconds a command would have none left to say what is wrong.
            .set("socket.connection.setup.timeout.ms", "5000")
            // Lines of the log tell why a connection fails, those of its end included.
            .set_log_level(RDKafkaLogLevel::Info);
        if self.security_protocol.to_ascii_lowercase().starts_with("sasl") {
            config
                .set("sasl.mechanism", &self.sasl_mechanism)
                .set("sasl.username", &self.sasl_username)
                .set("sasl.password", self.sasl_password.expose_secret());
        }
        if !self.ssl_ca_location.is_empty() {
            config.set("ssl.ca.location", &self.ssl_ca_location);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }
}

/// Callbacks of a client that has none of its own: what librdkafka says goes to the log, at a
/// level that fits what follows from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientLog;

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for ClientLog {}

/// For transactional producers: a delivery that fails makes the commit fail, which is where it is
/// dealt with.
impl ProducerContext for ClientLog {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Has the log hear what librdkafka has said to a consumer without partitions, which nobody polls:
/// its lines wait until then, those of why a connection fails among them.
pub fn hear<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    for _ in 0..MAX_HEARD {
        if consumer.poll(Duration::ZERO).is_none() {
            return;
        }
    }
}

/// Logs a line of librdkafka's own log. Failed connections stand there again and again, for each
/// client: why they fail is told once a minute for each address, and the lines are details.
pub fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    if let Some(found) = diagnosis::note(line) {
        let (broker, said) = (&found.address, &found.said);
        warn!(broker, said, "{found}");
    }
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(facility, line, "librdkafka");
        }
        _ => debug!(facility, line, "librdkafka"),
    }
}

/// Logs an error that a client reports outside any call. The end of a partition is none, and a
/// connection that is lost is made again.
pub fn log_error(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        Some(RDKafkaErrorCode::Fatal) => error!(%error, reason, "a Kafka client failed for good"),
        _ => debug!(%error, reason, "a Kafka client reports"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> KafkaOptions {
        KafkaOptions {
            brokers: "127.0.0.1:1".into(),
            security_protocol: "sasl_ssl".into(),
            sasl_mechanism: "SCRAM-SHA-512".into(),
            sasl_username: "u".into(),
            sasl_password: "p".to_owned().into(),
            ssl_ca_location: String::new(),
            properties: BTreeMap::from([("client.id".into(), "mine".into())]),
        }
    }

    #[test]
    fn librdkafka_was_built_with_what_clusters_ask_for() {
        let native = ClientConfig::new().create_native_config().unwrap();
        let features = native.get("builtin.features").unwrap();
        let features: Vec<&str> = features.trim_end_matches('\0').split(',').collect();
        for needed in ["ssl", "sasl_scram", "sasl_plain", "zstd", "lz4", "gzip", "snappy"] {
            assert!(features.contains(&needed), "{needed} is not in {features:?}");
        }
    }

    #[test]
    fn sasl_settings_reach_librdkafka_and_properties_have_the_last_word() {
        let config = options().client_config("test");
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(config.get("sasl.username"), Some("u"));
        assert_eq!(config.get("sasl.password"), Some("p"));
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config.get("client.id"), Some("mine"));
        let plain = KafkaOptions { security_protocol: "plaintext".into(), ..options() };
        assert_eq!(plain.client_config("test").get("sasl.password"), None);
    }
}
