//! A payment provider shaped like Stripe's PaymentIntents, with a ledger of what it did.
//!
//! `POST /v1/payment_intents` (form-encoded, `Authorization: Bearer …` with any token), `GET
//! /v1/payment_intents/{id}`, `GET /v1/payment_intents/search`, `POST /v1/refunds`, `GET
//! /v1/refunds?payment_intent=…`, errors in Stripe's shape; and of its own `GET /ledger`
//! (`?order_id=` for one order).
//!
//! The payment method decides what happens:
//!
//! | token | outcome |
//! |---|---|
//! | `pm_card_visa`, `pm_card_mastercard`, `pm_card_amex` | charged |
//! | `pm_card_chargeDeclined` | 402 `card_declined`, `generic_decline` |
//! | `pm_card_chargeDeclinedInsufficientFunds` | 402 `card_declined`, `insufficient_funds` |
//! | `pm_card_chargeDeclinedExpiredCard` | 402 `expired_card` |
//! | `pm_card_authenticationRequired` | 200 with status `requires_action`, not charged |
//! | `pm_sandbox_drop` | the connection is closed without an answer, every time; never charged |
//! | `pm_sandbox_drop_once` | that on the first try of a key, then charged |
//! | `pm_sandbox_error500` | 500, never charged; the key answers 500 for ever, as at Stripe |
//! | `pm_sandbox_error500_once` | 500 on the first try of a key, not stored; then charged |
//! | `pm_sandbox_slow` | charged and answered after [`Options::slow_ms`] |
//! | `pm_sandbox_charge_then_drop` | charged, then the connection is closed; the key has the success |
//! | `pm_sandbox_rate_limited_once` | 429 with `Retry-After: 1` on the first try of a key, then charged |
//! | anything else | 400 `resource_missing` |
//!
//! An `Idempotency-Key` works as at Stripe: once an operation ran, its answer, 402 and 500
//! included, is given again with `Idempotent-Replayed: true`; a key with another body is a 400
//! `idempotency_error`, a key whose first request still runs a 409 `idempotency_key_in_use`.
//! Refused parameters, 429 and dropped connections store nothing. A request without a key is its
//! own first try each time. A client that goes away doesn't stop its charge.
//!
//! Nothing is forgotten while the process lives (Stripe forgets keys after 24 hours): an attempt
//! costs some 650 bytes, and only memory bounds their number. A stored answer is
//! a reference to the attempt, not a body.

mod api;
mod books;
mod fault;
mod form;
mod keys;
mod ledger;
mod refusal;
mod render;
mod search;
mod token;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::server;
use books::Books;
pub use ledger::{Attempt, Ledger, Outcome, Refund, Totals};

/// How the provider behaves. The default answers at once and never fails of itself.
///
/// A share is a percentage of the tries of charges (whose token has no fault of its own), refunds
/// and look-ups. Which ones is decided by [`Options::seed`], the idempotency key and the number of
/// the try under it, of a look-up by its number among all. What is answered from a key's stored
/// answer is no try. The shares together are at most 100.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Time before each charge or refund is carried out, in milliseconds.
    pub latency_ms: u64,
    /// Further time for slow ones, in milliseconds.
    pub slow_ms: u64,
    /// How long a payment stays invisible to search, in milliseconds; Stripe's lags too.
    pub search_lag_ms: u64,
    /// Decides, with the key and the try's number, which tries the shares strike.
    pub seed: u64,
    /// Share whose connection is closed, with nothing done.
    pub drop_percent: u8,
    /// Share that is carried out and whose connection is then closed.
    pub charge_then_drop_percent: u8,
    /// Share answered with a 500 that is not stored: the next try is a new one.
    pub error500_percent: u8,
    /// Share answered with a 500 that is stored: the key never works.
    pub stored_error500_percent: u8,
    /// Share answered with 429 and `Retry-After: 1`.
    pub rate_limited_percent: u8,
    /// Share that takes [`Options::slow_ms`] longer.
    pub slow_percent: u8,
}

/// The provider, listening but not yet serving.
pub struct Service {
    listener: TcpListener,
    addr: SocketAddr,
    handle: Handle,
}

impl Service {
    /// Listens on `addr`; port 0 picks a free port.
    pub async fn bind(addr: SocketAddr, options: Options) -> Result<Self, Error> {
        fault::check(&options)?;
        let (listener, addr) = server::bind(addr).await?;
        let books = Mutex::new(Books::new(rand::random()));
        let handle = Handle { shared: Arc::new(Shared { options, books }) };
        Ok(Self { listener, addr, handle })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL, without `/v1`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A view from inside the process.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `shutdown`.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) {
        let handle = self.handle;
        let handler = move |request| api::answer(handle.clone(), request);
        server::serve(self.listener, handler, shutdown).await;
    }
}

/// What the provider did; clones share it.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    books: Mutex<Books>,
}

impl Handle {
    /// Everything so far, oldest first. A copy: it takes time and memory in proportion.
    pub fn ledger(&self) -> Ledger {
        self.books().ledger(None)
    }

    /// What concerns one order; the totals count it alone, but for those about requests.
    pub fn ledger_of(&self, order_id: &str) -> Ledger {
        self.books().ledger(Some(order_id))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.shared.books.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
