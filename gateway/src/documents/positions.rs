//! Whether variables stand where their types may (specification §5.8.5).
//!
//! async-graphql's rule refuses a list that can't be null where one that can is taken, and passes
//! over what stands within input objects.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{BaseType, ExecutableDocument, Selection, SelectionSet};
use async_graphql::registry::{MetaType, MetaTypeName, Registry};
use async_graphql::{Name, Pos, Positioned, ServerError};
use async_graphql_value::{ConstValue, Value as Literal};

use super::places::{self, Place, Scope};

/// Most errors that are reported.
const MAX_ERRORS: usize = 50;

/// Variables whose types are not of input (§5.8.2). async-graphql panics at a default of a type that it
/// does not know.
pub(super) fn check_types(document: &ExecutableDocument, registry: &Registry) -> Vec<ServerError> {
    let operations = document.operations.iter();
    let definitions = operations.flat_map(|(_, operation)| &operation.node.variable_definitions);
    let wrong = definitions.filter_map(|Positioned { node: definition, .. }| {
        let Positioned { pos, node: ty } = &definition.var_type;
        let name = base(&ty.base);
        let message = match registry.types.get(name.as_str()) {
            Some(known) if known.is_input() => return None,
            Some(_) => {
                let variable = &definition.name.node;
                format!("Variable \"{variable}\" cannot be of non-input type \"{name}\"")
            }
            None => format!("Unknown type \"{name}\""),
        };
        Some(ServerError::new(message, Some(*pos)))
    });
    wrong.take(MAX_ERRORS).collect()
}

fn base(ty: &BaseType) -> &Name {
    match ty {
        BaseType::Named(name) => name,
        BaseType::List(inner) => base(&inner.base),
    }
}

/// A place in which a variable is used.
struct Use<'d> {
    variable: &'d Name,
    pos: Pos,
    expected: &'d str,
    has_default: bool,
}

/// All variables that stand where they may not.
pub(super) fn check(document: &ExecutableDocument, registry: &Registry) -> Vec<ServerError> {
    let mut uses: HashMap<Scope<'_>, Vec<Use<'_>>> = HashMap::new();
    places::each(document, registry, &mut |place| {
        let Place { scope, name, value, expected, has_default } = place;
        add(uses.entry(scope).or_default(), registry, (value, name.pos), expected, has_default);
    });
    let mut errors = Vec::new();
    for (name, operation) in document.operations.iter() {
        let mut scopes = HashSet::from([Scope::Operation(name.map(Name::as_str))]);
        reach(&operation.node.selection_set.node, document, &mut scopes);
        for used in scopes.iter().filter_map(|scope| uses.get(scope)).flatten() {
            let mut definitions = operation.node.variable_definitions.iter();
            let Some(Positioned { pos, node: definition }) =
                definitions.find(|definition| definition.node.name.node == *used.variable)
            else {
                continue;
            };
            let has_value = (definition.default_value.as_ref())
                .is_some_and(|default| default.node != ConstValue::Null);
            let declared = definition.var_type.node.to_string();
            if !may_stand(&declared, has_value, used) {
                let message = format!(
                    "Variable \"{}\" of type \"{declared}\" used in position expecting type \
                     \"{}\"",
                    used.variable, used.expected
                );
                let mut error = ServerError::new(message, None);
                error.locations = vec![*pos, used.pos];
                errors.push(error);
            }
            if errors.len() >= MAX_ERRORS {
                return errors;
            }
        }
    }
    errors
}

/// Adds all variables within a value.
fn add<'d>(
    uses: &mut Vec<Use<'d>>,
    registry: &'d Registry,
    (value, pos): (&'d Literal, Pos),
    expected: &'d str,
    has_default: bool,
) {
    let nullable = expected.strip_suffix('!').unwrap_or(expected);
    match value {
        Literal::Variable(variable) => uses.push(Use { variable, pos, expected, has_default }),
        Literal::List(items) => {
            if let MetaTypeName::List(inner) = MetaTypeName::create(nullable) {
                items.iter().for_each(|item| add(uses, registry, (item, pos), inner, false));
            }
        }
        Literal::Object(fields) => {
            // A single value stands for a list of it.
            let name = MetaTypeName::concrete_typename(nullable);
            let Some(MetaType::InputObject { input_fields, .. }) = registry.types.get(name) else {
                return;
            };
            for (name, field) in fields {
                if let Some(known) = input_fields.get(name.as_str()) {
                    let has_default = known.default_value.is_some();
                    add(uses, registry, (field, pos), &known.ty, has_default);
                }
            }
        }
        _ => {}
    }
}

/// Adds the fragments that a selection spreads, and those that they spread.
fn reach<'d>(
    selections: &'d SelectionSet,
    document: &'d ExecutableDocument,
    scopes: &mut HashSet<Scope<'d>>,
) {
    for selection in &selections.items {
        match &selection.node {
            Selection::Field(field) => reach(&field.node.selection_set.node, document, scopes),
            Selection::InlineFragment(inline) => {
                reach(&inline.node.selection_set.node, document, scopes);
            }
            Selection::FragmentSpread(spread) => {
                let found = document.fragments.get_key_value(&spread.node.fragment_name.node);
                if let Some((name, fragment)) = found
                    && scopes.insert(Scope::Fragment(name))
                {
                    reach(&fragment.node.selection_set.node, document, scopes);
                }
            }
        }
    }
}

/// `IsVariableUsageAllowed` of the specification; `has_value` is whether the default of the variable
/// is other than null.
fn may_stand(declared: &str, has_value: bool, used: &Use<'_>) -> bool {
    match used.expected.strip_suffix('!') {
        Some(nullable) if !declared.ends_with('!') => {
            (has_value || used.has_default) && are_compatible(declared, nullable)
        }
        _ => are_compatible(declared, used.expected),
    }
}

/// `AreTypesCompatible` of the specification.
fn are_compatible(declared: &str, place: &str) -> bool {
    match (MetaTypeName::create(declared), MetaTypeName::create(place)) {
        (MetaTypeName::NonNull(declared), MetaTypeName::NonNull(place)) => {
            are_compatible(declared, place)
        }
        (_, MetaTypeName::NonNull(_)) => false,
        (MetaTypeName::NonNull(declared), _) => are_compatible(declared, place),
        (MetaTypeName::List(declared), MetaTypeName::List(place)) => {
            are_compatible(declared, place)
        }
        (MetaTypeName::Named(declared), MetaTypeName::Named(place)) => declared == place,
        _ => false,
    }
}
