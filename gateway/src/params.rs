//! The parameters of a GraphQL request, strictly by their types.

use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::syntax::MAX_NAME;

/// The parameters of a request, of the right types.
#[derive(Debug)]
pub(crate) struct Params {
    pub document: Wanted,
    pub operation_name: Option<String>,
    /// An object, as it came. It is read where the limits are known.
    pub variables: Option<Box<RawValue>>,
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

impl Wanted {
    /// The text of the document, where it was sent.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Named { text, .. } => Some(text),
            Self::Id(_) => None,
        }
    }
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

/// A JSON object with the parameters. Others than these are ignored. Null is as good as nothing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wire<'b> {
    pub query: Option<String>,
    pub document_id: Option<String>,
    pub operation_name: Option<String>,
    #[serde(borrow, default, deserialize_with = "object")]
    pub variables: Option<&'b RawValue>,
    #[serde(borrow, default, deserialize_with = "object")]
    pub extensions: Option<&'b RawValue>,
}

/// An object, which is not looked into.
pub(crate) fn object<'b, D: Deserializer<'b>>(from: D) -> Result<Option<&'b RawValue>, D::Error> {
    let value = Option::<&RawValue>::deserialize(from)?;
    if value.is_some_and(|value| !value.get().starts_with('{')) {
        return Err(serde::de::Error::custom("an object is expected"));
    }
    Ok(value)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions<'b> {
    #[serde(borrow)]
    persisted_query: Option<&'b RawValue>,
}

/// Apollo's protocol for automatic persisted queries.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PersistedQuery {
    version: u64,
    sha256_hash: String,
}

/// The hash of `persistedQuery`, where there is one.
fn hash(extensions: Option<&RawValue>) -> Result<Option<String>, &'static str> {
    const WRONG: &str = "persistedQuery has to have version 1 and a sha256Hash";
    let Some(extensions) = extensions else { return Ok(None) };
    let extensions: Extensions = serde_json::from_str(extensions.get()).map_err(|_| WRONG)?;
    let Some(query) = extensions.persisted_query else { return Ok(None) };
    // Of a list, serde would take the first for the version.
    match serde_json::from_str(query.get()) {
        Ok(PersistedQuery { version: 1, sha256_hash }) if query.get().starts_with('{') => {
            Ok(Some(sha256_hash))
        }
        _ => Err(WRONG),
    }
}

impl<'b> Wire<'b> {
    /// The document that is wanted, the name of its operation, and the variables.
    pub fn parts(self) -> Result<(Wanted, Option<String>, Option<&'b RawValue>), &'static str> {
        let Self { query, document_id, operation_name, variables, extensions } = self;
        let document = match (query, hash(extensions)?, document_id) {
            (Some(text), Some(hash), _) => Wanted::Named { text, hash },
            (Some(text), None, _) => Wanted::Text(text),
            (None, _, Some(id)) | (None, Some(id), None) => Wanted::Id(id),
            (None, None, None) => return Err("neither a query nor what it is known by"),
        };
        // No operation has a name without letters: an empty one asks for none.
        let operation_name = operation_name.filter(|name| !name.is_empty());
        if operation_name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
            return Err("operationName is longer than a name can be");
        }
        Ok((document, operation_name, variables))
    }
}

impl TryFrom<Wire<'_>> for Params {
    type Error = &'static str;

    fn try_from(wire: Wire<'_>) -> Result<Self, Self::Error> {
        let (document, operation_name, variables) = wire.parts()?;
        Ok(Self { document, operation_name, variables: variables.map(RawValue::to_owned) })
    }
}

impl<'b> Params {
    /// From the JSON of a request. What is wrong is told by its place or its name.
    pub fn read(json: &'b [u8]) -> Result<Self, String> {
        let expected = "an object with query or documentId (text) or the extension persistedQuery, \
                        and perhaps operationName (text), variables and extensions (objects)";
        // Of a list, serde would take the first for the query.
        if json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(format!("expected {expected}"));
        }
        let wire: Wire = serde_json::from_slice(json).map_err(|e| problem(&e, expected))?;
        Self::try_from(wire).map_err(str::to_owned)
    }
}
