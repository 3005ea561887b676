//! One order event at the payment provider, from the first request to an outcome that is known.
//!
//! An outcome is never guessed. Once a request was sent whose answer is missing, the payment is
//! looked up before anything is sent again, and it only counts as not charged after a look-up that
//! found nothing at a time when the provider's search had caught up.

use std::time::Duration;

use comanda_schemas::{
    CHARGED_BEFORE, Currency, FailureReason, OrderEvent, OrderEventType, PaymentEventType,
    PaymentOutcome, PaymentReport, Rejection,
};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::Payment;
use super::api::{Charge, Failure, Found, Standing};

/// Idempotency keys of one order event that are left behind without counting as tries.
const MAX_KEYS: u32 = 100;

/// What an order event came to.
#[derive(Debug)]
pub(super) struct End {
    pub r#type: PaymentEventType,
    pub payment_id: Option<String>,
    /// Minor units; `None` for the order's total.
    pub amount: Option<(i64, Currency)>,
    pub reason: Option<FailureReason>,
    pub detail: Option<String>,
}

/// Why it came to nothing yet.
#[derive(Debug)]
pub(super) enum Stop {
    /// The outcome is open, or the provider can't be asked.
    Unresolved(Failure),
    /// The provider refuses our requests as such.
    Refused(Failure),
    /// There is a charge to give back and the provider refuses to.
    RefundRefused(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            failure if failure.is_refusal() => Stop::Refused(failure),
            _ => Stop::Unresolved(failure),
        }
    }
}

/// What one try came to.
enum Step {
    End(End),
    Again(Failure),
}

/// One call of the processor. All that it remembers ends with it.
pub(super) struct Case<'a> {
    payment: &'a Payment,
    event: &'a OrderEvent,
    begun: Instant,
    /// How long earlier calls have been failing.
    failing_for: Duration,
    /// Requests sent, look-ups not counted.
    pub tries: u32,
    /// Whether something was sent whose outcome was open and is not known since.
    pub is_open: bool,
    /// Number of the idempotency key in use, from 1.
    key: u32,
    /// Whether that key is of no use any more.
    key_is_burnt: bool,
}

/// Whose payment to look up.
#[derive(Clone, Copy)]
enum Scope {
    Version,
    Order,
}

impl<'a> Case<'a> {
    pub fn new(
        payment: &'a Payment,
        event: &'a OrderEvent,
        failing_for: Duration,
        is_open: bool,
    ) -> Self {
        Self {
            payment,
            event,
            begun: Instant::now(),
            failing_for,
            tries: 0,
            is_open,
            key: 1,
            key_is_burnt: false,
        }
    }

    /// Charges a new order. Where it may have been sent before (`may_be_sent`), it is looked up
    /// first; what comes too early for the provider's search is left to the idempotency key.
    pub async fn place(&mut self, in_doubt: bool, may_be_sent: bool) -> Result<End, Stop> {
        if may_be_sent && !in_doubt && self.event.order.total_minor > 0 {
            let found = self.sent_before().await;
            self.is_open |= matches!(found, Err(Stop::Unresolved(_)));
            if let Some(end) = found? {
                return Ok(end);
            }
        }
        self.charge(in_doubt).await
    }

    /// What is known of a request that may have been sent before.
    async fn sent_before(&self) -> Result<Option<End>, Stop> {
        self.insist(|| async { known(self.look_up(Scope::Version).await) }).await
    }

    /// Asks until there is an answer, as often as a charge is tried.
    async fn insist<T, A>(&self, ask: impl Fn() -> A) -> Result<T, Stop>
    where
        A: Future<Output = Result<T, Failure>>,
    {
        let mut last = Failure::InProgress;
        for failures in 0..self.payment.max_attempts {
            self.pause(failures, Some(&last)).await;
            last = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.is_refusal() => return Err(failure.into()),
                Err(failure) => failure,
            };
            if last.asks_for_long() {
                break;
            }
        }
        Err(Stop::Unresolved(last))
    }

    /// Charges the event's version. `in_doubt` says that an earlier call may have done so.
    pub async fn charge(&mut self, in_doubt: bool) -> Result<End, Stop> {
        let order = &self.event.order;
        if order.total_minor == 0 {
            return Ok(End::new(PaymentEventType::Succeeded));
        }
        if !self.payment.client.can_charge(order.total_minor, order.currency) {
            return Ok(End::failed(FailureReason::Invalid, "amount_not_chargeable".into()));
        }
        // From when on a look-up that finds nothing means that there is no charge; `None` while
        // no request is without an answer.
        let mut settles = in_doubt.then(|| self.begun + self.payment.search_lag);
        let mut last = None;
        let mut failures = 0;
        while failures < self.payment.max_attempts {
            self.pause(failures, last.as_ref()).await;
            match self.try_charge(&mut settles).await? {
                Step::End(end) => return Ok(end),
                Step::Again(failure) => {
                    failures += u32::from(!self.is_old(&failure));
                    let is_put_off = failure.asks_for_long();
                    last = Some(failure);
                    if is_put_off {
                        break;
                    }
                }
            }
        }
        let last = last.unwrap_or(Failure::InProgress);
        let end = match last {
            // A provider that is away or overloaded is waited for, and so is one in whose place
            // something else answers: an order must not fail that would be paid a minute later.
            Failure::NotSent(_)
            | Failure::Busy { .. }
            | Failure::InProgress
            | Failure::Foreign { .. } => Err(Stop::Unresolved(last)),
            _ if self.tries == 0 || !self.gives_up() => Err(Stop::Unresolved(last)),
            _ => Ok(End::failed(last.reason(), last.detail())),
        };
        self.unless_charged(settles, end).await
    }

    /// Whether it has been tried for long enough.
    fn gives_up(&self) -> bool {
        self.failing_for + self.begun.elapsed() >= self.payment.give_up_after
    }

    /// One look-up, where the outcome of an earlier request is open, and one request.
    async fn try_charge(&mut self, settles: &mut Option<Instant>) -> Result<Step, Stop> {
        if let Some(settles) = *settles {
            // Under another key the same request charges again: only a "nothing" that counts
            // allows that.
            let found = match self.key_is_burnt {
                true => self.look_up_settled(Scope::Version, settles).await,
                false => self.look_up(Scope::Version).await,
            };
            match known(found) {
                Ok(Some(end)) => return Ok(Step::End(end)),
                Ok(None) if self.key_is_burnt => self.next_key(),
                Ok(None) => {}
                Err(failure) if failure.is_refusal() => return Err(failure.into()),
                Err(failure) => return Ok(Step::Again(failure)),
            }
        }
        self.tries += 1;
        let failure = match self.payment.client.charge(self.event, self.key).await {
            Ok(Standing::Charged(charge)) => return Ok(Step::End(End::charged(charge))),
            Ok(Standing::Declined { code, payment_id }) => {
                Failure::Declined { code, payment_id: Some(payment_id) }
            }
            Ok(Standing::Undecided | Standing::Nothing) => Failure::InProgress,
            Err(failure) => failure,
        };
        let end = match failure {
            Failure::Declined { code, payment_id } => End::declined(code, payment_id),
            Failure::Invalid(code) => End::failed(FailureReason::Invalid, code),
            Failure::KeyReused => {
                self.is_open = true;
                *settles = (*settles).max(Some(self.settles_after(&failure)));
                End::failed(FailureReason::Unknown, failure.detail())
            }
            Failure::Refused(_) | Failure::Foreign { may_be_done: false, .. } => {
                return Err(failure.into());
            }
            Failure::NotSent(_) | Failure::Busy { .. } => return Ok(Step::Again(failure)),
            Failure::KeyBurnt(_) => {
                self.is_open = true;
                self.key_is_burnt = true;
                // Whoever got that error first has seen it: an earlier call, or this one, which
                // has noted its time.
                *settles = (*settles).max(Some(self.begun + self.payment.search_lag));
                return Ok(Step::Again(failure));
            }
            Failure::InProgress
            | Failure::TimedOut
            | Failure::Open(_)
            | Failure::Foreign { may_be_done: true, .. } => {
                self.is_open = true;
                *settles = (*settles).max(Some(self.settles_after(&failure)));
                return Ok(Step::Again(failure));
            }
        };
        self.unless_charged(*settles, Ok(end)).await.map(Step::End)
    }

    /// Whether this is the error of an earlier time, which says nothing of the provider now: past
    /// all burnt keys there must be a try left.
    fn is_old(&self, failure: &Failure) -> bool {
        matches!(failure, Failure::KeyBurnt(_)) && self.key < MAX_KEYS
    }

    fn next_key(&mut self) {
        self.key += 1;
        self.key_is_burnt = false;
    }

    /// Charges the event's version unless the order was charged before. A charge on the same terms
    /// stands for the changed order as well.
    pub async fn change(&mut self, in_doubt: bool) -> Result<End, Stop> {
        let Found { own, order, .. } = self.earlier().await?;
        let Standing::Charged(charge) = order else { return self.charge(in_doubt).await };
        let alike = charge.terms.map(|terms| terms == self.event.order.terms());
        Ok(match (own, alike) {
            // This very event, in the log once more: it was declined before the charge.
            (Standing::Declined { code, payment_id }, _) => End::declined(code, Some(payment_id)),
            (Standing::Charged(_), None | Some(true)) => End::charged(charge),
            (Standing::Nothing | Standing::Undecided, Some(true)) => {
                End { detail: Some(CHARGED_BEFORE.into()), ..End::charged(charge) }
            }
            (Standing::Charged(_), Some(false))
            | (Standing::Nothing | Standing::Undecided, None | Some(false)) => {
                let rejected = End::rejected(Rejection::AlreadyCharged);
                End { payment_id: Some(charge.payment_id), amount: charge.amount, ..rejected }
            }
        })
    }

    /// Gives back all that the order was charged, where it was.
    pub async fn cancel(&mut self) -> Result<End, Stop> {
        let charges = self.earlier().await?.charges;
        let Some(first) = charges.first().cloned() else {
            // An order for nothing is paid without a charge; its cancellation has to undo that.
            let was_free = self.event.order.total_minor == 0;
            return Ok(End::new(match was_free {
                true => PaymentEventType::Refunded,
                false => PaymentEventType::Voided,
            }));
        };
        for charge in &charges {
            self.key = 1;
            self.refund(charge, charges.len() == 1).await?;
        }
        let amount = sum(&charges).or(first.amount);
        Ok(End { r#type: PaymentEventType::Refunded, amount, ..End::charged(first) })
    }

    /// Gives one charge back.
    async fn refund(&mut self, charge: &Charge, is_only: bool) -> Result<(), Stop> {
        let (mut last, mut failures) = (None, 0);
        while failures < self.payment.max_attempts {
            self.pause(failures, last.as_ref()).await;
            self.tries += 1;
            let client = &self.payment.client;
            let Err(failure) = client.refund(self.event, charge, is_only, self.key).await else {
                return Ok(());
            };
            failures += u32::from(!self.is_old(&failure));
            match failure {
                Failure::Declined { .. } | Failure::Invalid(_) | Failure::KeyReused => {
                    return Err(Stop::RefundRefused(failure));
                }
                Failure::Refused(_) => return Err(failure.into()),
                Failure::Foreign { may_be_done, .. } => {
                    self.is_open |= may_be_done;
                    return Err(failure.into());
                }
                // A whole charge is given back only once, under whatever key.
                Failure::KeyBurnt(_) => {
                    self.is_open = true;
                    self.next_key();
                    last = Some(failure);
                }
                Failure::NotSent(_) | Failure::Busy { .. } => {
                    let is_put_off = failure.asks_for_long();
                    last = Some(failure);
                    if is_put_off {
                        break;
                    }
                }
                Failure::InProgress | Failure::TimedOut | Failure::Open(_) => {
                    self.is_open = true;
                    last = Some(failure);
                }
            }
        }
        Err(Stop::Unresolved(last.unwrap_or(Failure::InProgress)))
    }

    /// What there is at the provider of the order, decided all of it. Earlier versions were handled
    /// before this call began, so what the search knows after its lag is all there is.
    async fn earlier(&self) -> Result<Found, Stop> {
        let settles = self.begun + self.payment.search_lag;
        let look_up = || async {
            match self.look_up_settled(Scope::Order, settles).await? {
                Found { order: Standing::Undecided, .. } => Err(Failure::InProgress),
                found => Ok(found),
            }
        };
        self.insist(look_up).await
    }

    /// `end`, unless the outcome was open and a look-up knows better or is not to be had.
    async fn unless_charged(
        &self,
        settles: Option<Instant>,
        end: Result<End, Stop>,
    ) -> Result<End, Stop> {
        let Some(settles) = settles else { return end };
        match known(self.look_up_settled(Scope::Version, settles).await)? {
            Some(known) => Ok(known),
            None => end,
        }
    }

    /// A look-up whose "nothing" counts: it is asked again at `settles` where it was too early.
    async fn look_up_settled(&self, scope: Scope, settles: Instant) -> Result<Found, Failure> {
        let early = Instant::now() < settles;
        let found = self.look_up(scope).await?;
        let may_change = match (&found.order, scope) {
            (Standing::Nothing, _) | (Standing::Declined { .. }, Scope::Order) => early,
            (Standing::Declined { .. }, Scope::Version) => false,
            (Standing::Charged(_) | Standing::Undecided, _) => false,
        };
        if !may_change {
            return Ok(found);
        }
        sleep_until(settles).await;
        self.look_up(scope).await
    }

    async fn look_up(&self, scope: Scope) -> Result<Found, Failure> {
        let (order_id, version) = (self.event.order_id, self.event.version);
        match scope {
            Scope::Version => {
                let own = self.payment.client.look_up(order_id, version).await?;
                Ok(Found { order: own.clone(), own, charges: Vec::new() })
            }
            Scope::Order => self.payment.client.look_up_order(order_id, version).await,
        }
    }

    /// Search runs behind by its lag; and a request that was given up may be worked on for as long
    /// again as it was waited for. One whose answer is stored is over.
    fn settles_after(&self, failure: &Failure) -> Instant {
        let at_work = match failure {
            Failure::TimedOut | Failure::InProgress => self.payment.request_timeout,
            _ => Duration::ZERO,
        };
        Instant::now() + at_work + self.payment.search_lag
    }

    /// The back-off after `failures` failed tries, none before the first.
    async fn pause(&self, failures: u32, last: Option<&Failure>) {
        if let (1.., Some(failure)) = (failures, last) {
            debug!(
                order_id = %self.event.order_id, version = self.event.version, failures,
                error = %failure, "the payment provider is asked again after a pause"
            );
            self.payment.backoff.wait(failures, failure.retry_after()).await;
        }
    }
}

/// What charges come to together; `None` where that can't be said.
fn sum(charges: &[Charge]) -> Option<(i64, Currency)> {
    let (_, currency) = charges.first()?.amount?;
    let minor = charges.iter().try_fold(0i64, |sum, charge| {
        let (minor, _) = charge.amount.filter(|(_, of)| *of == currency)?;
        sum.checked_add(minor)
    })?;
    Some((minor, currency))
}

/// The end that a look-up tells of, `None` where it found nothing.
fn known(found: Result<Found, Failure>) -> Result<Option<End>, Failure> {
    match found?.own {
        Standing::Charged(charge) => Ok(Some(End::charged(charge))),
        Standing::Declined { code, payment_id } => Ok(Some(End::declined(code, Some(payment_id)))),
        Standing::Nothing => Ok(None),
        Standing::Undecided => Err(Failure::InProgress),
    }
}

impl End {
    fn new(r#type: PaymentEventType) -> Self {
        Self { r#type, payment_id: None, amount: None, reason: None, detail: None }
    }

    /// A change that is not made, with nothing asked of the provider.
    pub fn rejected(rejection: Rejection) -> Self {
        let detail = Some(rejection.as_str().into());
        Self { detail, ..Self::new(PaymentEventType::ChangeRejected) }
    }

    /// What an operator says of the event's payment; `None` where that is no answer to it.
    pub fn resolved(event: &OrderEvent, report: PaymentReport) -> Option<Self> {
        let is_refund = event.r#type == OrderEventType::Cancelled;
        match report.outcome? {
            PaymentOutcome::Succeeded => Some(Self {
                r#type: match is_refund {
                    true => PaymentEventType::Refunded,
                    false => PaymentEventType::Succeeded,
                },
                payment_id: Some(report.payment_id?),
                amount: report.amount_minor.zip(report.currency),
                reason: None,
                detail: report.detail,
            }),
            PaymentOutcome::Failed if !is_refund => {
                let detail = report.detail.unwrap_or_else(|| "resolved".into());
                Some(Self::failed(FailureReason::Unknown, detail))
            }
            PaymentOutcome::Failed | PaymentOutcome::Unknown => None,
        }
    }

    fn charged(charge: Charge) -> Self {
        Self {
            payment_id: Some(charge.payment_id),
            amount: charge.amount,
            ..Self::new(PaymentEventType::Succeeded)
        }
    }

    fn declined(code: String, payment_id: Option<String>) -> Self {
        Self { payment_id, ..Self::failed(FailureReason::Declined, code) }
    }

    fn failed(reason: FailureReason, detail: String) -> Self {
        Self { reason: Some(reason), detail: Some(detail), ..Self::new(PaymentEventType::Failed) }
    }
}
