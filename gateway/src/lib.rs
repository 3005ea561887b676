//! The gateway: GraphQL in front, Kafka and the order store behind.
//!
//! - [`Options`] → [`Service::build`] → [`Service::run_until_stopped`]: `/graphql` over HTTP and
//!   WebSocket, GraphiQL at `/`
//! - [`ApiKey`], [`hash_key`]: who may come in
//! - [`sdl`]: the schema in GraphQL's own language
//! - [`metrics`]: the names of what is measured

mod auth;
mod config;
mod error;
mod execute;
mod failure;
mod graphiql;
mod http;
mod input;
mod limits;
mod log;
pub mod metrics;
mod params;
mod place;
mod progress;
mod receipt;
mod recent;
mod schema;
mod server;
mod service;
mod updates;
mod ws;

pub use auth::{ApiKey, Role, hash_key};
pub use config::Options;
pub use error::Error;
pub use schema::sdl;
pub use service::{Parts, Service};
