//! The projector: writes what the topics say into the order store.
//!
//! [`Options`] → [`Service::run_until_stopped`] → [`Handle`], [`Error`].
//!
//! A blocking reader per topic hands batches to one async writer. The reader is a member of the
//! topic's consumer group, so that several projectors share the partitions; how far each partition
//! was read stands in the store, in the same SQL transaction as the rows, and nowhere else. A
//! projector that was shut out and does not know it yet does no harm: to apply a record again
//! changes nothing, and positions only move forward. Nothing is skipped but a record that will
//! never decode, which stays in its topic.

mod batch;
mod error;
mod lag;
pub mod metrics;
mod options;
mod partitions;
mod reader;
mod service;
#[cfg(test)]
mod tests;
mod writer;

pub use error::Error;
pub use options::Options;
pub use service::{Handle, Service};
