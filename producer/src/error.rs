//! Why an event was not, or may not have been, stored.

use comanda_schemas::EncodeError;
use rdkafka::error::KafkaError;

/// Why [`crate::Producer::publish`] gave no receipt.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bound on records or bytes in flight is reached; nothing was sent.
    #[error("{records} records and {bytes} bytes wait for the broker, no more is taken")]
    Overloaded {
        /// Records in flight when this one was refused.
        records: u64,
        /// Bytes in flight when this one was refused.
        bytes: u64,
    },
    /// Refused for good: larger than the broker takes, not allowed, …; nothing is stored.
    #[error("the broker or its client refused the event for good")]
    Rejected(#[source] KafkaError),
    /// The event does not fit its schema; nothing was sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The broker could not be reached in time; nothing is stored.
    #[error("the broker could not be reached")]
    Unavailable(#[source] KafkaError),
    /// The event was sent and no answer came in time: it may be stored or not.
    #[error("no acknowledgement came in time, the event may be stored or not")]
    OutcomeUnknown(#[source] Option<KafkaError>),
}

impl Error {
    /// Whether publishing the same event again can succeed. After [`Error::OutcomeUnknown`] that
    /// may store it twice, with the same event id.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Overloaded { .. } | Self::Unavailable(_) | Self::OutcomeUnknown(_) => true,
            Self::Rejected(_) | Self::Encode(_) => false,
        }
    }

    /// Short name for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "overloaded",
            Self::Rejected(_) => "rejected",
            Self::Encode(_) => "encode",
            Self::Unavailable(_) => "unavailable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
        }
    }
}
