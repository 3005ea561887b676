//! Rules of validation that async-graphql lacks, or applies in part.

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Pos, Positioned, ServerError};

use super::collection::{Collector, Groups};

/// Most errors that are reported.
const MAX_ERRORS: usize = 50;

/// Looks at a document whose expansion is within the limits.
pub(super) fn check(document: &ExecutableDocument) -> Result<(), Vec<ServerError>> {
    let collector = Collector { fragments: &document.fragments, variables: None };
    let mut rules = Rules { collector, errors: Vec::new() };
    for (_, operation) in document.operations.iter() {
        let groups = rules.collector.collect([&operation.node.selection_set.node]);
        if operation.node.ty == OperationType::Subscription {
            rules.check_single_root(operation, &groups);
        }
        rules.check_mergeable(&groups);
    }
    if rules.errors.is_empty() { Ok(()) } else { Err(rules.errors) }
}

struct Rules<'d> {
    collector: Collector<'d>,
    errors: Vec<ServerError>,
}

impl<'d> Rules<'d> {
    fn report(&mut self, message: impl Into<String>, locations: &[Pos]) {
        if self.errors.len() < MAX_ERRORS {
            let mut error = ServerError::new(message, None);
            error.locations = locations.to_vec();
            self.errors.push(error);
        }
    }

    /// Fields under one key have to be the same (§5.3.2). As no type is abstract, all that are
    /// selected together have one parent: their names and arguments decide.
    fn check_mergeable(&mut self, groups: &Groups<'d>) {
        for (key, fields) in groups {
            let first = fields[0];
            for other in &fields[1..] {
                let conflict = if first.node.name.node != other.node.name.node {
                    "they are different fields"
                } else if !have_same_arguments(&first.node, &other.node) {
                    "they have differing arguments"
                } else {
                    continue;
                };
                let message = format!(
                    "Fields \"{key}\" conflict because {conflict}. Use different \
                     aliases on the fields to fetch both if this was intentional."
                );
                self.report(message, &[first.pos, other.pos]);
            }
            if self.errors.len() < MAX_ERRORS && has_selections(fields) {
                let below = self.collector.below(fields);
                self.check_mergeable(&below);
            }
        }
    }

    /// A subscription has one field at its root, which is none of introspection's and is not
    /// skipped on a condition (§5.2.4.1).
    fn check_single_root(
        &mut self,
        operation: &Positioned<OperationDefinition>,
        groups: &Groups<'d>,
    ) {
        let mut fields = groups.values().map(|fields| fields[0]);
        if let (Some(_), Some(second)) = (fields.next(), fields.next()) {
            let message = "A subscription must select only one top level field.";
            self.report(message, &[second.pos]);
        }
        for field in groups.values().map(|fields| fields[0]) {
            if field.node.name.node.starts_with("__") {
                let message = "A subscription must not select an introspection top level field.";
                self.report(message, &[field.pos]);
            }
        }
        if let Some(pos) = self.condition(&operation.node.selection_set.node) {
            let message = "A subscription must not use `@skip` and `@include` directives in the top \
                           level selection.";
            self.report(message, &[pos]);
        }
    }

    /// Where something at the root of a selection has a condition.
    fn condition(&self, set: &SelectionSet) -> Option<Pos> {
        set.items.iter().find_map(|selection| {
            let mut directives = selection.node.directives().iter();
            let condition =
                directives.find(|d| matches!(d.node.name.node.as_str(), "skip" | "include"));
            match (condition, &selection.node) {
                (Some(condition), _) => Some(condition.pos),
                (None, Selection::Field(_)) => None,
                (None, Selection::InlineFragment(inline)) => {
                    self.condition(&inline.node.selection_set.node)
                }
                (None, Selection::FragmentSpread(spread)) => {
                    let fragment = self.collector.fragments.get(&spread.node.fragment_name.node)?;
                    self.condition(&fragment.node.selection_set.node)
                }
            }
        })
    }
}

fn has_selections(fields: &[&Positioned<Field>]) -> bool {
    fields.iter().any(|field| !field.node.selection_set.node.items.is_empty())
}

fn have_same_arguments(one: &Field, other: &Field) -> bool {
    one.arguments.len() == other.arguments.len()
        && one.arguments.iter().all(|(name, value)| {
            other.get_argument(&name.node).is_some_and(|other| other.node == value.node)
        })
}
