//! GraphQL documents, from text to async-graphql's tree.
//!
//! The limits of a document's text are counted by the lexer that the parser reads from. So no
//! second reader can see another document than the one that was measured. async-graphql's own
//! parser is not used: it recurses without a bound, takes what the specification refuses
//! (`queryA {a}`, `[01]`), and misreads strings. The grammar is that of the executable documents
//! in the specification of September 2025; its section numbers stand at the functions.

mod lexer;
mod parser;
mod strings;
#[cfg(test)]
mod tests;
mod values;

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Pos, ServerError};

use crate::failure::{Code, Failure};

/// Brackets within brackets, of any kind, that a document may have. It bounds every recursion
/// over a document.
pub(crate) const MAX_NESTING: usize = 50;
/// Longest name, in bytes.
pub(crate) const MAX_NAME: usize = 255;
/// Arguments of one field or directive.
const MAX_ARGUMENTS: usize = 50;
/// Bytes of a name or number that count as one token; a longer one counts as several. What the
/// validator does with unknown names grows with their length.
const BYTES_PER_TOKEN: usize = 32;

/// A document, and what it was measured at.
pub(crate) struct Parsed {
    pub document: ExecutableDocument,
    pub tokens: usize,
}

/// Why a text is not taken, and where.
#[derive(Debug)]
pub(crate) struct Error {
    pub failure: Failure,
    pub pos: Pos,
}

/// Reads a document of at most `max_tokens` tokens.
pub(crate) fn parse(text: &str, max_tokens: usize) -> Result<Parsed, Error> {
    parser::Parser::new(text, max_tokens)?.document()
}

impl Error {
    fn new(code: Code, message: String, pos: Pos) -> Self {
        Self { failure: Failure::new(code, message), pos }
    }

    /// The text is not GraphQL. `expected` says what it should have; it quotes nothing.
    fn expected(expected: &str, pos: Pos) -> Self {
        Self::new(
            Code::ParseFailed,
            format!("the document is not GraphQL: expected {expected}"),
            pos,
        )
    }
}

impl From<Error> for ServerError {
    fn from(error: Error) -> Self {
        let mut answer = error.failure.into_server_error();
        answer.locations = vec![error.pos];
        answer
    }
}
