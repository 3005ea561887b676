//! What an operation selects, with its fragments spread out and equal fields merged
//! (specification §6.3.2).
//!
//! async-graphql resolves a field as often as it is selected. For a mutation that would be an order
//! as often as it is selected, and for a list it would be rows of different moments. So it is only
//! given what is collected here: at each level every response key once, without fragments, `@skip`
//! and `@include`. No type of the schema is abstract; whatever the validator lets pass applies.

use std::collections::{HashMap, HashSet};

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    Directive, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Value, Variables};
use async_graphql_value::Value as Literal;

/// Alias of a field in a selection from which everything was skipped. async-graphql has null for an
/// object without fields, GraphQL has an empty object. Clients can't use names with two underscores.
const PLACEHOLDER: &str = "__nothing";

/// Fields by their response keys, both in the order of the document.
pub(super) type Groups<'d> = IndexMap<&'d str, Vec<&'d Positioned<Field>>>;

type Arguments = Vec<(Positioned<Name>, Positioned<Literal>)>;

/// Collects fields, with the fragments of a document.
#[derive(Clone, Copy)]
pub(super) struct Collector<'d> {
    pub fragments: &'d HashMap<Name, Positioned<FragmentDefinition>>,
    /// They decide what is skipped, and what is left out as a variable that is not given; without
    /// them, nothing is.
    pub variables: Option<&'d Variables>,
}

impl<'d> Collector<'d> {
    /// What the sets select together.
    pub fn collect(&self, sets: impl IntoIterator<Item = &'d SelectionSet>) -> Groups<'d> {
        let (mut groups, mut visited) = (Groups::new(), HashSet::new());
        for set in sets {
            self.add(set, &mut groups, &mut visited);
        }
        groups
    }

    /// What the fields of one key select together.
    pub fn below(&self, fields: &[&'d Positioned<Field>]) -> Groups<'d> {
        self.collect(fields.iter().map(|field| &field.node.selection_set.node))
    }

    fn add(&self, set: &'d SelectionSet, groups: &mut Groups<'d>, visited: &mut HashSet<&'d str>) {
        for selection in &set.items {
            if !self.includes(selection.node.directives()) {
                continue;
            }
            match &selection.node {
                Selection::Field(field) => {
                    groups.entry(field.node.response_key().node.as_str()).or_default().push(field);
                }
                Selection::InlineFragment(inline) => {
                    self.add(&inline.node.selection_set.node, groups, visited);
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    if let Some(fragment) = self.fragments.get(name)
                        && visited.insert(name)
                    {
                        self.add(&fragment.node.selection_set.node, groups, visited);
                    }
                }
            }
        }
    }

    fn includes(&self, directives: &[Positioned<Directive>]) -> bool {
        let Some(variables) = self.variables else { return true };
        directives.iter().all(|directive| {
            let condition = directive.node.get_argument("if").map(|value| {
                value.node.clone().into_const_with(|name| variables.get(&name).cloned().ok_or(()))
            });
            let is_true = matches!(condition, Some(Ok(Value::Boolean(true))));
            match directive.node.name.node.as_str() {
                "skip" => !is_true,
                "include" => is_true,
                _ => true,
            }
        })
    }

    /// The operation as it is to be executed.
    pub fn operation(&self, operation: &'d OperationDefinition) -> OperationDefinition {
        let OperationDefinition { ty, variable_definitions, selection_set, .. } = operation;
        let groups = self.collect([&selection_set.node]);
        OperationDefinition {
            ty: *ty,
            variable_definitions: variable_definitions.clone(),
            directives: Vec::new(),
            selection_set: Positioned::new(self.merged(&groups), selection_set.pos),
        }
    }

    fn merged(&self, groups: &Groups<'d>) -> SelectionSet {
        let items = groups.values().map(|fields| {
            let Positioned { pos, node: first } = fields[0];
            let is_leaf = first.selection_set.node.items.is_empty();
            let below = if is_leaf { SelectionSet::default() } else { self.merged_below(fields) };
            let field = Field {
                alias: first.alias.clone(),
                name: first.name.clone(),
                arguments: self.given(&first.arguments),
                directives: Vec::new(),
                selection_set: Positioned::new(below, first.selection_set.pos),
            };
            Positioned::new(Selection::Field(Positioned::new(field, *pos)), *pos)
        });
        SelectionSet { items: items.collect() }
    }

    /// The arguments and fields of input objects that are given: one whose value is a variable
    /// without a value is not there (§3.10, §6.4.1). async-graphql has null for it, which would erase
    /// what it stands for.
    fn given(&self, arguments: &[(Positioned<Name>, Positioned<Literal>)]) -> Arguments {
        let Some(variables) = self.variables else { return arguments.to_vec() };
        let is_given = |value: &Literal| match value {
            Literal::Variable(name) => variables.contains_key(name),
            _ => true,
        };
        let given = arguments.iter().filter(|(_, value)| is_given(&value.node));
        let mut given = given.cloned().collect::<Arguments>();
        for (_, value) in &mut given {
            retain_given(&mut value.node, &is_given);
        }
        given
    }

    fn merged_below(&self, fields: &[&'d Positioned<Field>]) -> SelectionSet {
        let mut merged = self.merged(&self.below(fields));
        if merged.items.is_empty() {
            let pos = fields[0].pos;
            let named = |name| Positioned::new(Name::new(name), pos);
            let field = Field {
                alias: Some(named(PLACEHOLDER)),
                name: named("__typename"),
                arguments: Vec::new(),
                directives: Vec::new(),
                selection_set: Positioned::default(),
            };
            let selection = Selection::Field(Positioned::new(field, pos));
            merged.items.push(Positioned::new(selection, pos));
        }
        merged
    }
}

fn retain_given(value: &mut Literal, is_given: &impl Fn(&Literal) -> bool) {
    match value {
        Literal::List(items) => items.iter_mut().for_each(|item| retain_given(item, is_given)),
        Literal::Object(fields) => {
            fields.retain(|_, field| is_given(field));
            fields.values_mut().for_each(|field| retain_given(field, is_given));
        }
        _ => {}
    }
}

/// Puts what a collected selection was answered with in its order (§6.2.1, §7.2.2): async-graphql
/// answers in the order in which fields were ready.
pub(crate) fn arrange(selected: &SelectionSet, answer: &mut Value) {
    match answer {
        Value::List(items) => items.iter_mut().for_each(|item| arrange(selected, item)),
        Value::Object(fields) => {
            let keys = || selected.items.iter().filter_map(key);
            if !keys().eq(fields.keys().map(Name::as_str)) || is_placeholder(selected) {
                let mut found = std::mem::take(fields);
                for key in keys().filter(|key| *key != PLACEHOLDER) {
                    if let Some((key, value)) = found.swap_remove_entry(key) {
                        fields.insert(key, value);
                    }
                }
            }
            // From here on, those that are there are in the order of the selection.
            let mut values = fields.iter_mut();
            let mut next = values.next();
            for selection in &selected.items {
                let Selection::Field(field) = &selection.node else { continue };
                match &mut next {
                    Some((key, value)) if **key == field.node.response_key().node => {
                        let below = &field.node.selection_set.node;
                        if !below.items.is_empty() {
                            arrange(below, value);
                        }
                        next = values.next();
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn key(selection: &Positioned<Selection>) -> Option<&str> {
    match &selection.node {
        Selection::Field(field) => Some(field.node.response_key().node.as_str()),
        _ => None,
    }
}

fn is_placeholder(selected: &SelectionSet) -> bool {
    selected.items.first().and_then(key) == Some(PLACEHOLDER)
}
