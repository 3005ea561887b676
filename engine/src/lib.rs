//! Consume, handle, commit atomically.
//!
//! A [`Processor`] is an async function from a record to an [`Outcome`]; [`Engine`] runs it over its
//! topic so that each record has exactly one result, in log order per key and concurrently over
//! keys, with slow calls in the middle, however often processes die. It knows Kafka, keys and bytes.
//! What the bytes mean is up to the processor. Its parts:
//!
//! - `run`: the loop, on a thread of its own; `run::rebalance`: what is done about what the consumer
//!   group decides; `run::commit`: when to commit, and what if that fails
//! - `lanes`: one key after another, keys side by side; `dispatch`: to the runtime; `task`: one
//!   record to its end; `key_history`: what stood before a record under its key
//! - `ledger`: which offsets are finished, `offset_metadata`: how a commit tells it,
//!   `committed_offsets`: how it is read back, `partition_start`: for partitions that came
//! - `committer`: a thread that commits batch after batch; `transaction`: the calls of the producer;
//!   `generation`: that of the group, which a batch belongs to
//! - `breaker`: stops it when nearly every record fails
//! - `instance`: a transactional id that survives restarts
//! - `watch`: whether a thread returns from librdkafka; `watchdog`: whether work goes on at all
//! - `service`: start, stop, and start again in place

mod breaker;
mod committed_offsets;
mod committer;
mod config;
mod dispatch;
mod error;
mod generation;
mod handle;
mod headers;
mod instance;
mod key_history;
mod lanes;
mod ledger;
pub mod metrics;
mod offset_metadata;
mod output;
mod partition_start;
mod processor;
mod record;
mod run;
mod service;
mod task;
mod topology;
mod transaction;
mod watch;
mod watchdog;

pub use config::{MAX_MESSAGE_BYTES, Options};
pub use error::Error;
pub use handle::{Handle, Standstill};
pub use headers::Headers;
pub use output::Output;
pub use processor::{DeadLetter, DecodeError, HandlerError, Input, Outcome, Processor};
pub use record::Record;
pub use service::Engine;
pub use topology::{Connect, Topology};
