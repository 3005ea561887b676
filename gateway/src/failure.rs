//! Failures that are not about what an order says: who asks, what is asked of GraphQL, and what the
//! parts behind the gateway can't do right now.

use std::borrow::Cow;

use async_graphql::ErrorExtensionValues;
use comanda_producer as producer;
use comanda_schemas::headers::error_chain;
use comanda_store as store;
use http::StatusCode;
use tracing::{error, warn};

/// Declares the codes with what follows from each.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $retriable:literal;)+) => {
        /// What a client finds in `extensions.code`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// The HTTP status where nothing but this can be answered.
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)+
                }
            }

            /// Whether the same request can succeed later.
            pub fn is_retriable(self) -> bool {
                match self {
                    $(Self::$name => $retriable,)+
                }
            }

            pub fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The HTTP request or the WebSocket message is malformed.
    BadRequest = "BAD_REQUEST", BAD_REQUEST, false;
    /// The document is not GraphQL.
    ParseFailed = "GRAPHQL_PARSE_FAILED", BAD_REQUEST, false;
    /// The document or its variables don't fit the schema.
    ValidationFailed = "GRAPHQL_VALIDATION_FAILED", BAD_REQUEST, false;
    /// The request is larger or deeper than this gateway takes.
    LimitExceeded = "LIMIT_EXCEEDED", BAD_REQUEST, false;
    /// An argument makes no sense.
    Invalid = "BAD_USER_INPUT", BAD_REQUEST, false;
    /// No key or token, or a wrong one.
    Unauthenticated = "UNAUTHENTICATED", UNAUTHORIZED, false;
    /// The key or token does not allow it.
    Forbidden = "FORBIDDEN", FORBIDDEN, false;
    /// The schema is not shown to the caller.
    IntrospectionDisabled = "INTROSPECTION_DISABLED", FORBIDDEN, false;
    /// The caller may only ask for listed documents, and this is none.
    DocumentNotListed = "DOCUMENT_NOT_LISTED", FORBIDDEN, false;
    /// No document is known by this id; the client is to send its text as well. The status is the
    /// one that Apollo's clients expect.
    PersistedQueryNotFound = "PERSISTED_QUERY_NOT_FOUND", OK, false;
    /// Documents are not kept for clients; the client is to send texts alone.
    PersistedQueryNotSupported = "PERSISTED_QUERY_NOT_SUPPORTED", OK, false;
    /// The hash is not the one of the text.
    PersistedQueryHashMismatch = "PERSISTED_QUERY_HASH_MISMATCH", BAD_REQUEST, false;
    /// There is no such order, or none that the caller may see.
    NotFound = "NOT_FOUND", NOT_FOUND, false;
    /// This client asks for more than it is allowed; nothing was stored.
    RateLimited = "RATE_LIMITED", TOO_MANY_REQUESTS, true;
    /// Too much is in flight; nothing was stored.
    Overloaded = "OVERLOADED", SERVICE_UNAVAILABLE, true;
    /// The broker can't be reached; nothing was stored.
    BrokerUnavailable = "BROKER_UNAVAILABLE", SERVICE_UNAVAILABLE, true;
    /// The event was sent and not acknowledged in time; it may be stored or not.
    OutcomeUnknown = "OUTCOME_UNKNOWN", GATEWAY_TIMEOUT, true;
    /// The broker refused the event for good; nothing was stored.
    BrokerRejected = "BROKER_REJECTED", BAD_GATEWAY, false;
    /// The order store can't be read.
    StoreUnavailable = "STORE_UNAVAILABLE", SERVICE_UNAVAILABLE, true;
    /// The keys that tokens are verified with can't be had.
    AuthUnavailable = "AUTH_UNAVAILABLE", SERVICE_UNAVAILABLE, true;
    /// The order store did not come as far as the receipt in time.
    ReceiptTimeout = "RECEIPT_TIMEOUT", GATEWAY_TIMEOUT, true;
    /// The subscriber did not take its updates fast enough.
    SlowConsumer = "SLOW_CONSUMER", SERVICE_UNAVAILABLE, true;
    /// The answer took too long. It was that of a query: nothing was to be changed.
    Timeout = "TIMEOUT", GATEWAY_TIMEOUT, true;
    /// The gateway is about to stop.
    ShuttingDown = "SHUTTING_DOWN", SERVICE_UNAVAILABLE, true;
    /// A bug of the gateway.
    Internal = "INTERNAL", INTERNAL_SERVER_ERROR, false;
}

/// What a client finds the seconds in after which to try again.
pub(crate) const RETRY_AFTER_SECONDS: &str = "retryAfterSeconds";

/// A code, and words for people. The words never hold what the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub code: Code,
    pub message: Cow<'static, str>,
    /// Seconds after which it is worth trying again, where that is known.
    pub retry_after: Option<u64>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// `code` and `retriable`, and `retryAfterSeconds` for those whose transport has no headers.
    fn extensions(&self) -> ErrorExtensionValues {
        let mut values = extensions(self.code);
        if let Some(seconds) = self.retry_after {
            values.set(RETRY_AFTER_SECONDS, seconds);
        }
        values
    }

    /// A bug of the gateway.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "the gateway failed")
    }

    pub fn no_principal() -> Self {
        Self::new(Code::Unauthenticated, "this needs an API key or a token")
    }

    /// What GraphQL calls an error, without a place in the document.
    pub fn into_server_error(self) -> async_graphql::ServerError {
        let values = self.extensions();
        let mut error = async_graphql::ServerError::new(self.message, None);
        error.extensions = Some(values);
        error
    }
}

/// `code` and `retriable`, as every error has them.
pub(crate) fn extensions(code: Code) -> ErrorExtensionValues {
    let mut values = ErrorExtensionValues::default();
    values.set("code", code.as_str());
    values.set("retriable", code.is_retriable());
    values
}

impl From<Failure> for async_graphql::Error {
    fn from(failure: Failure) -> Self {
        let values = failure.extensions();
        let mut error = Self::new(failure.message);
        error.extensions = Some(values);
        error
    }
}

impl From<&producer::Error> for Failure {
    fn from(error: &producer::Error) -> Self {
        use producer::Error;
        match error {
            Error::Overloaded { .. } => {
                Self::new(Code::Overloaded, "too many orders are on their way; nothing was stored")
            }
            Error::Unavailable(_) => Self::new(
                Code::BrokerUnavailable,
                "the broker can't be reached; nothing was stored",
            ),
            Error::OutcomeUnknown(_) => Self::new(
                Code::OutcomeUnknown,
                "the broker did not answer in time: the order may be stored or not; the same \
                 request with the same idempotency key is safe",
            ),
            Error::Rejected(_) | Error::Encode(_) => {
                Self::new(Code::BrokerRejected, "the broker refused the order; nothing was stored")
            }
        }
    }
}

impl From<store::Error> for Failure {
    fn from(failure: store::Error) -> Self {
        let cause = error_chain(&failure);
        match failure {
            store::Error::Cursor => Self::new(Code::Invalid, "not a cursor of this list"),
            store::Error::Corrupt { .. } => {
                error!(error = cause, "an order of the order store does not read");
                Self::new(Code::Internal, "the order can't be read")
            }
            store::Error::Url(_)
            | store::Error::Settings
            | store::Error::Schema { .. }
            | store::Error::Open(_)
            | store::Error::Migrate(_)
            | store::Error::Unfinished
            | store::Error::Encoding { .. }
            | store::Error::Query { .. } => {
                warn!(error = cause, "the order store did not answer");
                Self::new(Code::StoreUnavailable, "the order store can't be read right now")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_text() {
        for code in Code::ALL {
            assert_eq!(Code::from_text(code.as_str()), Some(*code));
        }
        assert_eq!(Code::from_text("NONE_OF_THESE"), None);
    }

    #[test]
    fn only_what_can_pass_is_retriable() {
        for code in Code::ALL {
            let broken = [Code::BrokerRejected, Code::Internal].contains(code);
            let passes = code.status().is_server_error() && !broken;
            assert_eq!(code.is_retriable(), passes || *code == Code::RateLimited, "{code:?}");
        }
    }
}
