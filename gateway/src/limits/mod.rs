//! What a request may cost, decided before anything that could be made slow or deep by it.
//!
//! The parser recurses, and the validator follows a fragment wherever it is spread, so both are
//! only given documents that [`scan`] and [`expansion`] have let through; each is linear in the
//! size of the document. Variables are counted before anything looks at them.

mod expansion;
mod scan;
mod variables;

pub(crate) use scan::MAX_NESTING;

use async_graphql::Variables;
use async_graphql::parser::types::ExecutableDocument;

use crate::Options;
use crate::failure::{Code, Failure};

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

    /// Looks at a document that is yet to be parsed; the number of its tokens.
    pub fn check_text(&self, document: &str) -> Result<usize, Failure> {
        scan::scan(document, self.tokens)
    }

    /// Looks at a document that is yet to be validated.
    pub fn check_document(&self, document: &ExecutableDocument) -> Result<(), Failure> {
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

    /// Looks at the variables of a request.
    pub fn check_variables(&self, variables: &Variables) -> Result<(), Failure> {
        variables::check(variables, self)
    }
}

fn exceeded(message: String) -> Failure {
    Failure::new(Code::LimitExceeded, message)
}

/// Limits that few documents reach, for tests to lower.
#[cfg(test)]
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
