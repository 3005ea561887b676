//! Variables that a request leaves out (specification §6.1.2).

use async_graphql::parser::types::OperationDefinition;
use async_graphql::{ServerError, Value, Variables};

/// Gives the variables that are left out their defaults. async-graphql knows the defaults where an
/// argument is resolved, but neither in `@skip` and `@include` nor in its validation.
pub(super) fn add_defaults(operation: &OperationDefinition, variables: &mut Variables) {
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        if let Some(default) = &definition.default_value
            && !variables.contains_key(&definition.name.node)
        {
            variables.insert(definition.name.node.clone(), default.node.clone());
        }
    }
}

/// Refuses a request without a variable that it has to have, before anything is executed:
/// async-graphql would find out in the middle.
pub(super) fn check_required(
    operation: &OperationDefinition,
    variables: &Variables,
) -> Result<(), Vec<ServerError>> {
    let is_missing = |name| matches!(variables.get(name), None | Some(Value::Null));
    let missing = operation.variable_definitions.iter().filter(|definition| {
        !definition.node.var_type.node.nullable && is_missing(&definition.node.name.node)
    });
    let errors: Vec<_> = missing
        .map(|definition| {
            let (name, kind) = (&definition.node.name.node, &definition.node.var_type.node);
            let message = format!("Variable \"${name}\" of type \"{kind}\" has to be given.");
            ServerError::new(message, Some(definition.pos))
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
