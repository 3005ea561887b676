//! Documents: parsed and validated once, however often they are sent.
//!
//! A document enters the [`cache`] once [`rules`] and async-graphql's validator have passed it. All
//! its rules hold from then on, whatever the variables, but for two things: [`arguments`] checks the values
//! of variables for each request, and asks the validator again where it is not sure; complexity
//! and depth are computed for each request by the schema that executes it. So a request is
//! answered in the same way whether its document was known or not. What is not valid is not kept:
//! whoever sends nonsense pays for it each time, and drives nothing out.

mod arguments;
mod cache;
mod coercion;
mod collection;
mod listed;
mod persisted;
mod places;
mod positions;
mod rules;
mod typename;
mod validator;
mod values;
mod workers;

use std::sync::{Arc, OnceLock};

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};
use async_graphql::registry::Registry;
use async_graphql::{Name, Positioned, ServerError, Variables};
use metrics::{Counter, counter};

use self::arguments::Arguments;
use self::cache::Cache;
use self::collection::Collector;
pub(crate) use self::collection::arrange;
use self::persisted::Persisted;
use self::validator::Validator;
pub(crate) use self::workers::Workers;
use crate::auth::Caller;
use crate::digest::{Digest, digest};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::metrics::DOCUMENTS_TOTAL;
use crate::params::Wanted;
use crate::plan::Plan;
use crate::syntax::{self, Parsed};
use crate::{Error, Options, introspection, schema};

/// What a token takes when it is parsed, in bytes; a list of short fields has the most. A field that
/// is collected takes as much.
const BYTES_PER_TOKEN: usize = 256;

/// A document that is within the limits.
pub(crate) struct Document {
    pub parsed: ExecutableDocument,
    /// Whether it asks for more of the schema than `__typename`.
    pub introspects: bool,
    /// How to execute it without async-graphql, where that is possible.
    pub plan: Option<Plan>,
    arguments: Arguments,
    /// Its operations as they are executed where all variables are given, if none decides what is
    /// skipped.
    collected: Option<OnceLock<Vec<Collected>>>,
    /// About what it takes in memory.
    bytes: usize,
}

/// An operation by its name, as it is executed.
type Collected = (Option<Name>, Arc<OperationDefinition>);

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
    pub fn new(options: &Options) -> Result<Self, Error> {
        let entries = options.document_cache_entries as usize;
        let documents = Self {
            limits: Limits::of(options),
            registry: schema::registry(),
            validator: Validator::new(),
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

    /// Documents without a list.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn of_limits(limits: Limits, entries: usize, bytes: u64) -> Self {
        Self {
            limits,
            registry: schema::registry(),
            validator: Validator::new(),
            persisted: Persisted::automatic(),
            cache: Cache::new(entries, bytes),
            known: Counter::noop(),
        }
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

    /// Whether a document is known that was sent by its text.
    pub fn knows(&self, text: &str) -> bool {
        self.cache.get(&digest(text)).is_some()
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
        let Parsed { document: mut parsed, tokens } = syntax::parse(text, self.limits.tokens())?;
        typename::normalize(&mut parsed)?;
        let fields = self.limits.check_document(&parsed).map_err(Failure::into_server_error)?;
        let arguments = Arguments::of(&parsed, &self.registry);
        let bytes = text.len() + (tokens + fields) * BYTES_PER_TOKEN;
        let introspects = introspection::is_in(&parsed);
        let plan = Plan::compile(&parsed, &self.limits);
        // Conditions begin with this sign, which means nothing else outside of strings.
        let collected = (!text.contains('@')).then(OnceLock::new);
        Ok(Document { parsed, introspects, plan, arguments, collected, bytes })
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
        let uses = |name: &Name| document.arguments.uses(name);
        self.limits.check_uses(variables, uses).map_err(|f| vec![f.into_server_error()])?;
        let required = coercion::check_required(operation, variables);
        if !is_valid {
            let unknown = positions::check_types(&document.parsed, &self.registry);
            if !unknown.is_empty() {
                return Err(unknown);
            }
            rules::check(&document.parsed)?;
        }
        let is_certain = *is_valid && required.is_ok();
        if !is_certain || !document.arguments.accept(variables, &self.registry) {
            self.validator.check(&document.parsed, name, variables)?;
        }
        let mut errors = values::check_variables(operation, variables, &self.registry);
        if !is_valid {
            errors.extend(positions::check(&document.parsed, &self.registry));
            errors.extend(values::check_literals(&document.parsed, &self.registry));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if !is_valid {
            self.cache.insert(*digest, document.clone());
        }
        required
    }
}

impl Document {
    /// The operation of this name as it is to be executed with these variables. The document has to
    /// be valid, and `operation` the one of the name.
    pub fn executable(
        &self,
        name: Option<&str>,
        operation: &OperationDefinition,
        variables: &Variables,
    ) -> Arc<OperationDefinition> {
        let fragments = &self.parsed.fragments;
        let are_all_given = (operation.variable_definitions.iter())
            .all(|definition| variables.contains_key(&definition.node.name.node));
        if let Some(collected) = self.collected.as_ref().filter(|_| are_all_given) {
            let collector = Collector { fragments, variables: None };
            let all = collected.get_or_init(|| {
                let each =
                    |(name, operation): (Option<&Name>, &Positioned<OperationDefinition>)| {
                        (name.cloned(), Arc::new(collector.operation(&operation.node)))
                    };
                self.parsed.operations.iter().map(each).collect()
            });
            let is_it = |known: &Option<Name>| known.as_deref() == name || all.len() == 1;
            if let Some((_, found)) = all.iter().find(|(known, _)| is_it(known)) {
                return found.clone();
            }
        }
        Arc::new(Collector { fragments, variables: Some(variables) }.operation(operation))
    }
}

#[cfg(test)]
mod tests;
