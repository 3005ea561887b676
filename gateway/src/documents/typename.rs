//! `__typename`, which async-graphql's validator passes over: neither its directives nor the
//! variables in them, nor arguments and selections that it can't have.

use async_graphql::parser::types::{ExecutableDocument, InlineFragment, Selection, SelectionSet};
use async_graphql::{Positioned, ServerError};

use crate::failure::{Code, Failure};

/// Moves the directives of each `__typename` to an inline fragment around it, which means the same
/// and is looked at. What can't be right is refused.
pub(super) fn normalize(document: &mut ExecutableDocument) -> Result<(), ServerError> {
    use async_graphql::parser::types::DocumentOperations::{Multiple, Single};
    for fragment in document.fragments.values_mut() {
        normalize_in(&mut fragment.node.selection_set.node)?;
    }
    match &mut document.operations {
        Single(operation) => normalize_in(&mut operation.node.selection_set.node),
        Multiple(all) => all
            .values_mut()
            .try_for_each(|operation| normalize_in(&mut operation.node.selection_set.node)),
    }
}

fn normalize_in(selections: &mut SelectionSet) -> Result<(), ServerError> {
    for selection in &mut selections.items {
        let pos = selection.pos;
        match &mut selection.node {
            Selection::FragmentSpread(_) => {}
            Selection::InlineFragment(inline) => {
                normalize_in(&mut inline.node.selection_set.node)?;
            }
            Selection::Field(field) if field.node.name.node != "__typename" => {
                normalize_in(&mut field.node.selection_set.node)?;
            }
            Selection::Field(field) => {
                let inner = &field.node;
                if !inner.arguments.is_empty() || !inner.selection_set.node.items.is_empty() {
                    let message = "__typename has neither arguments nor fields";
                    let failure = Failure::new(Code::ValidationFailed, message);
                    let mut error = failure.into_server_error();
                    error.locations = vec![pos];
                    return Err(error);
                }
                let directives = std::mem::take(&mut field.node.directives);
                if !directives.is_empty() {
                    let items = vec![Positioned::new(Selection::Field(field.clone()), pos)];
                    let selection_set = Positioned::new(SelectionSet { items }, pos);
                    let inline = InlineFragment { type_condition: None, directives, selection_set };
                    selection.node = Selection::InlineFragment(Positioned::new(inline, pos));
                }
            }
        }
    }
    Ok(())
}
