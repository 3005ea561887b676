//! The parameters of a GraphQL request, strictly by their types.

use std::collections::HashMap;

use async_graphql::Variables;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// The parameters of a request, of the right types.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Wire")]
pub(crate) struct Params {
    pub query: String,
    pub operation_name: Option<String>,
    pub variables: Variables,
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
