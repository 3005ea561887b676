//! Publishing events: idempotent, acknowledged by all in-sync replicas, bounded.
//!
//! [`Options`] → [`Producer::start`] → [`Producer::publish`] → [`Receipt`] or [`Error`].
//! What is published at one moment goes to librdkafka together (`gathered`), and what it reports
//! at one moment is told together (`answers`).

mod answers;
mod config;
mod delivery;
mod error;
mod gathered;
pub mod metrics;
mod producer;
mod singles;
#[cfg(test)]
mod tests;

pub use config::Options;
pub use error::Error;
pub use producer::{Producer, Receipt};
