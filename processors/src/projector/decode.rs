//! From a record's bytes to an event, and what to do where that fails.

use comanda_schemas::{ReadError, Registry, RegistryError, Topic};
use comanda_store::AnyEvent;

/// How often the registry is asked for an id that it does not know. Behind a registry of several
/// nodes a new id can be missing for a moment.
const UNKNOWN_ID_ATTEMPTS: u32 = 5;

/// The event in the value of a record of `topic`.
pub(super) async fn decode(
    registry: &Registry,
    topic: Topic,
    value: &[u8],
) -> Result<AnyEvent, ReadError> {
    match topic {
        Topic::Orders => registry.read(value).await.map(AnyEvent::Order),
        Topic::Payments => registry.read(value).await.map(AnyEvent::Payment),
        Topic::Notifications => registry.read(value).await.map(AnyEvent::Notification),
    }
}

/// What to do with a record that could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It will never decode.
    Skip,
    /// The record may be fine: ask again.
    Retry,
}

/// `unknown` counts how often the registry has denied the record's schema id. A
/// registry that refuses (its credentials, say) tells nothing about the record, so that one is
/// never skipped.
pub(super) fn verdict(error: &ReadError, unknown: &mut u32) -> Verdict {
    match error {
        ReadError::Decode(_) => Verdict::Skip,
        ReadError::Registry(RegistryError::Unavailable { .. } | RegistryError::Refused { .. }) => {
            Verdict::Retry
        }
        ReadError::Registry(
            RegistryError::NotFound { .. } | RegistryError::Incompatible { .. },
        ) => {
            *unknown += 1;
            if *unknown < UNKNOWN_ID_ATTEMPTS { Verdict::Retry } else { Verdict::Skip }
        }
    }
}
