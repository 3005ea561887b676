//! The processors of comanda and the engine they run on.
//!
//! - [`engine`]: consumes a topic, runs a [`Processor`] over it, commits results and offsets in one
//!   Kafka transaction; everything about Kafka lives here
//! - [`payment`]: charges orders at an HTTP payment provider
//! - [`notifier`]: mails customers what became of their payment, through an HTTP mail provider
//! - [`provider`]: what the two have in common

pub mod engine;
pub mod notifier;
pub mod payment;
pub mod projector;
pub mod provider;

pub use engine::{HandlerError, Input, Outcome, Processor};
