//! Secrets among the settings: how they are shown, and that a shown one is not taken for a value.

use anyhow::{Result, bail};
use comanda_schemas::url_without_login;
use figment::Figment;
use figment::value::Value;

/// What is shown in place of a secret.
const MASK: &str = "********";
/// Last parts of the keys whose values are never printed.
const SECRETS: [&str; 7] =
    ["password", "sasl_password", "secret_key", "api_key", "api_keys", "secret", "stripe_secrets"];

/// The value of the setting at `path` as it may be shown.
pub(super) fn masked(path: &str, value: &Value) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    // Properties are librdkafka's own; which of them are secrets is not ours to know.
    let secret = SECRETS.contains(&name) || path.starts_with("kafka.properties.");
    let empty = value.as_str().is_some_and(str::is_empty)
        || value.as_array().is_some_and(<[Value]>::is_empty)
        || value.as_dict().is_some_and(|dict| dict.is_empty());
    if secret && !empty {
        return format!("\"{MASK}\"");
    }
    let shown = value.as_str().map(url_without_login).map_or_else(|| value.clone(), Value::from);
    serde_json::to_string(&shown).unwrap_or_else(|_| "?".to_owned())
}

/// Refuses what `config show` prints in place of a secret: it was copied from there.
pub(super) fn refuse_masks(layers: &Figment) -> Result<()> {
    let Ok(all) = layers.extract::<Value>() else { return Ok(()) };
    match masked_path(&all) {
        None => Ok(()),
        Some(path) => bail!(
            "the configuration is not valid:\n  {path} is {MASK}, which `config show` prints in \
             place of a secret"
        ),
    }
}

/// The path of the first value with a mask in it.
fn masked_path(value: &Value) -> Option<String> {
    let below = |key: String, value: &Value| {
        let rest = masked_path(value)?;
        Some(if rest.is_empty() { key } else { format!("{key}.{rest}") })
    };
    match value {
        Value::String(_, text) => text.contains(MASK).then(String::new),
        Value::Array(_, all) => all.iter().enumerate().find_map(|(n, v)| below(n.to_string(), v)),
        Value::Dict(_, all) => all.iter().find_map(|(key, value)| below(key.clone(), value)),
        Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) => None,
    }
}
