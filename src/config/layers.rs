//! Settings from text: the environment and `--set`, as layers over the default file.
//!
//! Text gets the type that the same key has in the default file, so that a password of digits
//! stays a text and a list is written as in TOML.

use std::ffi::OsString;

use anyhow::{Context, Result, anyhow, bail};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

/// What an environment variable starts with to be a setting.
pub const ENV_PREFIX: &str = "COMANDA__";
/// The one section whose keys contain dots: librdkafka's own property names.
const PROPERTIES: [&str; 2] = ["kafka", "properties"];

/// One layer of settings, each given as a path and a text.
pub struct Texts {
    name: &'static str,
    entries: Vec<(Vec<String>, Value)>,
}

impl Texts {
    /// The settings in the environment: `COMANDA__SECTION__KEY=value`.
    pub fn from_env(
        defaults: &Figment,
        vars: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self> {
        let mut layer = Self { name: "environment", entries: Vec::new() };
        for (name, text) in vars {
            // Other variables may be anything.
            if !name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()) {
                continue;
            }
            let (Some(name), Some(text)) = (name.to_str(), text.to_str()) else {
                bail!("the environment variable {} is not UTF-8", name.to_string_lossy());
            };
            let rest = &name[ENV_PREFIX.len()..];
            let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            layer
                .add(defaults, properties_from_env(path), text)
                .with_context(|| name.to_owned())?;
        }
        Ok(layer)
    }

    /// The settings of the command line: `section.key=value`.
    pub fn from_args(defaults: &Figment, args: &[String]) -> Result<Self> {
        let mut layer = Self { name: "command line", entries: Vec::new() };
        for arg in args {
            let Some((path, text)) = arg.split_once('=') else {
                bail!("--set takes section.key=value, and one has no =");
            };
            let path = path.trim().split('.').map(str::to_owned).collect();
            layer.add(defaults, properties_from_args(path), text).context("--set")?;
        }
        Ok(layer)
    }

    fn add(&mut self, defaults: &Figment, path: Vec<String>, text: &str) -> Result<()> {
        let key = path.join(".");
        let is_property = path.len() == 3 && path[..2] == PROPERTIES;
        let default = if is_property { None } else { defaults.find_value(&key).ok() };
        let value = match default {
            _ if is_property => Value::from(text),
            Some(Value::String(..)) if key.ends_with("listen") && text.starts_with(':') => {
                Value::from(format!("127.0.0.1{text}"))
            }
            Some(Value::String(..)) => Value::from(text),
            Some(Value::Dict(..)) => bail!("{key} is a section, not a setting"),
            Some(_) => from_toml(text).with_context(|| key.clone())?,
            None => bail!("there is no setting {key}; see config/default.toml for all of them"),
        };
        self.entries.push((path, value));
        Ok(())
    }
}

/// `KAFKA__PROPERTIES__SOCKET_TIMEOUT_MS` means the property `socket.timeout.ms`.
fn properties_from_env(mut path: Vec<String>) -> Vec<String> {
    if path.len() == 3 && path[..2] == PROPERTIES {
        path[2] = path[2].replace('_', ".");
    }
    path
}

/// `kafka.properties.socket.timeout.ms` means the property `socket.timeout.ms`.
fn properties_from_args(path: Vec<String>) -> Vec<String> {
    if path.len() > 3 && path[..2] == PROPERTIES {
        let property = path[2..].join(".");
        return vec![path[0].clone(), path[1].clone(), property];
    }
    path
}

fn from_toml(text: &str) -> Result<Value> {
    // The errors of both libraries repeat the text.
    let problem = || anyhow!("the value is not TOML: a text stands in quotes, a list in brackets");
    let table: toml::Table = format!("value = {text}").parse().map_err(|_| problem())?;
    let value = table.get("value").ok_or_else(problem)?;
    Value::serialize(value).map_err(|_| problem())
}

impl Provider for Texts {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut data = Dict::new();
        for (path, value) in &self.entries {
            insert(&mut data, path, value.clone());
        }
        Ok(Profile::Default.collect(data))
    }
}

fn insert(into: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            into.insert(key.clone(), value);
        }
        [section, rest @ ..] => {
            let nested = into.entry(section.clone()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, nested) = nested {
                insert(nested, rest, value);
            }
        }
    }
}
