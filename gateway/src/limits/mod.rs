//! What a request may cost, decided before anything that could be made slow or deep by it.
//!
//! The text of a document is measured where it is [parsed](crate::syntax). The validator follows a
//! fragment wherever it is spread, so it is only given documents that [`expansion`] has let
//! through, which is linear in the size of the document. Variables are counted while they are read.

mod expansion;
mod reads;
mod variables;

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Name, Value, Variables};
use serde_json::value::RawValue;

use crate::Options;
use crate::failure::{Code, Failure};
pub(crate) use reads::weight;

/// The limits of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    tokens: usize,
    operations: usize,
    depth: usize,
    fields: usize,
    root_fields: usize,
    aliases: usize,
    directives: usize,
    variable_values: usize,
    variable_depth: usize,
}

impl Limits {
    pub fn of(options: &Options) -> Self {
        Self {
            tokens: options.max_tokens as usize,
            operations: options.max_operations as usize,
            depth: options.max_depth as usize,
            fields: options.max_complexity as usize,
            root_fields: options.max_root_fields as usize,
            aliases: options.max_aliases as usize,
            directives: options.max_directives as usize,
            variable_values: options.max_variable_values as usize,
            variable_depth: options.max_variable_depth as usize,
        }
    }

    /// Tokens that a document may have.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Looks at a document that is yet to be validated; the number of its fields with every
    /// fragment spread out.
    pub fn check_document(&self, document: &ExecutableDocument) -> Result<usize, Failure> {
        expansion::check(document, self)
    }

    /// Whether variables may have so many values within values.
    pub fn take_depth(&self, depth: usize) -> bool {
        depth <= self.variable_depth
    }

    /// Whether variables may have so many values.
    pub fn take_values(&self, values: usize) -> bool {
        values <= self.variable_values
    }

    /// Reads the variables of a request, a JSON object.
    pub fn read_variables(&self, json: &RawValue) -> Result<Variables, Failure> {
        variables::read(json.get(), self)
    }

    /// Looks at how much the variables come to where each counts as often as `uses` says. Whoever
    /// uses a value checks or copies it.
    pub fn check_uses(
        &self,
        variables: &Variables,
        uses: impl Fn(&Name) -> usize,
    ) -> Result<(), Failure> {
        let used = |(name, value): (&Name, &Value)| match uses(name) {
            0 | 1 => 0,
            several => variables::weight(value).saturating_mul(several),
        };
        if variables.iter().map(used).fold(0, usize::saturating_add) <= self.variable_values {
            return Ok(());
        }
        let max = self.variable_values;
        Err(exceeded(format!(
            "the document uses variables more than once, and more than {max} values"
        )))
    }
}

fn exceeded(message: String) -> Failure {
    Failure::new(Code::LimitExceeded, message)
}

/// Limits that few documents reach, for tests to lower.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn generous() -> Limits {
    Limits {
        tokens: 10_000,
        operations: 100,
        depth: 15,
        fields: 10_000,
        root_fields: 100,
        aliases: 100,
        directives: 100,
        variable_values: 10_000,
        variable_depth: 20,
    }
}
