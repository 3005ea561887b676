//! Why an engine stopped.

use rdkafka::error::KafkaError;

/// Why an engine stopped without being asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process took over the transactional id.
    #[error(
        "another process uses the transactional id {transactional_id}; \
         give each its own `engine.instance`"
    )]
    Fenced {
        /// The id both use.
        transactional_id: String,
    },
    /// Nearly all records became dead letters.
    #[error(
        "{stage}: {dead} of the last {window} records became dead letters in {topic}, which looks \
         like a bad deploy; stopped before more do. {advice}Raise `engine.breaker_dead_percent` to \
         go on regardless"
    )]
    TooManyDeadLetters {
        /// Stage of the engine.
        stage: &'static str,
        /// Dead letters among the last records.
        dead: usize,
        /// How many records are watched.
        window: usize,
        /// The dead-letter topic.
        topic: String,
        /// What to do about it; ends with a space where it is not empty.
        advice: String,
    },
    /// Kafka refused something that does not get better by waiting.
    #[error("{stage}: {doing} failed for good")]
    Kafka {
        /// Stage of the engine.
        stage: &'static str,
        /// What it was doing.
        doing: &'static str,
        /// What librdkafka says.
        #[source]
        source: KafkaError,
    },
    /// No name for this instance could be claimed.
    #[error("no instance name could be claimed in {folder}")]
    Instance {
        /// Folder of the claims.
        folder: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The engine's thread panicked, or could not be started.
    #[error("the engine's thread ended unexpectedly")]
    Thread,
}
