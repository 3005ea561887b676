//! Who may look at the schema: through introspection, and through the suggestions in the
//! validator's messages, by which tools guess a schema that can't be introspected.

use async_graphql::ServerError;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use serde::Deserialize;

use crate::auth::{Caller, Principal};
use crate::failure::{Code, Failure};

/// What async-graphql begins a suggestion with. It can be told to leave out those for fields, not
/// those for arguments.
const SUGGESTION: &str = " Did you mean ";

/// Whom something is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Whoever asks, known or not.
    Everybody,
    /// Operators.
    Operators,
    /// Nobody at all.
    Nobody,
}

impl Audience {
    pub(crate) fn includes(self, caller: &Caller) -> bool {
        match self {
            Self::Everybody => true,
            Self::Operators => matches!(caller, Some(Principal::Operator)),
            Self::Nobody => false,
        }
    }
}

/// Whether a document asks for more of the schema than `__typename`.
pub(crate) fn is_in(document: &ExecutableDocument) -> bool {
    let operations = document.operations.iter().map(|(_, o)| &o.node.selection_set.node);
    let fragments = document.fragments.values().map(|f| &f.node.selection_set.node);
    operations.chain(fragments).any(introspects)
}

fn introspects(selections: &SelectionSet) -> bool {
    selections.items.iter().any(|selection| match &selection.node {
        Selection::Field(field) => {
            matches!(field.node.name.node.as_str(), "__schema" | "__type")
                || introspects(&field.node.selection_set.node)
        }
        Selection::InlineFragment(inline) => introspects(&inline.node.selection_set.node),
        Selection::FragmentSpread(_) => false,
    })
}

/// What those are told that may not look.
pub(crate) fn refused() -> Failure {
    Failure::new(Code::IntrospectionDisabled, "the schema is not shown to this caller")
}

/// Takes the suggestion out of a message.
pub(crate) fn conceal(error: &mut ServerError) {
    // Names of GraphQL have no spaces: nothing that a client sent can look like it.
    if let Some(at) = error.message.find(SUGGESTION) {
        error.message.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;

    #[test]
    fn introspection_is_found_wherever_it_hides() {
        for (document, expected) in [
            ("{ __typename order(id: 1) { __typename } }", false),
            ("{ a: __schema { description } }", true),
            ("{ order(id: 1) { id } ... { ... { __type(name: \"Order\") { name } } } }", true),
            ("{ ...f } fragment f on Query { __schema { description } }", true),
            ("query A { __typename } query B { __schema { description } }", true),
            ("query __schema { __schema: __typename }", false),
        ] {
            assert_eq!(is_in(&parse(document, 1_000).unwrap().document), expected, "{document}");
        }
    }

    #[test]
    fn each_audience_has_those_in_it_that_it_says() {
        let customer = Some(Principal::Customer("ana".into()));
        let operator = Some(Principal::Operator);
        for (audience, expected) in [
            (Audience::Everybody, [true, true, true]),
            (Audience::Operators, [false, false, true]),
            (Audience::Nobody, [false, false, false]),
        ] {
            let found = [&None, &customer, &operator].map(|caller| audience.includes(caller));
            assert_eq!(found, expected, "{audience:?}");
        }
    }
}
