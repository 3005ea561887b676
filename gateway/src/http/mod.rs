//! GraphQL over HTTP, after the specification of that name (graphql.github.io/graphql-over-http):
//! POST with JSON, GET for queries alone, both media types of the answer; and over Server-Sent
//! Events.

mod accept;
mod answer;
mod body;
mod params;
mod routes;
mod sse;

pub(crate) use routes::{Gateway, routes, trace};
pub(crate) use sse::Streams;
