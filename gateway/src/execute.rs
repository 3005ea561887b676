//! From a request to its answer, whatever transport it came by.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType,
};
use async_graphql::{
    PathSegment, Pos, Positioned, Request, Response, ServerError, Value, Variables,
};
use futures_util::{FutureExt, Stream, StreamExt};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use serde::Serialize;
use tokio::time::timeout;
use tracing::error;

use crate::Options;
use crate::auth::Caller;
use crate::budget::Hold;
use crate::config::millis;
use crate::documents::{Documents, Workers, arrange};
use crate::failure::{Code, Failure, RETRY_AFTER_SECONDS, extensions};
use crate::introspection::{self, Audience};
use crate::limits::{Limits, weight};
use crate::metrics::{Held, IN_FLIGHT, REQUEST_SECONDS, REQUESTS_TOTAL};
use crate::params::{Params, Wire};
use crate::plan::Planned;
use crate::schema::{self, Asker, House, Schema};

/// Most errors in one answer.
const MAX_ERRORS: usize = 50;
/// Longest message of async-graphql's that is sent, in bytes. Some repeat names.
const MAX_MESSAGE: usize = 1_000;
/// Longest document, and longest variables, that are looked at by the thread that serves the
/// request, in bytes.
const LIGHT_DOCUMENT: usize = 4 << 10;
const LIGHT_VARIABLES: usize = 32 << 10;

/// A request that is valid and within the limits.
pub(crate) struct Prepared {
    pub operation: OperationType,
    request: Request,
    /// What is executed.
    collected: Arc<OperationDefinition>,
}

/// An answer, as every transport sends it.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// `None` where nothing was executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ServerError>,
}

/// Executes requests. Clones share the schema and the documents.
#[derive(Clone)]
pub(crate) struct Executor {
    schema: Schema,
    house: Arc<House>,
    documents: Arc<Documents>,
    workers: Arc<Workers>,
    limits: Limits,
    introspection: Audience,
    /// The longest that a query or mutation may take.
    deadline: Duration,
    meters: Arc<Meters>,
}

/// What is counted for each request that succeeds, by the type of operation. To look metrics up by
/// their names costs more than to count.
struct Meters {
    in_flight: Gauge,
    seconds: [Histogram; 3],
    ok: [Counter; 3],
}

impl Meters {
    fn new() -> Self {
        let types = [OperationType::Query, OperationType::Mutation, OperationType::Subscription];
        Self {
            in_flight: gauge!(IN_FLIGHT),
            seconds: types.map(|ty| histogram!(REQUEST_SECONDS, "operation" => name(ty))),
            ok: types
                .map(|ty| counter!(REQUESTS_TOTAL, "operation" => name(ty), "outcome" => "ok")),
        }
    }
}

impl Executor {
    pub fn new(house: House, documents: Documents, options: &Options) -> Self {
        let house = Arc::new(house);
        Self {
            schema: schema::build(house.clone()),
            house,
            documents: Arc::new(documents),
            workers: Arc::new(Workers::start()),
            limits: Limits::of(options),
            introspection: options.introspection,
            deadline: millis(options.request_timeout_ms),
            meters: Arc::new(Meters::new()),
        }
    }

    /// The request as one that has a plan; `None` where it has none, or something is wrong with it.
    pub fn plan(&self, wire: Wire<'_>, caller: &Caller) -> Option<Planned> {
        let (wanted, operation_name, variables) = wire.parts().ok()?;
        let document = self.documents.with_plan(&wanted, caller)?;
        let name = operation_name.as_deref();
        let planned = Planned::new(document, name, variables?.get(), &self.limits)?;
        self.documents.count_known();
        Some(planned)
    }

    /// Answers a request that has a plan: with JSON where nothing failed.
    pub async fn execute_plan(&self, planned: Planned, asker: &Asker) -> Result<Vec<u8>, Answer> {
        let _held = match self.house.rates.shares.enter(&asker.caller) {
            Ok(held) => held,
            Err(failure) => return Err(Answer::from(failure).counted("mutation")),
        };
        let executing = planned.execute(&self.house, asker);
        let failed = match self.in_time(OperationType::Mutation, executing).await {
            Ok(Ok(json)) => {
                self.meters.ok[OperationType::Mutation as usize].increment(1);
                return Ok(json);
            }
            Ok(Err(error)) => Answer { data: Some(Value::Null), errors: vec![error] },
            Err(failed) => failed,
        };
        Err(failed.counted("mutation"))
    }

    /// Finds the document and its operation, and validates them with the variables. What may take
    /// long is done by [`Workers`].
    pub async fn prepare(&self, params: Params, caller: &Caller) -> Result<Prepared, Answer> {
        if !self.is_heavy(&params) {
            return self.prepare_here(params, caller);
        }
        let (executor, caller) = (self.clone(), caller.clone());
        let work = move || executor.prepare_here(params, &caller);
        self.workers.run(work).await.unwrap_or_else(|failure| Err(Answer::from(failure)))
    }

    /// Whether it may take more than a few milliseconds to prepare the request.
    fn is_heavy(&self, params: &Params) -> bool {
        let variables = params.variables.as_ref().map_or(0, |json| json.get().len());
        let text = params.document.text().filter(|text| text.len() > LIGHT_DOCUMENT);
        variables > LIGHT_VARIABLES || text.is_some_and(|text| !self.documents.knows(text))
    }

    /// The same on this very thread.
    pub fn prepare_here(&self, params: Params, caller: &Caller) -> Result<Prepared, Answer> {
        let Params { document, operation_name, variables } = params;
        let refuse = |errors| Answer::refused(errors, Code::ParseFailed).counted("none");
        let refuse_one = |failure: Failure| refuse(vec![failure.into_server_error()]);
        let variables = variables.map(|json| self.limits.read_variables(&json)).transpose();
        let mut variables = variables.map_err(refuse_one)?.unwrap_or_default();
        let found = self.documents.find(&document, caller).map_err(|error| refuse(vec![error]))?;
        let may_look = self.introspection.includes(caller);
        if found.document.introspects && !may_look {
            return Err(refuse_one(introspection::refused()));
        }
        let parsed = &found.document.parsed;
        let operation = operation(parsed, operation_name.as_deref()).map_err(refuse_one)?;
        let named = (operation_name.as_deref(), operation);
        self.documents.validate(&found, named, &mut variables).map_err(|mut errors| {
            if !may_look {
                errors.iter_mut().for_each(introspection::conceal);
            }
            Answer::refused(errors, Code::ValidationFailed).counted(name(operation.ty))
        })?;
        let name = operation_name.as_deref();
        let collected = found.document.executable(name, operation, &variables);
        let operation = operation.ty;
        let mut request = Request::new("").variables(variables);
        request.set_parsed_query(alone(&collected));
        Ok(Prepared { operation, request, collected })
    }

    /// Answers a query or mutation.
    pub async fn execute(&self, prepared: Prepared, asker: Asker) -> Answer {
        let Prepared { operation, request, collected } = prepared;
        let _held = match self.admit(&collected, &request.variables, &asker) {
            Ok(held) => held,
            Err(failure) => return Answer::from(failure).counted(name(operation)),
        };
        let executing = self.schema.execute(request.data(asker));
        let answer = self.in_time(operation, executing).await;
        let answer = answer.map(|response| Answer::of(response, &collected));
        answer.unwrap_or_else(|failed| failed).counted(name(operation))
    }

    /// Takes what a valid operation counts for, and has it counted as under way.
    fn admit(
        &self,
        operation: &OperationDefinition,
        variables: &Variables,
        asker: &Asker,
    ) -> Result<Option<Hold>, Failure> {
        let rates = &self.house.rates;
        let held = rates.shares.enter(&asker.caller)?;
        if let Some(principal) = &asker.caller {
            rates.reads(principal, &asker.prepaid, weight(operation, variables))?;
        }
        Ok(held)
    }

    /// What comes of `executing`; the answer where it panics or takes too long.
    async fn in_time<T>(
        &self,
        operation: OperationType,
        executing: impl Future<Output = T>,
    ) -> Result<T, Answer> {
        let (began, _held) = (Instant::now(), Held::of(&self.meters.in_flight));
        // In a box: it is large, and would be copied from each of these into the next.
        let executing = AssertUnwindSafe(Box::pin(executing)).catch_unwind();
        let outcome = match timeout(self.deadline, executing).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(Answer::panicked()),
            Err(_) => Err(Answer::late(operation)),
        };
        self.meters.seconds[operation as usize].record(began.elapsed());
        outcome
    }

    /// The answers to a subscription, one after the other.
    pub fn subscribe(
        &self,
        prepared: Prepared,
        asker: Asker,
    ) -> impl Stream<Item = Answer> + Send + use<> {
        let Prepared { operation, request, collected } = prepared;
        let operation = name(operation);
        let answers = self.schema.execute_stream(request.data(asker));
        let answers = answers.map(move |response| Answer::of(response, &collected));
        let answers = AssertUnwindSafe(answers).catch_unwind();
        let answers = answers.map(|answer| answer.unwrap_or_else(|_| Answer::panicked()));
        answers.enumerate().map(move |(n, answer)| {
            // The first answer tells how it began.
            if n == 0 { answer.counted(operation) } else { answer }
        })
    }
}

/// A document with this operation alone.
pub(crate) fn alone(operation: &OperationDefinition) -> ExecutableDocument {
    let operation = Positioned::new(operation.clone(), Pos::default());
    let operations = DocumentOperations::Single(operation);
    ExecutableDocument { operations, fragments: HashMap::new() }
}

/// The operation that is to be executed.
fn operation<'d>(
    document: &'d ExecutableDocument,
    name: Option<&str>,
) -> Result<&'d OperationDefinition, Failure> {
    let found = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Ok(operation),
        (DocumentOperations::Single(_), Some(_)) => {
            Err("the document has no operation of that name")
        }
        (DocumentOperations::Multiple(all), Some(name)) => {
            all.get(name).ok_or("the document has no operation of that name")
        }
        (DocumentOperations::Multiple(all), None) if all.len() == 1 => {
            all.values().next().ok_or("the document has no operation")
        }
        (DocumentOperations::Multiple(_), None) => {
            Err("the document has several operations; operationName has to say which")
        }
    };
    let found = found.map_err(|message| Failure::new(Code::ValidationFailed, message))?;
    Ok(&found.node)
}

/// A type of operation in metrics and logs.
pub(crate) fn name(operation: OperationType) -> &'static str {
    match operation {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    }
}

impl Answer {
    /// The answer to an operation.
    fn of(response: Response, operation: &OperationDefinition) -> Self {
        let mut answer = Self::from(response);
        if let Some(data) = &mut answer.data {
            arrange(&operation.selection_set.node, data);
        }
        answer
    }

    /// Nothing was executed. Errors that don't say what they are, are `code`.
    fn refused(mut errors: Vec<ServerError>, code: Code) -> Self {
        errors.truncate(MAX_ERRORS);
        errors.iter_mut().for_each(|error| ensure_code(error, code));
        Self { data: None, errors }
    }

    fn panicked() -> Self {
        error!("a resolver panicked");
        Failure::internal().into()
    }

    /// It took longer than the deadline. Nothing waits for it any more; what it sent to the broker
    /// goes on.
    fn late(operation: OperationType) -> Self {
        let failure = match operation {
            OperationType::Mutation => Failure::new(
                Code::OutcomeUnknown,
                "the answer took too long: the orders may be stored or not; the same request with \
                 the same idempotency keys is safe",
            ),
            OperationType::Query | OperationType::Subscription => {
                Failure::new(Code::Timeout, "the answer took too long; try again")
            }
        };
        failure.into()
    }

    /// Seconds after which the first error says to try again.
    pub fn retry_after(&self) -> Option<u64> {
        match self.errors.first()?.extensions.as_ref()?.get(RETRY_AFTER_SECONDS)? {
            Value::Number(seconds) => seconds.as_u64(),
            _ => None,
        }
    }

    /// Code of the first error.
    pub fn code(&self) -> Option<Code> {
        code(self.errors.first()?)
    }

    fn counted(self, operation: &'static str) -> Self {
        let outcome = self.code().map_or("ok", Code::as_str);
        counter!(REQUESTS_TOTAL, "operation" => operation, "outcome" => outcome).increment(1);
        self
    }
}

fn code(error: &ServerError) -> Option<Code> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(text) => Code::from_text(text),
        _ => None,
    }
}

/// Makes an error of async-graphql's one of ours.
fn ensure_code(error: &mut ServerError, otherwise: Code) {
    if code(error).is_none() {
        let code = if is_limit(&error.message) { Code::LimitExceeded } else { otherwise };
        error.extensions = Some(extensions(code));
        error.message = without_value(&error.message);
        let end = error.message.floor_char_boundary(MAX_MESSAGE);
        error.message.truncate(end);
    }
}

/// Whether this is what async-graphql says about the limits that it was given.
fn is_limit(message: &str) -> bool {
    message == "Query is too complex."
        || message == "Query is nested too deep."
        || message.starts_with("The recursion depth of the query cannot be greater than")
}

/// `message` without the value that was found instead of one of the right type: it may be what
/// must not be repeated.
fn without_value(message: &str) -> String {
    const FOUND: &str = ", found ";
    const WHERE: &str = " (occurred while parsing";
    let Some((expected, rest)) = message.split_once(FOUND) else { return message.to_owned() };
    let place = rest.find(WHERE).map_or("", |at| &rest[at..]);
    format!("{expected}.{place}")
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self { data: None, errors: vec![failure.into_server_error()] }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let Response { data, mut errors, .. } = response;
        let data = propagated(data, &errors);
        // Our resolvers' errors have a code. One of async-graphql's is about the document or its
        // variables; where there is nothing else, GraphQL has no `data` (specification §7.1).
        if data == Value::Null && !errors.is_empty() && errors.iter().all(|e| code(e).is_none()) {
            return Self::refused(errors, Code::ValidationFailed);
        }
        errors.truncate(MAX_ERRORS);
        errors.iter_mut().for_each(|error| ensure_code(error, Code::ValidationFailed));
        Self { data: Some(data), errors }
    }
}

/// async-graphql leaves out a field of the root that can't be null and failed; GraphQL wants the
/// whole of `data` to be null then (specification §6.4.4). Where everything was skipped, it has
/// null for an empty object.
fn propagated(data: Value, errors: &[ServerError]) -> Value {
    let fields = match &data {
        Value::Object(fields) => fields,
        Value::Null if errors.is_empty() => return Value::Object(Default::default()),
        _ => return data,
    };
    let is_missing = |error: &ServerError| match error.path.as_slice() {
        [PathSegment::Field(root)] => !fields.contains_key(root.as_str()),
        _ => false,
    };
    if errors.iter().any(is_missing) { Value::Null } else { data }
}

#[cfg(test)]
mod tests;
