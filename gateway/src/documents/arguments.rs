//! Whether the variables of a request fit into a document that is known to be valid otherwise.
//!
//! Of async-graphql's rules one looks at the values of variables: arguments of the correct type.
//! (The complexity depends on them as well; that is computed for each request.) What is accepted
//! here, that rule accepts. What is not accepted may still be right: the validator decides, and
//! has the words for what is wrong.

use std::collections::HashMap;

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, OperationType, Selection, SelectionSet,
};
use async_graphql::registry::{MetaType, MetaTypeName, Registry};
use async_graphql::{Name, Positioned, Value, Variables};
use async_graphql_value::Value as Literal;

/// Type of the argument `if` of `@skip` and `@include`.
const CONDITION: &str = "Boolean!";

/// The arguments of a document that have variables in them.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// Each with the type that it has to be of.
    typed: Vec<(Literal, String)>,
    /// Whether the type of one is not known.
    has_unknown: bool,
    /// How often each variable is used.
    uses: HashMap<Name, usize>,
}

impl Arguments {
    pub fn of(document: &ExecutableDocument, registry: &Registry) -> Self {
        let mut found = Self::default();
        for fragment in document.fragments.values() {
            let on = registry.types.get(fragment.node.type_condition.node.on.node.as_str());
            found.add_directives(&fragment.node.directives);
            found.add_selections(&fragment.node.selection_set.node, on, registry);
        }
        for (_, operation) in document.operations.iter() {
            let root = match operation.node.ty {
                OperationType::Query => Some(&registry.query_type),
                OperationType::Mutation => registry.mutation_type.as_ref(),
                OperationType::Subscription => registry.subscription_type.as_ref(),
            };
            let root = root.and_then(|name| registry.types.get(name));
            found.add_directives(&operation.node.directives);
            found.add_selections(&operation.node.selection_set.node, root, registry);
        }
        found
    }

    /// How often the document uses a variable.
    pub fn uses(&self, variable: &Name) -> usize {
        self.uses.get(variable).copied().unwrap_or_default()
    }

    /// Whether the variables are certainly of the right types.
    pub fn accept(&self, variables: &Variables, registry: &Registry) -> bool {
        let accepts = |(literal, expected): &(Literal, String)| match literal {
            Literal::Variable(name) => {
                variables.get(name).is_none_or(|value| is_valid(registry, expected, value))
            }
            literal => {
                // Where a variable is missing the rule does not look at the argument.
                let given = |name| variables.get(&name).cloned().ok_or(());
                let value = literal.clone().into_const_with(given);
                value.map_or(true, |value| is_valid(registry, expected, &value))
            }
        };
        !self.has_unknown && self.typed.iter().all(accepts)
    }

    fn add_selections(
        &mut self,
        selections: &SelectionSet,
        on: Option<&MetaType>,
        registry: &Registry,
    ) {
        for selection in &selections.items {
            self.add_directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => self.add_field(&field.node, on, registry),
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref();
                    let on =
                        condition.map_or(on, |on| registry.types.get(on.node.on.node.as_str()));
                    self.add_selections(&inline.node.selection_set.node, on, registry);
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn add_field(&mut self, field: &Field, on: Option<&MetaType>, registry: &Registry) {
        let known = on.and_then(|on| on.field_by_name(&field.name.node));
        for (name, value) in &field.arguments {
            let argument = known.and_then(|known| known.args.get(name.node.as_str()));
            self.add(&value.node, argument.map(|argument| argument.ty.as_str()));
        }
        let result =
            known.and_then(|known| registry.types.get(MetaTypeName::concrete_typename(&known.ty)));
        self.add_selections(&field.selection_set.node, result, registry);
    }

    fn add_directives(&mut self, directives: &[Positioned<Directive>]) {
        for directive in directives {
            let is_condition = matches!(directive.node.name.node.as_str(), "skip" | "include");
            for (name, value) in &directive.node.arguments {
                let is_known = is_condition && name.node == "if";
                self.add(&value.node, is_known.then_some(CONDITION));
            }
        }
    }

    fn add(&mut self, value: &Literal, expected: Option<&str>) {
        let mut has_variables = false;
        each_variable(value, &mut |name| {
            has_variables = true;
            *self.uses.entry(name.clone()).or_default() += 1;
        });
        match expected {
            _ if !has_variables => {}
            Some(expected) => self.typed.push((value.clone(), expected.to_owned())),
            None => self.has_unknown = true,
        }
    }
}

fn each_variable(value: &Literal, found: &mut impl FnMut(&Name)) {
    match value {
        Literal::Variable(name) => found(name),
        Literal::List(items) => items.iter().for_each(|item| each_variable(item, found)),
        Literal::Object(fields) => fields.values().for_each(|field| each_variable(field, found)),
        _ => {}
    }
}

/// Whether the value is certainly one of the type, in GraphQL's notation.
fn is_valid(registry: &Registry, expected: &str, value: &Value) -> bool {
    let name = match MetaTypeName::create(expected) {
        MetaTypeName::NonNull(inner) => {
            return *value != Value::Null && is_valid(registry, inner, value);
        }
        MetaTypeName::List(inner) => {
            return match value {
                Value::Null => true,
                Value::List(items) => items.iter().all(|item| is_valid(registry, inner, item)),
                single => is_valid(registry, inner, single),
            };
        }
        MetaTypeName::Named(name) => name,
    };
    match (registry.types.get(name), value) {
        (_, Value::Null) => true,
        (Some(MetaType::Scalar { is_valid, .. }), value) => {
            is_valid.as_ref().is_none_or(|is_valid| is_valid(value))
        }
        (Some(MetaType::Enum { enum_values, .. }), Value::Enum(symbol)) => {
            enum_values.contains_key(symbol.as_str())
        }
        (Some(MetaType::Enum { enum_values, .. }), Value::String(symbol)) => {
            enum_values.contains_key(symbol)
        }
        (Some(MetaType::InputObject { input_fields, oneof: false, .. }), Value::Object(fields)) => {
            let mut known = 0;
            let are_valid = input_fields.values().all(|field| {
                let Some(value) = fields.get(field.name.as_str()) else {
                    return !field.ty.ends_with('!') || field.default_value.is_some();
                };
                known += 1;
                is_valid(registry, &field.ty, value)
            });
            are_valid && known == fields.len()
        }
        _ => false,
    }
}
