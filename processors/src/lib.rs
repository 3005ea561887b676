//! The processors of comanda.
//!
//! - [`engine`]: [`comanda_engine`] with comanda's topics, its events in Avro and its headers; what a
//!   [`Processor`] of events is
//! - [`payment`]: charges orders at an HTTP payment provider
//! - [`notifier`]: mails customers what became of their payment, through an HTTP mail provider
//! - [`projector`]: writes what all topics say into the order store
//! - [`provider`]: what the two that call providers have in common

pub mod engine;
pub mod notifier;
pub mod payment;
pub mod projector;
pub mod provider;

pub use engine::{HandlerError, Input, Outcome, Processor};
