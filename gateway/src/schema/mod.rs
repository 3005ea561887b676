//! The GraphQL schema.

mod change;
mod connection;
mod context;
pub(crate) mod inputs;
mod mutation;
pub(crate) mod outputs;
mod query;
pub(crate) mod scalars;
mod subscription;

use async_graphql::SDLExportOptions;

pub(crate) use context::{Asker, House, Limits};
use mutation::Mutation;
use query::Query;
use subscription::Subscription;

/// The schema, with what its resolvers need.
pub(crate) type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// The schema over a house.
pub(crate) fn build(house: House) -> Schema {
    let limits = house.limits;
    Schema::build(Query, Mutation, Subscription)
        .data(house)
        .limit_depth(limits.max_depth)
        .limit_complexity(limits.max_complexity)
        // Spreading a fragment counts as well; our own check has bounded what that can cost.
        .limit_recursive_depth(limits.max_depth.saturating_mul(2))
        .finish()
}

/// The schema in GraphQL's own language.
pub fn sdl() -> String {
    let schema = Schema::build(Query, Mutation, Subscription).finish();
    schema.sdl_with_options(SDLExportOptions::new().prefer_single_line_descriptions())
}
