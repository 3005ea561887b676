//! The processors of comanda and the engine they run on.
//!
//! - [`engine`]: consumes a topic, runs a [`Processor`] over it, commits results and offsets in one
//!   Kafka transaction; everything about Kafka lives here
//! - [`payment`]: charges orders at an HTTP payment provider
//! - [`notifier`]: mails customers what became of their payment, through an HTTP mail provider
//! - [`projector`]: writes what all topics say into the order store
//! - [`provider`]: what the two that call providers have in common; `group`: what the engine and the
//!   projector have, their consuming side

pub mod engine;
mod group;
pub mod notifier;
pub mod payment;
pub mod projector;
pub mod provider;

pub use engine::{HandlerError, Input, Outcome, Processor};
