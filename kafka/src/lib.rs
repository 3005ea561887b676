//! The Kafka client underneath: what every part of comanda that talks to Kafka has in common.
//!
//! - [`KafkaOptions`]: the connection; [`ClientLog`]: librdkafka's log and errors, in ours
//! - [`scan`]: reading a topic without a consumer group
//! - [`group`]: membership of a consumer group
//! - [`send_when_there_is_room`]: writing from a thread of one's own

mod client;
pub mod group;
pub mod scan;
mod send;

pub use client::{ClientLog, KafkaOptions, log_error, log_line};
pub use send::send_when_there_is_room;
