//! Why the projector ended.

use rdkafka::error::KafkaError;

/// Why the projector ended without being asked to. What can pass (a broker, a registry or a store
/// that is away) is waited for and never ends it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// librdkafka refuses its configuration.
    #[error("the projector's Kafka client does not start")]
    Client(#[source] KafkaError),
    /// A reader failed for good.
    #[error("reading topic {topic} failed for good")]
    Reader {
        /// Full name of the topic.
        topic: String,
        /// What librdkafka says.
        #[source]
        source: KafkaError,
    },
    /// A thread of a reader could not be started.
    #[error("reading topic {topic}: no thread could be started")]
    Spawn {
        /// Full name of the topic.
        topic: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A reader's thread panicked.
    #[error("a reader of the projector ended")]
    Thread(#[source] tokio::task::JoinError),
}
