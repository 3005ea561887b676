//! Publishing events: idempotent, acknowledged by all in-sync replicas, bounded.
//!
//! [`Options`] → [`Producer::start`] → [`Producer::publish`] → [`Receipt`] or [`Error`].

mod config;
mod delivery;
mod error;
pub mod metrics;
mod producer;
#[cfg(test)]
mod tests;

pub use config::Options;
pub use error::Error;
pub use producer::{Producer, Receipt};
