//! The Kafka client underneath: what every part of comanda that talks to Kafka has in common.
//!
//! - [`KafkaOptions`]: the connection; [`ClientLog`]: librdkafka's log and errors, in ours
//! - [`diagnosis`]: why a broker can't be reached
//! - [`scan`]: reading a topic without a consumer group
//! - [`group`]: membership of a consumer group
//! - [`headers`], [`offsets`]: what other clients wrote, which need not be text
//! - [`topic_ids`]: whether a topic is still the one that it was
//! - [`starts`]: where partitions begin and end, each by itself
//! - [`send_when_there_is_room`]: writing from a thread of one's own

mod client;
pub mod diagnosis;
pub mod group;
pub mod headers;
pub mod offsets;
pub mod scan;
mod send;
pub mod starts;
mod topic_id;

pub use client::{ClientLog, KafkaOptions, hear, log_error, log_line};
pub use send::send_when_there_is_room;
pub use topic_id::{NoTopicId, TopicId, topic_ids};
