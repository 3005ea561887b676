//! The places of a document that have a type: arguments of fields and of conditions.

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationType, Selection, SelectionSet,
};
use async_graphql::registry::{MetaType, MetaTypeName, Registry};
use async_graphql::{Name, Positioned};
use async_graphql_value::Value as Literal;

/// Type of the argument `if` of `@skip` and `@include`.
const CONDITION: &str = "Boolean!";

/// The definition in which something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope<'d> {
    /// An operation, by its name.
    Operation(Option<&'d str>),
    Fragment(&'d str),
}

/// An argument of which the type is known.
pub(super) struct Place<'d> {
    pub scope: Scope<'d>,
    pub name: &'d Positioned<Name>,
    pub value: &'d Literal,
    /// In GraphQL's notation.
    pub expected: &'d str,
    /// Whether there is a value where none is given.
    pub has_default: bool,
}

/// Shows `found` each place of the document.
pub(super) fn each<'d>(
    document: &'d ExecutableDocument,
    registry: &'d Registry,
    found: &mut dyn FnMut(Place<'d>),
) {
    for (name, fragment) in &document.fragments {
        let on = registry.types.get(fragment.node.type_condition.node.on.node.as_str());
        let mut walk = Walk { scope: Scope::Fragment(name), registry, found };
        walk.selections(&fragment.node.selection_set.node, on);
    }
    for (name, operation) in document.operations.iter() {
        let root = match operation.node.ty {
            OperationType::Query => Some(&registry.query_type),
            OperationType::Mutation => registry.mutation_type.as_ref(),
            OperationType::Subscription => registry.subscription_type.as_ref(),
        };
        let root = root.and_then(|name| registry.types.get(name));
        let scope = Scope::Operation(name.map(Name::as_str));
        Walk { scope, registry, found }.selections(&operation.node.selection_set.node, root);
    }
}

struct Walk<'d, 'f> {
    scope: Scope<'d>,
    registry: &'d Registry,
    found: &'f mut dyn FnMut(Place<'d>),
}

impl<'d> Walk<'d, '_> {
    fn selections(&mut self, selections: &'d SelectionSet, on: Option<&'d MetaType>) {
        for selection in &selections.items {
            for directive in selection.node.directives() {
                for (name, value) in &directive.node.arguments {
                    if name.node == "if" {
                        self.place(name, &value.node, CONDITION, false);
                    }
                }
            }
            match &selection.node {
                Selection::Field(field) => self.field(&field.node, on),
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref();
                    let types = &self.registry.types;
                    let on = condition.map_or(on, |on| types.get(on.node.on.node.as_str()));
                    self.selections(&inline.node.selection_set.node, on);
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn field(&mut self, field: &'d Field, on: Option<&'d MetaType>) {
        let Some(known) = on.and_then(|on| on.field_by_name(&field.name.node)) else { return };
        for (name, value) in &field.arguments {
            if let Some(argument) = known.args.get(name.node.as_str()) {
                self.place(name, &value.node, &argument.ty, argument.default_value.is_some());
            }
        }
        let result = self.registry.types.get(MetaTypeName::concrete_typename(&known.ty));
        self.selections(&field.selection_set.node, result);
    }

    fn place(
        &mut self,
        name: &'d Positioned<Name>,
        value: &'d Literal,
        expected: &'d str,
        has_default: bool,
    ) {
        (self.found)(Place { scope: self.scope, name, value, expected, has_default });
    }
}
