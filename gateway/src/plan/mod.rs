//! Plans: documents that place orders, compiled once and executed without a GraphQL executor.
//!
//! Nearly all that a busy gateway is asked for is one and the same mutation with other variables.
//! For it, async-graphql's execution (variables as trees of values, a future and a map for each
//! object, an answer that is a tree again) costs more than everything else together. A plan reads
//! the variables into the input types, has the orders placed by the very functions that the
//! resolvers call, and writes what is selected as JSON.
//!
//! A plan takes only what it certainly answers in the same way: one root field, `placeOrder` or
//! `placeOrders`, whose argument is the one variable; plain fields, aliases and `__typename`, but
//! neither fragments nor directives; variables that need no coercion. All else, and all that is
//! wrong, goes the general way, and nothing has happened until then. A test compares both ways.

mod input;
mod output;
mod payload;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationType, Selection, SelectionSet,
};
use async_graphql::{PathSegment, Pos, ServerError};
use async_graphql_value::Value as Literal;

use crate::documents::Document;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::schema::inputs::PlaceOrderInput;
use crate::schema::mutation::{Payload, place_order, place_orders};
use crate::schema::{Asker, House};
use output::{Output, Writer, fields, json};

/// Type of the root.
const ROOT: &str = "Mutation";
/// Values within values that variables of plans can have: `inputs[n].lines[n].sku`.
const DEPTH: usize = 5;
/// Values of an input without its lines: itself, its fields, those of the contact.
const VALUES: usize = 1 + 7 + 2;
/// Values of a line: itself and its fields.
const VALUES_OF_LINE: usize = 1 + 4;

/// How to execute an operation.
pub(crate) struct Plan {
    operation_name: Option<String>,
    variable: String,
    /// Key of the root field in the answer.
    key: String,
    /// Where the root field stands in the document.
    pos: Pos,
    /// The answer before and after the value of the root field.
    around: (Vec<u8>, Vec<u8>),
    write: Write,
}

enum Write {
    One(Writer<Payload>),
    Many(Writer<Vec<Payload>>),
}

/// What is to be placed.
enum Input {
    One(PlaceOrderInput),
    Many(Vec<PlaceOrderInput>),
}

/// A request that has a plan.
pub(crate) struct Planned {
    document: Arc<Document>,
    input: Input,
}

impl Plan {
    /// The plan of a document, where there is one. The document has to turn out to be valid before
    /// the plan is used.
    pub fn compile(document: &ExecutableDocument, limits: &Limits) -> Option<Self> {
        let mut operations = document.operations.iter();
        let (operation_name, operation) = operations.next()?;
        let operation = &operation.node;
        let is_plain = operations.next().is_none()
            && document.fragments.is_empty()
            && operation.ty == OperationType::Mutation
            && operation.directives.is_empty()
            && limits.take_depth(DEPTH);
        let [definition] = operation.variable_definitions.as_slice() else { return None };
        let definition = &definition.node;
        if !is_plain || definition.default_value.is_some() || !definition.directives.is_empty() {
            return None;
        }
        let variable = definition.name.node.as_str();
        let root = &operation.selection_set.node;
        let (field, pos) = root_field(root)?;
        let [(_, argument)] = field.arguments.as_slice() else { return None };
        if !matches!(&argument.node, Literal::Variable(name) if name == variable) {
            return None;
        }
        let selected = &field.selection_set.node;
        let write = match field.name.node.as_str() {
            "placeOrder" => Write::One(Output::writer(selected)?),
            "placeOrders" => Write::Many(Output::writer(selected)?),
            _ => return None,
        };
        let key = field.response_key().node.to_string();
        Some(Self {
            operation_name: operation_name.map(|name| name.to_string()),
            variable: variable.to_owned(),
            around: around(root, &key)?,
            key,
            pos,
            write,
        })
    }

    /// What `variables`, a JSON text, asks for; `None` where that is for the general way to say.
    fn read(
        &self,
        operation_name: Option<&str>,
        variables: &str,
        limits: &Limits,
    ) -> Option<Input> {
        // The name need not be given.
        if operation_name.is_some() && operation_name != self.operation_name.as_deref() {
            return None;
        }
        let count = |input: &PlaceOrderInput| VALUES + VALUES_OF_LINE * input.lines.len();
        let (input, values) = match &self.write {
            Write::One(_) => {
                let input = input::only(variables, &self.variable)?;
                let values = count(&input);
                (Input::One(input), values)
            }
            Write::Many(_) => {
                let inputs: Vec<PlaceOrderInput> = input::only(variables, &self.variable)?;
                let values = inputs.iter().map(count).sum::<usize>() + 1;
                (Input::Many(inputs), values)
            }
        };
        limits.take_values(values).then_some(input)
    }

    fn answer<T>(&self, write: &Writer<T>, value: &T) -> Vec<u8> {
        let (before, after) = &self.around;
        let mut answer = Vec::with_capacity(512);
        answer.extend_from_slice(before);
        write(value, &mut answer);
        answer.extend_from_slice(after);
        answer
    }

    /// The error of a root field that failed.
    fn error(&self, failure: Failure) -> ServerError {
        let mut error = failure.into_server_error();
        error.locations = vec![self.pos];
        error.path = vec![PathSegment::Field(self.key.clone())];
        error
    }
}

impl Planned {
    /// `None` where `document` has no plan, or none for this.
    pub fn new(
        document: Arc<Document>,
        operation_name: Option<&str>,
        variables: &str,
        limits: &Limits,
    ) -> Option<Self> {
        let input = document.plan.as_ref()?.read(operation_name, variables, limits)?;
        Some(Self { document, input })
    }

    /// Places what is to be placed; the answer as JSON.
    pub async fn execute(self, house: &House, asker: &Asker) -> Result<Vec<u8>, ServerError> {
        let Some(plan) = &self.document.plan else { unreachable!("it was made from a plan") };
        let failed = |failure| plan.error(failure);
        match (self.input, &plan.write) {
            (Input::One(input), Write::One(write)) => {
                let payload = place_order(house, asker, input).await.map_err(failed)?;
                Ok(plan.answer(write, &payload))
            }
            (Input::Many(inputs), Write::Many(write)) => {
                let payloads = place_orders(house, asker, inputs).await.map_err(failed)?;
                Ok(plan.answer(write, &payloads))
            }
            _ => unreachable!("the plan has read its own input"),
        }
    }
}

/// The one field of the root that is none of GraphQL's own, and where it stands.
fn root_field(root: &SelectionSet) -> Option<(&Field, Pos)> {
    let mut found = None;
    for selection in &root.items {
        let Selection::Field(field) = &selection.node else { return None };
        if field.node.name.node != "__typename" && found.replace(field).is_some() {
            return None;
        }
    }
    found.map(|field| (&field.node, field.pos))
}

/// The answer before and after the value under `key`.
fn around(root: &SelectionSet, key: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let arguments = |name: &str| usize::from(name != "__typename");
    let (mut before, mut after) = (b"{\"data\":{".to_vec(), Vec::new());
    let mut has_value = false;
    for (n, field) in fields(root, arguments)?.iter().enumerate() {
        let part = if has_value { &mut after } else { &mut before };
        if n > 0 {
            part.push(b',');
        }
        json(field.key, part);
        part.push(b':');
        if field.key == key {
            has_value = true;
        } else {
            json(ROOT, part);
        }
    }
    after.extend_from_slice(b"}}");
    Some((before, after))
}
