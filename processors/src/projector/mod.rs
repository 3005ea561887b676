//! The projector: writes what the topics say into the order store.
//!
//! [`Options`] → [`Service::run_until_stopped`] → [`Handle`], [`Error`].
//!
//! It reads all partitions of the three event topics without a consumer group: how far it came
//! stands in the store, in the same SQL transaction as the rows. A blocking reader per topic hands
//! batches to one async writer. Nothing is skipped but a record that will never decode, which
//! stays in its topic.

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
