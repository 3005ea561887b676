//! How much there is in the variables.

use async_graphql::{Value, Variables};

use super::{Limits, exceeded};
use crate::failure::Failure;

/// Refuses variables with more values, or deeper ones, than the limits allow. Lists and objects
/// count as values, too. It recurses no deeper than the limit.
pub(super) fn check(variables: &Variables, limits: &Limits) -> Result<(), Failure> {
    let mut left = limits.variable_values;
    variables.values().try_for_each(|value| count(value, limits, &mut left, 1))
}

fn count(value: &Value, limits: &Limits, left: &mut usize, depth: usize) -> Result<(), Failure> {
    if depth > limits.variable_depth {
        return Err(exceeded(format!("variables are deeper than {}", limits.variable_depth)));
    }
    *left = left.checked_sub(1).ok_or_else(|| {
        exceeded(format!("variables have more than {} values", limits.variable_values))
    })?;
    match value {
        Value::List(items) => {
            items.iter().try_for_each(|item| count(item, limits, left, depth + 1))
        }
        Value::Object(fields) => {
            fields.values().try_for_each(|field| count(field, limits, left, depth + 1))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::failure::Code;
    use crate::limits::generous;

    fn is_refused(variables: serde_json::Value, values: usize, depth: usize) -> bool {
        let limits = Limits { variable_values: values, variable_depth: depth, ..generous() };
        let checked = check(&Variables::from_json(variables), &limits);
        checked.is_err_and(|failure| failure.code == Code::LimitExceeded)
    }

    #[test]
    fn each_value_counts_and_so_does_what_holds_it() {
        let variables = json!({ "a": [1, 2, { "b": 3 }], "c": null });
        assert!(!is_refused(variables.clone(), 6, 3));
        assert!(is_refused(variables.clone(), 5, 3));
        assert!(is_refused(variables, 6, 2));
        assert!(!is_refused(json!({}), 0, 0));
        assert!(is_refused(json!({ "a": vec![0; 1_000_000] }), 1000, 10));
    }
}
