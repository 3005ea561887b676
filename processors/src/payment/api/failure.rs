//! Why a request came to nothing, or to nothing that is known.

use std::time::Duration;

use comanda_schemas::FailureReason;

use crate::provider::{Lost, code_of};

/// Longest pause that is waited for between two requests of one call.
const PAUSE_WITHIN_CALL: Duration = Duration::from_secs(10);

/// Why a request did not end as asked. The text of each is fit for logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::payment) enum Failure {
    /// The payment method was declined.
    #[error("declined: {code}")]
    Declined { code: String, payment_id: Option<String> },
    /// The provider refuses this request and always will.
    #[error("the request is invalid: {0}")]
    Invalid(String),
    /// The idempotency key was used before, with another request.
    #[error("the idempotency key belongs to another request")]
    KeyReused,
    /// The provider has stored an error of its own for the idempotency key and will never answer
    /// anything else; whether it charged before it failed is open.
    #[error("the idempotency key only replays an error: {0}")]
    KeyBurnt(String),
    /// The provider refuses us: settings are wrong, not the order.
    #[error("the provider refuses our requests: {0}; check its URL and key")]
    Refused(String),
    /// Something else answered in the provider's place: a proxy, a firewall, a wrong URL. It tells
    /// nothing of the order; where it `may_be_done`, the provider may have had the request.
    #[error("the answer is not the provider's: {code}; check its URL, and what is in between")]
    Foreign { code: String, may_be_done: bool },
    /// Nothing was sent.
    #[error(transparent)]
    NotSent(Lost),
    /// Turned away before anything was done.
    #[error("the provider is busy")]
    Busy { retry_after: Option<Duration> },
    /// Another request with the same key, or on the same object, is under way.
    #[error("the provider is still at work on an earlier request")]
    InProgress,
    /// Sent, and the outcome is open; the provider may still be at work on it.
    #[error("no answer in time")]
    TimedOut,
    /// Sent, and the outcome is open.
    #[error("the outcome is open: {0}")]
    Open(String),
}

impl Failure {
    /// A word for the event's `detail`.
    pub fn detail(&self) -> String {
        match self {
            Failure::Declined { code, .. } => code.clone(),
            Failure::Invalid(code) | Failure::KeyBurnt(code) | Failure::Refused(code) => {
                code.clone()
            }
            Failure::Foreign { code, .. } => code.clone(),
            Failure::KeyReused => "idempotency_key_reused".into(),
            Failure::NotSent(_) => "no_connection".into(),
            Failure::Busy { .. } => "rate_limited".into(),
            Failure::InProgress => "in_progress".into(),
            Failure::TimedOut => "timeout".into(),
            Failure::Open(what) => code_of(Some(what)).unwrap_or_else(|| "connection_lost".into()),
        }
    }

    /// What it means for a payment that was given up: a provider that answered, if only with an
    /// error of its own, was reached.
    pub fn reason(&self) -> FailureReason {
        match self {
            Failure::Declined { .. } => FailureReason::Declined,
            Failure::Invalid(_) => FailureReason::Invalid,
            Failure::Open(what) if what.starts_with("http_") => FailureReason::Unknown,
            Failure::KeyReused
            | Failure::KeyBurnt(_)
            | Failure::Refused(_)
            | Failure::Foreign { .. }
            | Failure::InProgress
            | Failure::NotSent(_)
            | Failure::Busy { .. } => FailureReason::Unknown,
            Failure::TimedOut | Failure::Open(_) => FailureReason::Unreachable,
        }
    }

    /// Whether asking again at once is of no use: an operator has to act.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Failure::Refused(_) | Failure::Foreign { .. })
    }

    /// Whether the provider asked for a pause that is too long to be waited for within a call.
    pub fn asks_for_long(&self) -> bool {
        self.retry_after().is_some_and(|pause| pause > PAUSE_WITHIN_CALL)
    }

    /// How long the provider asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Busy { retry_after } => *retry_after,
            _ => None,
        }
    }
}
