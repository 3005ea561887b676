//! GraphQL over HTTP, after the specification of that name (graphql.github.io/graphql-over-http):
//! POST with JSON, GET for queries alone, both media types of the answer; and over Server-Sent
//! Events.

mod accept;
mod access_log;
mod answer;
mod body;
mod client;
mod compression;
mod cors;
mod edge;
mod host;
mod params;
mod request_id;
mod routes;
mod sse;

pub use client::ForwardedHeader;

pub(crate) use accept::Media;
pub(crate) use answer::Refusal;
pub(crate) use client::Proxies;
pub(crate) use compression::compressed;
pub(crate) use cors::Cors;
pub(crate) use edge::{Edge, Sender};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use params::read_for_fuzzing;
pub(crate) use routes::{Gateway, service};
pub(crate) use sse::Streams;
