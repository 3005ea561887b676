//! async-graphql's validation without the execution.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Request, Response, ServerError, Variables};
use async_trait::async_trait;
use futures_util::FutureExt;
use tracing::error;

use crate::failure::Failure;
use crate::schema::{self, Schema};

/// Validates documents together with the variables of a request.
pub(super) struct Validator {
    schema: Schema,
}

impl Validator {
    /// Complexity and depth are for the schema that executes: they depend on the variables.
    pub fn new() -> Self {
        Self { schema: schema::unbounded().extension(Nothing).finish() }
    }

    /// All that is wrong.
    pub fn check(
        &self,
        document: &ExecutableDocument,
        operation_name: Option<&str>,
        variables: &Variables,
    ) -> Result<(), Vec<ServerError>> {
        let mut request = Request::new("").variables(variables.clone());
        request.operation_name = operation_name.map(str::to_owned);
        request.set_parsed_query(document.clone());
        let validating = AssertUnwindSafe(self.schema.execute(request)).catch_unwind();
        match validating.now_or_never().expect("validation waits for nothing") {
            Ok(response) => {
                let errors = response.errors.into_iter().filter(|error| !is_for_others(error));
                let errors: Vec<_> = errors.collect();
                if errors.is_empty() { Ok(()) } else { Err(errors) }
            }
            Err(_) => {
                error!("the validation panicked");
                let failure = Failure::internal();
                Err(vec![failure.into_server_error()])
            }
        }
    }
}

/// Whether what is wrong, if it is, is said by another part.
fn is_for_others(error: &ServerError) -> bool {
    is_of_complexity(error) || error.message.contains("\" used in position expecting type \"")
}

/// Whether an argument could not be read by which a field says how complex it is. That is done for
/// all operations, though the variables are those of one. Of that one, the schema that executes says
/// it; no rule begins with these words.
fn is_of_complexity(error: &ServerError) -> bool {
    let words = ["Failed to parse \"", "Expected input type \""];
    let message = &error.message;
    let is_undefined = message.starts_with("Variable ") && !message.starts_with("Variable \"");
    is_undefined || words.iter().any(|words| message.starts_with(words))
}

/// Takes the place of the execution.
pub(super) struct Nothing;

impl ExtensionFactory for Nothing {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for Nothing {
    async fn execute(
        &self,
        _: &ExtensionContext<'_>,
        _: Option<&str>,
        _: NextExecute<'_>,
    ) -> Response {
        Response::default()
    }
}
