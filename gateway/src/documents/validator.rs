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
use crate::schema::{self, Limits, Schema};

/// Validates documents together with the variables of a request.
pub(super) struct Validator {
    schema: Schema,
}

impl Validator {
    pub fn new(limits: Limits) -> Self {
        Self { schema: schema::bounded(limits).extension(Nothing).finish() }
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
            Ok(response) if response.errors.is_empty() => Ok(()),
            Ok(response) => Err(response.errors),
            Err(_) => {
                error!("the validation panicked");
                let failure = Failure::internal();
                Err(vec![failure.into_server_error()])
            }
        }
    }
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
