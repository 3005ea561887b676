//! The engine: consume, handle, commit atomically.
//!
//! A [`Processor`] is an async function from an event to an [`Outcome`]; [`Engine`] runs it over
//! its topic so that each event has exactly one result, in log order per key, however often
//! processes die. Its parts:
//!
//! - `run`: the loop, on a thread of its own; `rebalance`: what is done about what the consumer group
//!   decides; `standing`: where it stands
//! - `lanes`: one key after another, keys side by side; `handout`: to the runtime; `task`: one
//!   `record` to its end
//! - `look_back`: what stood before a record under its key
//! - `ledger`: which offsets are finished, `offsets`: how a commit tells it
//! - `commit`: when to commit, and what if that fails; `generation`: that of the group, which a
//!   batch belongs to; `committer`: a thread that commits batch after batch; `transaction`: the
//!   calls of the producer
//! - `breaker`: stops it when nearly every record fails
//! - `instance`: a transactional id that survives restarts
//! - `watch`: whether a thread returns from librdkafka; `watchdog`: whether work goes on at all

mod breaker;
mod commit;
mod committer;
mod config;
mod error;
mod generation;
mod handout;
mod instance;
mod lanes;
mod ledger;
mod look_back;
pub mod metrics;
mod offsets;
mod processor;
mod rebalance;
mod record;
mod run;
mod service;
mod standing;
mod task;
#[cfg(test)]
mod tests;
mod transaction;
mod watch;
mod watchdog;

pub use config::{MAX_MESSAGE_BYTES, Options};
pub use error::Error;
pub use processor::{HandlerError, Input, Outcome, Processor};
pub use service::{Engine, Handle, Standstill};
