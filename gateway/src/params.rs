//! The parameters of a GraphQL request, strictly by their types.

use async_graphql::Variables;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::{Map, Value};

/// The parameters of a request, of the right types.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Wire")]
pub(crate) struct Params {
    pub document: Wanted,
    pub operation_name: Option<String>,
    pub variables: Variables,
}

/// How a request says which document it wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// By its text.
    Text(String),
    /// By the id that it is listed under, or the SHA-256 of a text that was sent before: the
    /// parameter `documentId` (GraphQL over HTTP, appendix A), or Apollo's extension
    /// `persistedQuery`.
    Id(String),
    /// By its text, which is to be found by its SHA-256 from then on.
    Named { text: String, hash: String },
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
pub(crate) struct Wire<V = Variables> {
    /// Absent or text, never null: that is a client's mistake.
    #[serde(default = "absent", deserialize_with = "text")]
    pub query: Option<String>,
    #[serde(default = "absent")]
    pub document_id: Option<String>,
    #[serde(default = "absent")]
    pub operation_name: Option<String>,
    #[serde(default = "absent")]
    pub variables: Option<V>,
    #[serde(default = "absent")]
    pub extensions: Option<Map<String, Value>>,
}

fn absent<T>() -> Option<T> {
    None
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// Apollo's protocol for automatic persisted queries.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PersistedQuery {
    version: u64,
    sha256_hash: String,
}

/// The hash of `persistedQuery`, where there is one.
fn hash(extensions: Option<Map<String, Value>>) -> Result<Option<String>, &'static str> {
    match extensions.and_then(|mut all| all.remove("persistedQuery")) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match PersistedQuery::deserialize(value) {
            Ok(query) if query.version == 1 => Ok(Some(query.sha256_hash)),
            _ => Err("persistedQuery has to have version 1 and a sha256Hash"),
        },
    }
}

impl<V> Wire<V> {
    /// The document that is wanted, the name of its operation, and the variables.
    pub fn parts(self) -> Result<(Wanted, Option<String>, Option<V>), &'static str> {
        let Self { query, document_id, operation_name, variables, extensions } = self;
        let document = match (query, hash(extensions)?, document_id) {
            (Some(text), Some(hash), _) => Wanted::Named { text, hash },
            (Some(text), None, _) => Wanted::Text(text),
            (None, _, Some(id)) | (None, Some(id), None) => Wanted::Id(id),
            (None, None, None) => return Err("neither a query nor what it is known by"),
        };
        Ok((document, operation_name, variables))
    }
}

impl TryFrom<Wire> for Params {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let (document, operation_name, variables) = wire.parts()?;
        Ok(Self { document, operation_name, variables: variables.unwrap_or_default() })
    }
}
