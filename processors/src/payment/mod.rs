//! Charges orders at an HTTP payment provider.
//!
//! - [`Payment`]: the processor, from order events to payment events
//! - `case`: the steps of one order event, up to an outcome that is known
//! - `api`: the payment providers, and what their answers mean to the steps
//! - `client`: the calls, the same for all
//! - `race`: whether an order event counts, going by the log
//! - [`Reports`]: payments whose outcome is open, and what operators say of them
//! - [`Repeats`]: the same event in the log once more
//! - [`Followed`]: reading the topics behind these two
//!
//! What becomes of an order event:
//!
//! | order event | at the provider | payment event |
//! |---|---|---|
//! | PLACED | charged, declined or refused | SUCCEEDED or FAILED |
//! | PLACED or UPDATED with a total of 0 | nothing to charge, so nothing is sent | SUCCEEDED without a payment id, 0 attempts |
//! | UPDATED, nothing charged yet | charged at its own version | SUCCEEDED or FAILED |
//! | UPDATED after a charge | the charge stays | CHANGE_REJECTED; SUCCEEDED where neither lines nor payment method differ from what was charged |
//! | UPDATED after a cancellation, or after another event with its version | nothing is asked | CHANGE_REJECTED |
//! | CANCELLED after a charge | the whole charge is given back | REFUNDED |
//! | CANCELLED, nothing charged | nothing is sent | VOIDED; REFUNDED for a total of 0 |
//!
//! While the provider is away, overloaded or refuses our key, or something else answers in its place,
//! there is no payment event: the engine is asked to call again later. While the outcome of a request that was sent is open, there is a
//! payment report IN_DOUBT, and the order is held until the outcome is known, or an operator says
//! it.

mod api;
mod case;
mod client;
mod followed;
mod race;
mod repeats;
mod reports;
#[cfg(test)]
mod tests;

use std::time::Duration;

use comanda_schemas::{
    OrderEvent, OrderEventType, Payment as PaymentRecord, PaymentEvent, PaymentReport,
    PaymentReportType, Stage, Timestamp,
};
use secrecy::SecretString;
use serde::Deserialize;
use tracing::error;

use crate::provider::{Backoff, Error, Presence};
use crate::{HandlerError, Input, Outcome, Processor};
pub use api::Provider;
use api::{Api, Failure};
use case::{Case, End, Stop};
use client::Client;
pub use followed::Followed;
pub use repeats::Repeats;
pub use reports::Reports;

/// How long the provider surely remembers an idempotency key; Stripe forgets after 24 hours. For
/// an order event older than this the key alone does not protect from a second charge.
pub const KEY_LIFE: Duration = Duration::from_secs(23 * 3600);

/// Kinds of errors, by which dead letters are sorted: an outcome that stays open, a provider that
/// refuses us or is not itself, one that is away, one that refuses a refund.
const UNRESOLVED: &str = "payment_unresolved";
const REFUSES: &str = "payment_provider_refuses";
const AWAY: &str = "payment_provider_away";
const REFUND_REFUSED: &str = "refund_refused";

/// Settings of the payment processor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Which API to charge through; also the name in payment events and metrics.
    pub provider: Provider,
    /// Base URL of the provider's API, without `/v1`.
    pub provider_url: String,
    /// Secret key, sent as bearer token.
    pub secret_key: SecretString,
    /// Time to connect, TLS included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Time for a request and its whole answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// Requests for one charge or refund before it is given up or put off, at least 1.
    pub max_attempts: u32,
    /// How long an order whose requests stay without an answer is tried again before it fails as
    /// unreachable, in milliseconds.
    pub give_up_after_ms: u64,
    /// Requests in a row without an answer of the provider's, or with an error of its own or about our
    /// key, after which it counts as away: orders wait and one at a time is tried; 0 for never.
    pub circuit_failures: u32,
    /// Pause before each such try, in milliseconds.
    pub circuit_pause_ms: u64,
    /// Longest pause after the first failed request, in milliseconds; doubles with each.
    pub backoff_initial_ms: u64,
    /// Longest pause after any failed request, in milliseconds.
    pub backoff_max_ms: u64,
    /// How far the provider's search may run behind its charges, in milliseconds.
    pub search_lag_ms: u64,
    /// Whether an order that may have been sent before, by another process or before it became a
    /// dead letter, is looked up first, for providers that don't heed idempotency keys.
    pub look_up_repeats: bool,
    /// Pause before an order event whose outcome is still open is taken up again, in milliseconds; a
    /// report of that outcome ends it.
    pub retry_unresolved_ms: u64,
    /// Pause before the next try when the provider refuses our key or URL, in milliseconds.
    pub retry_refused_ms: u64,
}

/// The payment processor.
#[derive(Debug)]
pub struct Payment {
    provider: Provider,
    client: Client,
    repeats: Repeats,
    reports: Reports,
    backoff: Backoff,
    max_attempts: u32,
    give_up_after: Duration,
    request_timeout: Duration,
    search_lag: Duration,
    look_up_repeats: bool,
    retry_unresolved: Duration,
    retry_refused: Duration,
}

impl Payment {
    /// A processor after `options`. Nothing is sent yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        Self::over(options.provider.api(&options)?, &options)
    }

    /// One that heeds `reports`.
    pub fn heeding(self, reports: Reports) -> Self {
        Self { reports, ..self }
    }

    /// One that goes by the results in `repeats`.
    pub fn repeating(self, repeats: Repeats) -> Self {
        Self { repeats, ..self }
    }

    /// Whether the provider counts as away.
    pub fn presence(&self) -> Presence {
        self.client.circuit.presence()
    }

    fn over(api: Box<dyn Api>, options: &Options) -> Result<Self, Error> {
        if options.max_attempts == 0 {
            return Err(Error::Setting {
                provider: options.provider.name().to_owned(),
                setting: "max_attempts",
                problem: "must be at least 1",
            });
        }
        Ok(Self {
            client: Client::new(api, options),
            repeats: Repeats::own(),
            reports: Reports::none(),
            backoff: Backoff::new(
                options.provider.name(),
                options.backoff_initial_ms,
                options.backoff_max_ms,
            ),
            max_attempts: options.max_attempts,
            give_up_after: Duration::from_millis(options.give_up_after_ms),
            request_timeout: Duration::from_millis(options.request_timeout_ms),
            search_lag: Duration::from_millis(options.search_lag_ms),
            look_up_repeats: options.look_up_repeats,
            retry_unresolved: Duration::from_millis(options.retry_unresolved_ms),
            retry_refused: Duration::from_millis(options.retry_refused_ms),
            provider: options.provider,
        })
    }

    fn result(&self, input: &Input<OrderEvent>, tries: u32, end: End) -> PaymentEvent {
        let event = &input.event;
        let (amount_minor, currency) =
            end.amount.unwrap_or((event.order.total_minor, event.order.currency));
        PaymentEvent {
            event_id: PaymentEvent::derive_id(event.event_id),
            r#type: end.r#type,
            order_id: event.order_id,
            version: event.version,
            occurred_at: Timestamp::now(),
            order: event.order.clone(),
            payment: PaymentRecord {
                provider: self.provider.name().to_owned(),
                payment_id: end.payment_id,
                amount_minor,
                currency,
                reason: end.reason,
                detail: end.detail,
                attempts: i32::try_from(tries).unwrap_or(i32::MAX),
            },
            source: input.source.clone(),
        }
    }

    fn emit(
        &self,
        input: &Input<OrderEvent>,
        tries: u32,
        end: End,
    ) -> Outcome<PaymentEvent, PaymentReport> {
        let result = self.result(input, tries, end);
        self.repeats.remember(&result);
        Outcome::Emit(result)
    }

    /// That the outcome is open after `tries` requests.
    fn in_doubt(&self, input: &Input<OrderEvent>, tries: u32, why: &Failure) -> PaymentReport {
        let event = &input.event;
        PaymentReport {
            event_id: PaymentReport::in_doubt_id(event.event_id),
            r#type: PaymentReportType::InDoubt,
            order_id: event.order_id,
            version: event.version,
            occurred_at: Timestamp::now(),
            provider: self.provider.name().to_owned(),
            payment_id: None,
            outcome: None,
            amount_minor: None,
            currency: None,
            detail: Some(why.detail()),
            attempts: i32::try_from(tries).unwrap_or(i32::MAX),
            source: Some(input.source.clone()),
        }
    }

    /// What is known without the provider.
    fn settled(&self, input: &Input<OrderEvent>) -> Option<(u32, End)> {
        let event = &input.event;
        if let Some(rejection) = race::rejection(input) {
            return Some((0, End::rejected(rejection)));
        }
        let report = self.reports.resolved(event)?;
        Some((report.attempts.max(0).unsigned_abs(), End::resolved(event, report)?))
    }

    fn stopped(
        &self,
        input: &Input<OrderEvent>,
        case: &Case<'_>,
        stop: &Stop,
    ) -> Outcome<PaymentEvent, PaymentReport> {
        let event = &input.event;
        let (failure, after, kind) = match stop {
            Stop::Unresolved(failure) => {
                let asked = self.backoff.delay(1, failure.retry_after());
                let after = self.retry_unresolved.max(asked);
                (failure, after, UNRESOLVED)
            }
            Stop::Refused(failure) => {
                error!(
                    order_id = %event.order_id, version = event.version, error = %failure,
                    "the payment provider refuses our requests"
                );
                (failure, self.retry_refused, REFUSES)
            }
            Stop::RefundRefused(failure) => {
                let error = HandlerError::new(REFUND_REFUSED, failure);
                return Outcome::DeadLetter { error, result: None };
            }
        };
        self.backoff.count_retry();
        let error = HandlerError::new(kind, failure);
        if !case.is_open {
            return Outcome::Retry { after, error };
        }
        let is_known = input.is_held || self.reports.is_in_doubt(event);
        let note = (!is_known).then(|| self.in_doubt(input, case.tries, failure));
        Outcome::Hold { after, error, note }
    }
}

impl Processor for Payment {
    type In = OrderEvent;
    type Out = PaymentEvent;
    type Note = PaymentReport;
    const STAGE: Stage = Stage::Payment;

    fn looks_back(event: &OrderEvent, redriven_from: Option<i64>) -> Option<i64> {
        race::looks_back(event, redriven_from)
    }

    fn is_neighbours_fault(error: &HandlerError) -> bool {
        [UNRESOLVED, REFUSES, AWAY, REFUND_REFUSED].contains(&error.kind)
    }

    fn takes_over(&self) {
        self.repeats.take_over();
    }

    fn news(&self, held: &OrderEvent) -> impl Future<Output = ()> + Send {
        self.reports.news(held)
    }

    async fn handle(&self, input: &Input<OrderEvent>) -> Outcome<PaymentEvent, PaymentReport> {
        let event = &input.event;
        self.repeats.read_up().await;
        if let Some(result) = self.repeats.result(event.event_id, &input.source) {
            return Outcome::Emit(result);
        }
        self.reports.caught_up().await;
        if let Some((tries, end)) = self.settled(input) {
            return self.emit(input, tries, end);
        }
        let was_open = input.is_held || self.reports.is_in_doubt(event);
        if let Err(wait) = self.client.circuit.admit() {
            let chain = "the payment provider is away".into();
            let error = HandlerError { kind: AWAY, chain };
            let after = self.backoff.delay(1, Some(wait));
            return match was_open {
                true => Outcome::Hold { after, error, note: None },
                false => Outcome::Wait { after, error },
            };
        }
        let age = Timestamp::now().since(event.occurred_at);
        let in_doubt = was_open || input.attempt > 1 || age > KEY_LIFE;
        let may_be_sent = (input.is_suspect || input.is_redriven) && self.look_up_repeats;
        let mut case = Case::new(self, event, input.failing_for, was_open);
        let end = match event.r#type {
            OrderEventType::Placed => case.place(in_doubt, may_be_sent).await,
            OrderEventType::Updated => case.change(in_doubt).await,
            OrderEventType::Cancelled => case.cancel().await,
            OrderEventType::Unknown => {
                return Outcome::DeadLetter {
                    error: HandlerError {
                        kind: "unknown_event_type",
                        chain: "an order event of a type that this build does not know".into(),
                    },
                    result: None,
                };
            }
        };
        match end {
            Ok(end) => self.emit(input, case.tries, end),
            Err(stop) => self.stopped(input, &case, &stop),
        }
    }
}
