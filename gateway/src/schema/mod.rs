//! The GraphQL schema.

mod change;
mod connection;
mod context;
pub(crate) mod inputs;
pub(crate) mod mutation;
mod order;
pub(crate) mod outputs;
mod query;
pub(crate) mod scalars;
mod subscription;

use std::sync::Arc;

use async_graphql::registry::Registry;
use async_graphql::{
    InputType, OutputType, SDLExportOptions, SchemaBuilder, SubscriptionType, ValidationMode,
};

pub(crate) use connection::PageRequest;
pub(crate) use context::{Asker, House, Limits, Reading};
use mutation::Mutation;
pub(crate) use order::Order;
use query::Query;
use subscription::Subscription;

/// The schema, with what its resolvers need.
pub(crate) type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// The schema over a house, for documents that are known to be valid: it checks their complexity
/// and their depth, and nothing else.
pub(crate) fn build(house: Arc<House>) -> Schema {
    let limits = house.limits;
    bounded(limits).data(house).validation_mode(ValidationMode::Fast).finish()
}

/// The schema without a house, to build a validator on. The documents that it is given are bounded
/// already.
pub(crate) fn unbounded() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query, Mutation, Subscription).limit_recursive_depth(usize::MAX)
}

/// The schema without a house, with the limits of documents.
pub(crate) fn bounded(limits: Limits) -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query, Mutation, Subscription)
        .limit_depth(limits.max_depth)
        .limit_complexity(limits.max_complexity)
        // Spreading a fragment counts as well; our own check has bounded what that can cost.
        .limit_recursive_depth(limits.max_depth.saturating_mul(2))
}

/// The types of the schema, those for introspection left out.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    Query::create_type_info(&mut registry);
    Mutation::create_type_info(&mut registry);
    Subscription::create_type_info(&mut registry);
    // Of @skip and @include.
    <bool as InputType>::create_type_info(&mut registry);
    registry.query_type = Query::type_name().into_owned();
    registry.mutation_type = Some(Mutation::type_name().into_owned());
    registry.subscription_type = Some(Subscription::type_name().into_owned());
    registry
}

/// The schema in GraphQL's own language.
pub fn sdl() -> String {
    let schema = Schema::build(Query, Mutation, Subscription).finish();
    schema.sdl_with_options(SDLExportOptions::new().prefer_single_line_descriptions())
}
