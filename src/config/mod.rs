//! The settings: defaults → file → environment → command line → validation.
//!
//! `config/default.toml` holds every setting with its default, unit and meaning; there are no
//! defaults in the code.

mod layers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use comanda_processors::{engine, notifier, payment, projector};
use comanda_schemas::{KafkaOptions, RegistryOptions, TopicNames};
use figment::providers::{Format, Toml};
use figment::value::Value;
use figment::{Figment, Metadata};
use rdkafka::ClientConfig;
use serde::Deserialize;

use crate::watchdog;
use layers::Texts;

/// The default file, as it stands in the repository.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// All settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Connection to Kafka.
    pub kafka: KafkaOptions,
    /// Topics: names, and how they are created.
    pub topics: Topics,
    /// Schema registry.
    pub registry: RegistryOptions,
    /// The gateway's producer.
    pub producer: comanda_producer::Options,
    /// The GraphQL gateway.
    pub gateway: comanda_gateway::Options,
    /// The engine under the payment processor and the notifier.
    pub engine: engine::Options,
    /// The payment processor.
    pub payment: payment::Options,
    /// The notifier.
    pub notifier: notifier::Options,
    /// The projector.
    pub projector: projector::Options,
    /// The order store.
    pub store: comanda_store::Options,
    /// The watchdog over orders that wait.
    pub watchdog: watchdog::Options,
    /// Health and metrics.
    pub admin: Admin,
    /// What `up` and `demo` bring along.
    pub sandbox: Sandbox,
    /// Logs.
    pub log: Log,
    /// Stopping.
    pub shutdown: Shutdown,
}

/// Topics: names, and how they are created.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// Put before the names of topics, groups and transactional ids.
    pub prefix: String,
    /// Name of the orders topic.
    pub orders: String,
    /// Name of the payments topic.
    pub payments: String,
    /// Name of the notifications topic.
    pub notifications: String,
    /// Name of the topic of payment reports.
    pub payment_reports: String,
    /// Partitions of each new topic.
    pub partitions: i32,
    /// Replicas of each new topic; -1 for the broker's default.
    pub replication_factor: i32,
    /// How long new topics keep records, in milliseconds; -1 for ever.
    pub retention_ms: i64,
}

impl Topics {
    /// The names alone.
    pub fn names(&self) -> TopicNames {
        TopicNames {
            prefix: self.prefix.clone(),
            orders: self.orders.clone(),
            payments: self.payments.clone(),
            notifications: self.notifications.clone(),
            payment_reports: self.payment_reports.clone(),
        }
    }
}

/// Health and metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address of `/livez`, `/readyz` and `/metrics`.
    pub listen: SocketAddr,
}

/// What `up` and `demo` bring along.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Address of the schema registry.
    pub registry_listen: SocketAddr,
    /// Address of the payment provider.
    pub payment_listen: SocketAddr,
    /// Address of the mailbox.
    pub mailbox_listen: SocketAddr,
    /// Key of an operator that `up` and `demo` add to the gateway; empty for a random one.
    pub api_key: String,
    /// How the payment provider behaves.
    pub payment: comanda_sandbox::payment::Options,
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// Filter directives, e.g. `info,comanda=debug`.
    pub level: String,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Stopping.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long everything together may take to stop after a signal, in milliseconds.
    pub deadline_ms: u64,
}

/// Settings, and where each came from.
#[derive(Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    layers: Figment,
}

/// One effective setting.
pub struct Shown {
    /// Dotted path.
    pub key: String,
    /// Value as TOML, masked where it is a secret.
    pub value: String,
    /// Layer it came from.
    pub origin: String,
}

impl Loaded {
    /// Reads all layers and validates them. `overrides` are `section.key=value`.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<Self> {
        Self::from_layers(file, overrides, std::env::vars())
    }

    fn from_layers(
        file: Option<&Path>,
        overrides: &[String],
        vars: impl Iterator<Item = (String, String)>,
    ) -> Result<Self> {
        let defaults = Figment::from(Toml::string(DEFAULTS));
        let mut layers = defaults.clone();
        if let Some(file) = file {
            if !file.is_file() {
                bail!("there is no configuration file {}", file.display());
            }
            layers = layers.merge(Toml::file_exact(file));
        }
        let layers = layers
            .merge(Texts::from_env(&defaults, vars)?)
            .merge(Texts::from_args(&defaults, overrides)?);
        let settings: Settings = layers.extract().map_err(readable)?;
        validate(&settings)?;
        let loaded = Self { settings, layers };
        let provider = loaded.settings.notifier.provider;
        if let Some(url) = provider.public_url()
            && loaded.is_default("notifier.provider_url")
        {
            bail!(
                "the configuration is not valid:\n  notifier.provider_url must be set for {}, e.g. \
                 to {url}",
                provider.name()
            );
        }
        Ok(loaded)
    }

    /// Whether nobody set `key`: it still has the value of the default file.
    pub fn is_default(&self, key: &str) -> bool {
        origin(self.layers.find_metadata(key)) == "default"
    }

    /// Every effective setting in the order of the sections, secrets masked.
    pub fn show(&self) -> Result<Vec<Shown>> {
        let all: Value = self.layers.extract()?;
        let mut shown = Vec::new();
        self.flatten("", &all, &mut shown);
        Ok(shown)
    }

    fn flatten(&self, path: &str, value: &Value, into: &mut Vec<Shown>) {
        match value {
            Value::Dict(_, dict) => {
                for (key, value) in dict {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.flatten(&path, value, into);
                }
            }
            value => into.push(Shown {
                key: path.to_owned(),
                value: masked(path, value),
                // By the value, not by its path: librdkafka's names have dots of their own.
                origin: origin(self.layers.get_metadata(value.tag())),
            }),
        }
    }
}

fn origin(metadata: Option<&Metadata>) -> String {
    let Some(metadata) = metadata else { return "unknown".into() };
    match (&metadata.source, metadata.name.as_ref()) {
        (Some(figment::Source::File(path)), _) => path.display().to_string(),
        (_, name @ ("environment" | "command line")) => name.to_owned(),
        _ => "default".to_owned(),
    }
}

/// Last parts of the keys whose values are never printed.
const SECRETS: [&str; 7] =
    ["password", "sasl_password", "secret_key", "api_key", "api_keys", "secret", "stripe_secrets"];

fn masked(path: &str, value: &Value) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    // Properties are librdkafka's own; which of them are secrets is not ours to know.
    let secret = SECRETS.contains(&name) || path.starts_with("kafka.properties.");
    let empty = value.as_str().is_some_and(str::is_empty)
        || value.as_array().is_some_and(<[Value]>::is_empty)
        || value.as_dict().is_some_and(|dict| dict.is_empty());
    if secret && !empty {
        return "\"********\"".to_owned();
    }
    let shown = value.as_str().map(without_login).map_or_else(|| value.clone(), Value::from);
    serde_json::to_string(&shown).unwrap_or_else(|_| "?".to_owned())
}

/// A URL without the user and password it may carry; any other text as it is.
pub fn without_login(text: &str) -> String {
    let Ok(mut url) = text.parse::<reqwest::Url>() else { return text.to_owned() };
    let has_login = !url.username().is_empty() || url.password().is_some();
    // PostgreSQL's may stand among the parameters.
    let is_login = |key: &str| matches!(key, "user" | "password");
    let has_parameter = url.query_pairs().any(|(key, _)| is_login(&key));
    if has_login {
        // Fails only for URLs that can't have them, and this one has.
        let _ = url.set_username("********");
        let _ = url.set_password(None);
    }
    if has_parameter {
        let pairs = url.query_pairs().into_owned();
        let kept: Vec<(String, String)> = pairs.filter(|(key, _)| !is_login(key)).collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    if has_login || has_parameter { url.to_string() } else { text.to_owned() }
}

/// One line an error, each with its key and the layer it came from.
fn readable(errors: figment::Error) -> anyhow::Error {
    let lines: Vec<String> = errors
        .into_iter()
        .map(|error| {
            let origin = error.metadata.as_ref().map(|m| match &m.source {
                Some(figment::Source::File(path)) => path.display().to_string(),
                _ => m.name.to_string(),
            });
            let key = error.path.join(".");
            let place = origin.map(|o| format!(" (from {o})")).unwrap_or_default();
            format!("{}{}: {}", if key.is_empty() { "settings" } else { &key }, place, error.kind)
        })
        .collect();
    anyhow::anyhow!("the configuration is not valid:\n  {}", lines.join("\n  "))
}

/// What no single type can check.
fn validate(settings: &Settings) -> Result<()> {
    let engine = &settings.engine;
    let topics = &settings.topics;
    let names = topics.names().all();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let checks = [
        (settings.kafka.brokers.is_empty(), "kafka.brokers must not be empty"),
        (distinct.len() != names.len(), "the names in [topics] must differ"),
        (
            names.iter().any(|n| n.len() > 249 || !n.chars().all(legal)),
            "topic names may have letters, digits, '.', '_' and '-', 249 at the most with prefix",
        ),
        (topics.partitions < 1, "topics.partitions must be at least 1"),
        (engine.max_in_flight_records < 1, "engine.max_in_flight_records must be at least 1"),
        (engine.max_transaction_records < 1, "engine.max_transaction_records must be at least 1"),
        (engine.max_attempts < 1, "engine.max_attempts must be at least 1"),
        (
            engine.max_in_flight_records > 10_000,
            "engine.max_in_flight_records must be at most 10000: what is finished out of order must \
             fit into the metadata of an offset",
        ),
        (
            !(1..=100).contains(&engine.breaker_dead_percent),
            "engine.breaker_dead_percent must be from 1 to 100",
        ),
        (
            engine.transaction_timeout_ms < 1_000,
            "engine.transaction_timeout_ms must be at least 1000",
        ),
        (settings.watchdog.deadline_ms < 1, "watchdog.deadline_ms must be at least 1"),
        (settings.projector.batch_records < 1, "projector.batch_records must be at least 1"),
        (topics.replication_factor == 0, "topics.replication_factor must be -1, or at least 1"),
        (
            [&topics.orders, &topics.payments, &topics.notifications, &topics.payment_reports]
                .iter()
                .any(|name| name.is_empty()),
            "the names in [topics] must not be empty",
        ),
        (
            engine.max_attempts < settings.notifier.max_attempts,
            "engine.max_attempts must not be below notifier.max_attempts",
        ),
        (
            engine.drain_ms >= engine.session_timeout_ms,
            "engine.drain_ms must be below engine.session_timeout_ms",
        ),
        (
            engine.drain_ms >= settings.shutdown.deadline_ms,
            "engine.drain_ms must be below shutdown.deadline_ms",
        ),
        (settings.producer.max_in_flight_records < 1, "producer.max_in_flight_records is below 1"),
        (
            settings.producer.delivery_timeout_ms <= settings.producer.linger_ms,
            "producer.delivery_timeout_ms must be above producer.linger_ms",
        ),
        (
            settings.gateway.request_timeout_ms
                <= settings.producer.delivery_timeout_ms + settings.gateway.receipt_wait_ms,
            "gateway.request_timeout_ms must be above producer.delivery_timeout_ms and \
             gateway.receipt_wait_ms together",
        ),
    ];
    for (wrong, message) in checks {
        if wrong {
            bail!("the configuration is not valid:\n  {message}");
        }
    }
    for (key, url) in [
        ("registry.url", &settings.registry.url),
        ("payment.provider_url", &settings.payment.provider_url),
        ("notifier.provider_url", &settings.notifier.provider_url),
    ] {
        let parsed = url.parse::<reqwest::Url>().ok();
        if !parsed.is_some_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host()) {
            bail!("the configuration is not valid:\n  {key} must be an http or https URL");
        }
    }
    settings.store.validate().context("store.url, max_connections or statement_timeout_ms")?;
    settings.gateway.validate().context("gateway")?;
    payment::Payment::new(settings.payment.clone()).context("payment")?;
    notifier::Notifier::new(settings.notifier.clone()).context("notifier")?;
    let native = |config: ClientConfig| config.create_native_config().map(|_| ());
    native(settings.kafka.client_config("check")).context("kafka")?;
    native(settings.producer.client_config(&settings.kafka)).context("producer")?;
    native(engine.client_config(&settings.kafka)).context("engine")?;
    tracing_subscriber::EnvFilter::try_new(&settings.log.level)
        .with_context(|| format!("log.level is not a filter: {:?}", settings.log.level))?;
    Ok(())
}

/// A file named on the command line, or in `COMANDA_CONFIG`.
pub fn file(argument: Option<PathBuf>) -> Option<PathBuf> {
    argument.or_else(|| std::env::var_os("COMANDA_CONFIG").map(PathBuf::from))
}

#[cfg(test)]
mod tests;
