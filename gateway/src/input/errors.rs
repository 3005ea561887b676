//! What is wrong with an order, as data.

use std::borrow::Cow;

use async_graphql::{Enum, SimpleObject};

use crate::failure::{Code, Failure};

/// Most errors told of one order.
const MAX_ERRORS: usize = 50;

/// What kind of error it is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// It must not be empty.
    Required,
    /// It has too many characters.
    TooLong,
    /// The number is too small or too large.
    OutOfRange,
    /// It is not written as it has to be.
    InvalidFormat,
    /// ISO 4217 does not know the currency.
    UnknownCurrency,
    /// It is a card number, which must never be sent.
    CardNumber,
    /// There are too many of them.
    TooMany,
    /// The order has too many versions, or too many changes without a result yet, which is
    /// retriable. It can be cancelled.
    TooManyChanges,
    /// The idempotency key was used for another order.
    IdempotencyConflict,
    /// There is no such order, or none that the caller may see.
    NotFound,
    /// The order has another version than the one that was expected; look at it again.
    VersionConflict,
    /// The order is cancelled, or about to be; nothing can be changed any more.
    OrderCancelled,
    /// The order is paid: its lines and payment method stay. It can be cancelled.
    OrderPaid,
    /// There is no failed payment to try again.
    PaymentNotFailed,
    /// The key or token does not allow it.
    Forbidden,
    /// Too much is in flight; nothing was stored.
    Overloaded,
    /// The broker can't be reached; nothing was stored.
    BrokerUnavailable,
    /// The order was sent and not acknowledged in time: it may be stored or not. The same request
    /// with the same idempotency key is safe.
    OutcomeUnknown,
    /// The broker refused the order for good; nothing was stored.
    BrokerRejected,
    /// The order store can't be read, so that nobody knows whether the idempotency key was used.
    StoreUnavailable,
    /// The gateway failed.
    Internal,
}

/// Something that keeps an order from being placed or changed.
#[derive(SimpleObject, Debug, Clone, PartialEq, Eq)]
#[graphql(serial)]
pub(crate) struct UserError {
    /// What kind of error it is.
    pub code: ErrorCode,
    /// The error in words. It never repeats what was sent.
    pub message: String,
    /// Where in the input, e.g. `["input", "lines", "3", "quantity"]`.
    pub path: Vec<String>,
    /// Whether the same request can succeed later.
    pub retriable: bool,
}

impl UserError {
    pub fn new(code: ErrorCode, path: &[&str], message: impl Into<String>) -> Self {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Self { code, message: message.into(), path, retriable: false }
    }

    /// A failure of the system that befell one order of many.
    pub fn of_failure(failure: Failure, path: &[&str]) -> Self {
        let code = match failure.code {
            Code::Forbidden | Code::Unauthenticated => ErrorCode::Forbidden,
            Code::Overloaded | Code::RateLimited => ErrorCode::Overloaded,
            Code::BrokerUnavailable | Code::ShuttingDown => ErrorCode::BrokerUnavailable,
            Code::OutcomeUnknown => ErrorCode::OutcomeUnknown,
            Code::BrokerRejected => ErrorCode::BrokerRejected,
            Code::StoreUnavailable => ErrorCode::StoreUnavailable,
            Code::BadRequest
            | Code::ParseFailed
            | Code::ValidationFailed
            | Code::LimitExceeded
            | Code::Invalid
            | Code::IntrospectionDisabled
            | Code::DocumentNotListed
            | Code::PersistedQueryNotFound
            | Code::PersistedQueryNotSupported
            | Code::PersistedQueryHashMismatch
            | Code::NotFound
            | Code::AuthUnavailable
            | Code::ReceiptTimeout
            | Code::SlowConsumer
            | Code::Timeout
            | Code::Internal => ErrorCode::Internal,
        };
        let retriable = failure.code.is_retriable();
        Self { retriable, ..Self::new(code, path, failure.message) }
    }
}

/// Collects what is wrong with one input.
pub(super) struct Problems<'a> {
    at: &'a [&'a str],
    found: Vec<UserError>,
}

impl<'a> Problems<'a> {
    pub fn new(at: &'a [&'a str]) -> Self {
        Self { at, found: Vec::new() }
    }

    /// `path` is that within the input.
    pub fn add(&mut self, code: ErrorCode, path: &[&str], message: impl Into<Cow<'static, str>>) {
        if self.found.len() < MAX_ERRORS {
            let path = [self.at, path].concat();
            self.found.push(UserError::new(code, &path, message.into()));
        }
    }

    pub fn finish(self) -> Vec<UserError> {
        self.found
    }
}
