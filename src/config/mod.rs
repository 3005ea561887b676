//! The settings: defaults → file → environment → command line → validation.
//!
//! `config/default.toml` holds every setting with its default, unit and meaning; there are no
//! defaults in the code.

mod check;
mod file;
mod layers;
mod mask;
mod problem;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use comanda_processors::{engine, notifier, payment, projector};
use comanda_schemas::{KafkaOptions, RegistryOptions, TopicNames};
use figment::providers::{Format, Toml};
use figment::value::Value;
use figment::{Figment, Metadata};
use serde::Deserialize;

use crate::watchdog;
use file::SettingsFile;
use layers::Texts;
use mask::{masked, refuse_masks};

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
        Self::from_layers(file, overrides, std::env::vars_os())
    }

    fn from_layers(
        file: Option<&Path>,
        overrides: &[String],
        vars: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self> {
        let defaults = Figment::from(Toml::string(DEFAULTS));
        let mut layers = defaults.clone();
        if let Some(path) = file {
            layers = layers.merge(SettingsFile::read(path)?);
        }
        let layers = layers
            .merge(Texts::from_env(&defaults, vars)?)
            .merge(Texts::from_args(&defaults, overrides)?);
        refuse_masks(&layers)?;
        let settings: Settings = layers.extract().map_err(problem::of_figment)?;
        check::check(&settings)?;
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

/// A file named on the command line, or in `COMANDA_CONFIG`.
pub fn file(argument: Option<PathBuf>) -> Option<PathBuf> {
    argument.or_else(|| std::env::var_os("COMANDA_CONFIG").map(PathBuf::from))
}

#[cfg(test)]
mod tests;
