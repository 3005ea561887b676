//! GraphQL over HTTP, after the specification of that name (graphql.github.io/graphql-over-http):
//! POST with JSON, GET for queries alone, both media types of the answer.

mod accept;
mod answer;
mod body;
mod params;
mod routes;

pub(crate) use routes::{Gateway, routes, trace};
