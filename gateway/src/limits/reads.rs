//! What a query may read of the order store.

use async_graphql::parser::types::Selection;
use async_graphql::parser::types::{Field, OperationDefinition, OperationType, SelectionSet};
use async_graphql::{Value, Variables};
use async_graphql_value::Value as Literal;

use crate::schema::PageRequest;

/// Rows that count as one request.
const ROWS_PER_REQUEST: usize = 100;
/// Most entries of a timeline, and most messages of an order, in one answer.
const HISTORY: usize = 100;

/// How many requests a query counts as: of each field at its root, as many as hundreds of rows are
/// begun that it may return. 0 where it reads nothing, and for what is no query. Fragments have to
/// be spread out.
pub(crate) fn weight(operation: &OperationDefinition, variables: &Variables) -> u32 {
    if operation.ty != OperationType::Query {
        return 0;
    }
    let given = Given { operation, variables };
    let roots = fields(&operation.selection_set.node);
    let weight: usize = roots.map(|field| given.rows(field).div_ceil(ROWS_PER_REQUEST)).sum();
    u32::try_from(weight).unwrap_or(u32::MAX)
}

/// The variables of an operation.
struct Given<'o> {
    operation: &'o OperationDefinition,
    variables: &'o Variables,
}

impl Given<'_> {
    /// Rows that a field at the root may return.
    fn rows(&self, root: &Field) -> usize {
        let selected = &root.selection_set.node;
        match root.name.node.as_str() {
            "order" => 1 + self.rows_of_one(selected),
            "orders" => {
                let number = |name| self.number(root, name);
                let page = PageRequest::size(number("first"), number("last")).min(HISTORY);
                // A page without orders is looked for all the same; a count looks at as many.
                let counts = fields(selected).filter(|field| field.name.node == "totalCount");
                let rows = page.saturating_mul(1 + self.rows_of_one(selected));
                rows.max(1) + counts.count() * ROWS_PER_REQUEST
            }
            _ => 0,
        }
    }

    /// Rows besides its own that are read for one order.
    fn rows_of_one(&self, selected: &SelectionSet) -> usize {
        let rows = fields(selected).map(|field| match field.name.node.as_str() {
            "timeline" => match self.number(field, "last") {
                Some(last) => usize::try_from(last).unwrap_or(0).min(HISTORY),
                None => HISTORY,
            },
            "notifications" => HISTORY,
            "lines" => 1,
            _ => self.rows_of_one(&field.selection_set.node),
        });
        rows.fold(0, usize::saturating_add)
    }

    fn number(&self, field: &Field, argument: &str) -> Option<i32> {
        let given = field.get_argument(argument)?;
        let value = match &given.node {
            Literal::Number(number) => number.as_i64(),
            Literal::Variable(name) => {
                let defaults = self.operation.variable_definitions.iter();
                let default = || {
                    let mut own = defaults.filter(|own| own.node.name.node == *name);
                    Some(&own.next()?.node.default_value.as_ref()?.node)
                };
                match self.variables.get(name).or_else(default) {
                    Some(Value::Number(number)) => number.as_i64(),
                    _ => None,
                }
            }
            _ => None,
        };
        value.map(|value| i32::try_from(value).unwrap_or(i32::MAX))
    }
}

/// The fields of a selection, those of inline fragments among them.
fn fields(selected: &SelectionSet) -> Box<dyn Iterator<Item = &Field> + '_> {
    Box::new(selected.items.iter().flat_map(|selection| -> Box<dyn Iterator<Item = &Field> + '_> {
        match &selection.node {
            Selection::Field(field) => Box::new(std::iter::once(&field.node)),
            Selection::InlineFragment(inline) => fields(&inline.node.selection_set.node),
            Selection::FragmentSpread(_) => Box::new(std::iter::empty()),
        }
    }))
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::parser::types::DocumentOperations;

    use super::*;

    fn weigh(text: &str, variables: serde_json::Value) -> u32 {
        let document = parse_query(text).unwrap();
        let DocumentOperations::Single(operation) = &document.operations else {
            panic!("one operation without a name: {text}");
        };
        weight(&operation.node, &Variables::from_json(variables))
    }

    #[test]
    fn a_query_counts_by_the_rows_that_it_may_return() {
        let none = serde_json::json!({});
        for (text, expected) in [
            ("{ __typename }", 0),
            ("{ order(id: 1) { id } }", 1),
            ("{ a: order(id: 1) { id } b: order(id: 2) { id } }", 2),
            ("{ orders { nodes { id } } }", 1),
            ("{ orders(first: 0) { nodes { id } } }", 1),
            ("{ orders(first: 100) { nodes { id } } }", 1),
            ("{ orders(first: 100) { nodes { lines { sku } } } }", 2),
            ("{ orders(first: 100) { totalCount } }", 2),
            ("{ orders(last: 100) { edges { node { timeline(last: 9) { at } } } } }", 10),
            ("{ orders(first: 20) { nodes { timeline { at } } } }", 21),
            ("{ order(id: 1) { timeline { at } } }", 2),
            ("{ ... on Query { orders(first: 100) { nodes { timeline { at } } } } }", 101),
            ("mutation { cancelOrder { order { timeline { at } } } }", 0),
        ] {
            assert_eq!(weigh(text, none.clone()), expected, "{text}");
        }
    }

    #[test]
    fn variables_count_as_what_they_stand_for() {
        let text = "query($n: Int = 100, $t: Int) {
            orders(first: $n) { nodes { timeline(last: $t) { at } } } }";
        for (variables, expected) in [
            (serde_json::json!({}), 101),
            (serde_json::json!({ "n": 10 }), 11),
            (serde_json::json!({ "t": 1 }), 2),
            (serde_json::json!({ "n": 1_000_000, "t": 1_000_000 }), 101),
            (serde_json::json!({ "n": null, "t": -1 }), 1),
        ] {
            assert_eq!(weigh(text, variables.clone()), expected, "{variables}");
        }
    }

    #[test]
    fn twenty_pages_are_no_single_request() {
        let page = |n| format!("a{n}: orders(first: 100) {{ nodes {{ id }} }} ");
        let pages: String = (0..20).map(page).collect();
        assert_eq!(weigh(&format!("{{ {pages} }}"), serde_json::json!({})), 20);
    }
}
