//! How to reach the Kafka cluster: the settings that every client of comanda shares.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

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
            // A laptop's broker that comes up late is met within a second, not ten.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.nagle.disable", "true")
            .set("log.connection.close", "false");
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
