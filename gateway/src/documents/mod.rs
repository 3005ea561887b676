//! Documents: parsed and validated once, however often they are sent.
//!
//! A document enters the [`cache`] once async-graphql's validator has passed it. All its rules
//! hold from then on, whatever the variables, but for two things: [`arguments`] checks the values
//! of variables for each request, and asks the validator again where it is not sure; complexity
//! and depth are computed for each request by the schema that executes it. So a request is
//! answered in the same way whether its document was known or not. What is not valid is not kept:
//! whoever sends nonsense pays for it each time, and drives nothing out.

mod arguments;
mod cache;
mod coercion;
mod listed;
mod persisted;
mod validator;

use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};
use async_graphql::registry::Registry;
use async_graphql::{ServerError, Variables};
use metrics::{Counter, counter};

use self::arguments::Arguments;
use self::cache::Cache;
use self::persisted::Persisted;
use self::validator::Validator;
use crate::auth::Caller;
use crate::digest::Digest;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::metrics::DOCUMENTS_TOTAL;
use crate::params::Wanted;
use crate::plan::Plan;
use crate::{Error, Options, introspection, schema};

/// What a token takes when it is parsed, in bytes; a list of short fields has the most.
const BYTES_PER_TOKEN: usize = 256;

/// A document that is within the limits.
pub(crate) struct Document {
    pub parsed: ExecutableDocument,
    /// Whether it asks for more of the schema than `__typename`.
    pub introspects: bool,
    /// How to execute it without async-graphql, where that is possible.
    pub plan: Option<Plan>,
    arguments: Arguments,
    /// About what it takes in memory.
    bytes: usize,
}

/// A document that was looked for.
pub(crate) struct Found {
    pub document: Arc<Document>,
    digest: Digest,
    is_valid: bool,
}

/// The documents that are known, and how others are looked at.
pub(crate) struct Documents {
    limits: Limits,
    registry: Registry,
    validator: Validator,
    persisted: Persisted,
    cache: Cache,
    known: Counter,
}

impl Documents {
    /// Each document on the list has to be GraphQL and within the limits.
    pub fn new(options: &Options, limits: schema::Limits) -> Result<Self, Error> {
        let entries = options.document_cache_entries as usize;
        let documents = Self {
            limits: Limits::of(options),
            registry: schema::registry(),
            validator: Validator::new(limits),
            persisted: Persisted::new(options)?,
            cache: Cache::new(entries, options.document_cache_bytes),
            known: counter!(DOCUMENTS_TOTAL, "outcome" => "known"),
        };
        for (id, text) in documents.persisted.listed() {
            documents.parse(text).map_err(|error| Error::Options {
                key: "persisted_documents",
                problem: format!("has {id:?}, which is not taken: {}", error.message),
            })?;
        }
        Ok(documents)
    }

    /// The document that the caller wants, where it is GraphQL and within the limits.
    pub fn find(&self, wanted: &Wanted, caller: &Caller) -> Result<Found, ServerError> {
        let meant = self.persisted.resolve(wanted, caller).map_err(Failure::into_server_error)?;
        let digest = meant.digest;
        if let Some(document) = self.cache.get(&digest) {
            self.count_known();
            return Ok(Found { document, digest, is_valid: true });
        }
        let Some(text) = meant.text else {
            counter!(DOCUMENTS_TOTAL, "outcome" => "not_found").increment(1);
            return Err(persisted::not_found().into_server_error());
        };
        counter!(DOCUMENTS_TOTAL, "outcome" => "parsed").increment(1);
        let document = Arc::new(self.parse(text)?);
        Ok(Found { document, digest, is_valid: false })
    }

    /// A request used a document that was known.
    pub fn count_known(&self) {
        self.known.increment(1);
    }

    /// The document that the caller wants, where it is known to be valid and has a plan; not
    /// counted.
    pub fn with_plan(&self, wanted: &Wanted, caller: &Caller) -> Option<Arc<Document>> {
        let meant = self.persisted.resolve(wanted, caller).ok()?;
        self.cache.get(&meant.digest).filter(|document| document.plan.is_some())
    }

    fn parse(&self, text: &str) -> Result<Document, ServerError> {
        let tokens = self.limits.check_text(text).map_err(Failure::into_server_error)?;
        let parsed = parse_query(text).map_err(syntax_error)?;
        self.limits.check_document(&parsed).map_err(Failure::into_server_error)?;
        let arguments = Arguments::of(&parsed, &self.registry);
        let bytes = text.len() + tokens * BYTES_PER_TOKEN;
        let introspects = introspection::is_in(&parsed);
        let plan = Plan::compile(&parsed, &self.limits);
        Ok(Document { parsed, introspects, plan, arguments, bytes })
    }

    /// Validates a document together with the variables of a request, as far as that was not done
    /// before, and gives the variables of `operation` their defaults; all that is wrong.
    pub fn validate(
        &self,
        found: &Found,
        (name, operation): (Option<&str>, &OperationDefinition),
        variables: &mut Variables,
    ) -> Result<(), Vec<ServerError>> {
        let Found { document, digest, is_valid } = found;
        coercion::add_defaults(operation, variables);
        let required = coercion::check_required(operation, variables);
        let is_certain = *is_valid && required.is_ok();
        if !is_certain || !document.arguments.accept(variables, &self.registry) {
            self.validator.check(&document.parsed, name, variables)?;
        }
        if !is_valid {
            self.cache.insert(*digest, document.clone());
        }
        required
    }
}

/// What the parser says, without the line of the document that it quotes.
fn syntax_error(error: async_graphql::parser::Error) -> ServerError {
    let mut error = ServerError::from(error);
    if let Some((_, expected)) = error.message.rsplit_once(" = ") {
        error.message = format!("the document is not GraphQL: {expected}");
    }
    error
}

#[cfg(test)]
mod tests;
