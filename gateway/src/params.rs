//! The parameters of a GraphQL request, strictly by their types.

use std::collections::HashMap;

use async_graphql::Variables;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

/// The parameters of a request, of the right types.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Wire")]
pub(crate) struct Params {
    pub query: String,
    pub operation_name: Option<String>,
    pub variables: Variables,
}

/// What is wrong with JSON that should have been a request, or a message, without its values.
pub(crate) fn problem(error: &serde_json::Error, expected: &str) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Data => format!("expected {expected} (line {line}, column {column})"),
        Category::Syntax | Category::Eof | Category::Io => {
            format!("not JSON (line {line}, column {column})")
        }
    }
}

/// A JSON object with the parameters. Others than these are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default, deserialize_with = "map_or_null")]
    variables: Variables,
    /// Of the right type, or the request is refused; nothing reads them.
    #[serde(default, rename = "extensions")]
    _extensions: Option<HashMap<String, IgnoredAny>>,
}

fn map_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Variables, D::Error> {
    Ok(Option::<Variables>::deserialize(deserializer)?.unwrap_or_default())
}

impl From<Wire> for Params {
    fn from(wire: Wire) -> Self {
        let Wire { query, operation_name, variables, .. } = wire;
        Self { query, operation_name, variables }
    }
}
