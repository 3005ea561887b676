//! What the embedded default of comanda brings along, all of it in memory and all of it for
//! demonstration, development and tests, never for production:
//!
//! - [`Broker`]: an in-process Kafka, librdkafka's mock cluster;
//! - [`registry`]: a Confluent-compatible schema registry;
//! - [`payment`]: a payment provider shaped like Stripe's, with a ledger and faults on order;
//! - [`mailbox`]: a mail provider shaped like Resend's that keeps the mails and shows them.
//!
//! The HTTP services share their bounds: 4,096 connections, 1 MiB a request body, 30 s to send
//! one, 5 s to finish what runs at shutdown. Each says in its own documentation what it keeps.

mod broker;
mod error;
pub mod mailbox;
pub mod payment;
pub mod registry;
mod server;

pub use broker::{Broker, Cluster};
pub use error::Error;
