//! Whether literals and variables are values of their types (specification §3.5, §3.9 to §3.11 and
//! §6.1.2).
//!
//! async-graphql's rules look at where a variable is used, not at the type that it was declared with.
//! They take an integer of any size for an `Int`, text in a document for a value of an enum, and
//! anything for an input object; what they let pass would fail in the middle of the execution, or
//! not at all.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{BaseType, ExecutableDocument, OperationDefinition, Type};
use async_graphql::registry::{MetaInputValue, MetaType, MetaTypeName, Registry};
use async_graphql::{Name, Positioned, ServerError, Variables};
use async_graphql_value::{ConstValue, Value as Literal};

use super::places::{self, Place};

/// Most errors that are reported.
const MAX_ERRORS: usize = 50;

/// What is wrong with the literals of a document that is valid otherwise.
pub(super) fn check_literals(
    document: &ExecutableDocument,
    registry: &Registry,
) -> Vec<ServerError> {
    let mut errors = Vec::new();
    places::each(document, registry, &mut |Place { name, value, expected, .. }| {
        if let Err(wrong) = fits(registry, expected, value) {
            let message = format!("Invalid value for argument {}", wrong.told(&name.node));
            errors.push(ServerError::new(message, Some(name.pos)));
        }
    });
    let definitions = document.operations.iter().flat_map(|(_, o)| &o.node.variable_definitions);
    for definition in definitions.map(|definition| &definition.node) {
        let Some(default) = &definition.default_value else { continue };
        let literal = default.node.clone().into_value();
        if let Err(wrong) = fits_declared(registry, &definition.var_type.node, &literal) {
            let told = wrong.told(&definition.name.node);
            let message = format!("Invalid value for the default of variable {told}");
            errors.push(ServerError::new(message, Some(default.pos)));
        }
    }
    errors.truncate(MAX_ERRORS);
    errors
}

/// What is wrong with the variables of a request, each by the type that it was declared with. Those
/// that are not there are for another rule.
pub(super) fn check_variables(
    operation: &OperationDefinition,
    variables: &Variables,
    registry: &Registry,
) -> Vec<ServerError> {
    let mut errors = Vec::new();
    for Positioned { pos, node: definition } in &operation.variable_definitions {
        let name = &definition.name.node;
        let Some(value) = variables.get(name).filter(|value| **value != ConstValue::Null) else {
            continue;
        };
        if let Err(wrong) = fits_declared(registry, &definition.var_type.node, value) {
            let message = format!("Invalid value for variable {}", wrong.told(name));
            errors.push(ServerError::new(message, Some(*pos)));
        }
    }
    errors.truncate(MAX_ERRORS);
    errors
}

/// What a value lacks, and the way to it from the inside out.
#[derive(Debug)]
struct Wrong {
    path: Vec<String>,
    problem: String,
}

impl Wrong {
    fn expected(type_name: impl Display) -> Self {
        Self { path: Vec::new(), problem: format!("expected type \"{type_name}\"") }
    }

    fn within(mut self, step: impl ToString) -> Self {
        self.path.push(step.to_string());
        self
    }

    /// In async-graphql's words.
    fn told(&self, name: &Name) -> String {
        let mut told = format!("\"{name}");
        for step in self.path.iter().rev() {
            let _ = write!(told, ".{step}");
        }
        told + "\", " + &self.problem
    }
}

/// A value of a document, or of the variables of a request.
trait AnyValue: Sized {
    /// Whether a symbol of an enum may come as text, as in JSON.
    const HAS_SYMBOLS_AS_TEXT: bool;

    fn shape(&self) -> Shape<'_, Self>;
}

/// What a value looks like.
enum Shape<'v, V> {
    /// A variable: what it holds is checked by its own type.
    Unknown,
    Null,
    List(&'v [V]),
    Object(&'v IndexMap<Name, V>),
    Enum(&'v str),
    Leaf(Cow<'v, ConstValue>),
}

impl AnyValue for Literal {
    const HAS_SYMBOLS_AS_TEXT: bool = false;

    fn shape(&self) -> Shape<'_, Self> {
        match self {
            Self::Variable(_) => Shape::Unknown,
            Self::Null => Shape::Null,
            Self::List(items) => Shape::List(items),
            Self::Object(fields) => Shape::Object(fields),
            Self::Enum(symbol) => Shape::Enum(symbol),
            leaf => {
                leaf.clone().into_const().map_or(Shape::Unknown, |l| Shape::Leaf(Cow::Owned(l)))
            }
        }
    }
}

impl AnyValue for ConstValue {
    const HAS_SYMBOLS_AS_TEXT: bool = true;

    fn shape(&self) -> Shape<'_, Self> {
        match self {
            Self::Null => Shape::Null,
            Self::List(items) => Shape::List(items),
            Self::Object(fields) => Shape::Object(fields),
            Self::Enum(symbol) => Shape::Enum(symbol),
            leaf => Shape::Leaf(Cow::Borrowed(leaf)),
        }
    }
}

/// Whether the value is one of the type that a variable was declared with.
fn fits_declared<V: AnyValue>(
    registry: &Registry,
    expected: &Type,
    value: &V,
) -> Result<(), Wrong> {
    let shape = value.shape();
    match (&shape, &expected.base) {
        (Shape::Unknown, _) => Ok(()),
        (Shape::Null, _) if expected.nullable => Ok(()),
        (Shape::Null, _) => Err(Wrong::expected(expected)),
        (Shape::List(items), BaseType::List(inner)) => {
            each(items, |item| fits_declared(registry, inner, item))
        }
        (_, BaseType::List(inner)) => fits_declared(registry, inner, value),
        (_, BaseType::Named(name)) => fits_named(registry, name, shape),
    }
}

/// The same with a type of the schema, in GraphQL's notation.
fn fits<V: AnyValue>(registry: &Registry, expected: &str, value: &V) -> Result<(), Wrong> {
    let shape = value.shape();
    match (MetaTypeName::create(expected), &shape) {
        (_, Shape::Unknown) => Ok(()),
        (MetaTypeName::NonNull(_), Shape::Null) => Err(Wrong::expected(expected)),
        (MetaTypeName::NonNull(inner), _) => fits(registry, inner, value),
        (_, Shape::Null) => Ok(()),
        (MetaTypeName::List(inner), Shape::List(items)) => {
            each(items, |item| fits(registry, inner, item))
        }
        (MetaTypeName::List(inner), _) => fits(registry, inner, value),
        (MetaTypeName::Named(name), _) => fits_named(registry, name, shape),
    }
}

fn each<V>(items: &[V], check: impl Fn(&V) -> Result<(), Wrong>) -> Result<(), Wrong> {
    let mut items = items.iter().enumerate();
    items.try_for_each(|(n, item)| check(item).map_err(|wrong| wrong.within(n)))
}

/// Whether a value that is there is one of the named type. A type that is not known, or is none of
/// input, is for another rule.
fn fits_named<V: AnyValue>(
    registry: &Registry,
    name: &str,
    shape: Shape<'_, V>,
) -> Result<(), Wrong> {
    let fits = match (registry.types.get(name), shape) {
        (Some(MetaType::InputObject { input_fields, .. }), Shape::Object(fields)) => {
            return fits_object(registry, name, input_fields, fields);
        }
        (Some(MetaType::Scalar { is_valid, .. }), Shape::Leaf(leaf)) => {
            let is_valid = is_valid.as_ref().is_none_or(|is_valid| is_valid(&leaf));
            is_valid && (name != "Int" || is_int(&leaf))
        }
        (Some(MetaType::Enum { enum_values, .. }), Shape::Enum(symbol)) => {
            enum_values.contains_key(symbol)
        }
        (Some(MetaType::Enum { enum_values, .. }), Shape::Leaf(leaf)) => {
            let is_symbol = |text: &str| enum_values.contains_key(text);
            V::HAS_SYMBOLS_AS_TEXT && matches!(&*leaf, ConstValue::String(text) if is_symbol(text))
        }
        (
            Some(MetaType::InputObject { .. } | MetaType::Scalar { .. } | MetaType::Enum { .. }),
            _,
        ) => false,
        _ => true,
    };
    if fits { Ok(()) } else { Err(Wrong::expected(name)) }
}

fn fits_object<V: AnyValue>(
    registry: &Registry,
    name: &str,
    input_fields: &IndexMap<String, MetaInputValue>,
    given: &IndexMap<Name, V>,
) -> Result<(), Wrong> {
    for field in input_fields.values() {
        let Some(value) = given.get(field.name.as_str()) else {
            if field.ty.ends_with('!') && field.default_value.is_none() {
                let (field, ty) = (&field.name, &field.ty);
                let problem =
                    format!("field \"{field}\" of type \"{ty}\" is required but not provided");
                return Err(Wrong { path: Vec::new(), problem });
            }
            continue;
        };
        fits(registry, &field.ty, value).map_err(|wrong| wrong.within(&field.name))?;
    }
    match given.keys().find(|given| !input_fields.contains_key(given.as_str())) {
        Some(unknown) => {
            let problem = format!("unknown field \"{unknown}\" of type \"{name}\"");
            Err(Wrong { path: Vec::new(), problem })
        }
        None => Ok(()),
    }
}

/// Whether it is a number of 32 bits.
fn is_int(value: &ConstValue) -> bool {
    matches!(value, ConstValue::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()))
}
