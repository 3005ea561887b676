//! What is wrong with the settings, in words that never repeat a value: each may be a secret, or
//! stand where one belongs. The libraries' own messages do repeat values.

use figment::error::{Actual, Kind, OneOf};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

/// One line an error, each with its key and the layer it came from.
pub(super) fn of_figment(errors: figment::Error) -> anyhow::Error {
    let lines: Vec<String> = errors
        .into_iter()
        .map(|error| {
            let origin = error.metadata.as_ref().map(|m| match &m.source {
                Some(figment::Source::File(path)) => path.display().to_string(),
                _ => m.name.to_string(),
            });
            let key = error.path.join(".");
            let place = origin.map(|o| format!(" (from {o})")).unwrap_or_default();
            let key = if key.is_empty() { "settings" } else { &key };
            format!("{key}{place}: {}", of_kind(&error.kind))
        })
        .collect();
    anyhow::anyhow!("the configuration is not valid:\n  {}", lines.join("\n  "))
}

fn of_kind(kind: &Kind) -> String {
    match kind {
        // It is the one message of a setting's own type that is known to hold no value.
        Kind::Message(text) if text == "invalid socket address syntax" => {
            "is not an address with a port, such as 127.0.0.1:8080".into()
        }
        Kind::Message(_) | Kind::Unsupported(_) => "is not a value of this setting's type".into(),
        Kind::InvalidType(actual, expected) => {
            format!("is {}, instead of {expected}", of_actual(actual))
        }
        Kind::InvalidValue(actual, expected) => {
            format!("is {} that does not fit, instead of {expected}", of_actual(actual))
        }
        Kind::InvalidLength(length, expected) => {
            format!("has {length} elements, instead of {expected}")
        }
        Kind::UnknownVariant(_, expected) => format!("must be {}", OneOf(expected)),
        Kind::UnknownField(name, expected) => {
            format!("has no setting `{name}`, only {}", OneOf(expected))
        }
        Kind::MissingField(name) => format!("lacks `{name}`"),
        Kind::DuplicateField(name) => format!("has `{name}` twice"),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "is a number out of range".into(),
        Kind::UnsupportedKey(..) => "has a key that is no text".into(),
    }
}

fn of_actual(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "a text",
        Actual::Bytes(_) => "bytes",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        Actual::Unit | Actual::Option => "nothing",
        Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_) => "something else",
    }
}

/// Where a file is not TOML.
pub(super) fn of_toml(file: &str, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let end = error.span().map_or(0, |span| span.start);
    let before = text.get(..end).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    anyhow::anyhow!(
        "the configuration file {file} is not TOML at line {line}, column {column}: a text stands \
         in quotes, a list in brackets, and each key stands once"
    )
}

/// What is wrong with a property.
pub(super) fn of_librdkafka(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => {
            format!("librdkafka has no property {key}")
        }
        KafkaError::ClientConfig(_, _, key, _) => {
            format!("librdkafka does not take the value of {key}")
        }
        _ => "librdkafka does not take the properties".into(),
    }
}
