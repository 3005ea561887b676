//! The gateway: GraphQL in front, Kafka and the order store behind.
//!
//! - [`Options`] → [`Service::build`] → [`Service::run_until_stopped`]: `/graphql` over HTTP,
//!   Server-Sent Events and WebSocket, GraphiQL at `/`
//! - [`Publisher`]: where it puts the orders
//! - [`ApiKey`], [`hash_key`], [`JwtOptions`]: who may come in
//! - [`sdl`]: the schema in GraphQL's own language
//! - [`metrics`]: the names of what is measured

mod auth;
mod budget;
mod change;
mod config;
mod digest;
mod documents;
mod error;
mod execute;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod graphiql;
mod http;
mod input;
mod introspection;
mod lasting;
mod limits;
mod log;
mod lookup;
pub mod metrics;
mod params;
mod place;
mod places;
mod plan;
mod progress;
mod publisher;
mod rate;
mod receipt;
mod recent;
#[cfg(test)]
mod samples;
mod schema;
mod server;
mod service;
mod syntax;
mod updates;
mod webhook;
mod ws;

pub use auth::{ApiKey, JwtOptions, Role, hash_key};
pub use config::Options;
pub use error::Error;
pub use http::ForwardedHeader;
pub use introspection::Audience;
pub use publisher::Publisher;
pub use schema::sdl;
pub use service::{Parts, Service};
pub use webhook::WebhookOptions;
