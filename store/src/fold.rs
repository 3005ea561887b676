//! From the events of an order to the order.
//!
//! A pure function of the set of events: neither the order in which they came nor how often each
//! came makes a difference, so that topics may be read at any pace relative to each other. It needs
//! to know little of each event, and nothing of what the order contained: a [`Step`].

use std::collections::HashMap;

use comanda_schemas::{OrderId, PaymentEvent, PaymentEventType, PaymentReport, Race, Timestamp};
use uuid::Uuid;

use crate::facts::Facts;
use crate::step::{Content, DoubtStep, OrderStep, PaymentStep, Step};
use crate::timeline::{notification_view, timeline};
use crate::{
    OrderState, OrderStatus, OrderView, PaymentStatus, PaymentView, Recorded, StoredEvent,
};

/// The order that `facts` tell of; `None` until its first order event is among them.
///
/// `facts` are events of one order. What was given back or charged decides: whatever came after it
/// left the order as charged. Without that, the latest event counts that was not rejected.
pub fn fold(facts: &[StoredEvent]) -> Option<OrderView> {
    let facts = Facts::new(facts);
    let steps: Vec<Step> = facts.steps().collect();
    let state = fold_steps(facts.order_id()?, &steps, facts.updated_at()?)?;
    let order = facts.content(state.content)?.clone();
    let latest = facts.content(state.latest)?.clone();
    Some(OrderView {
        id: state.id,
        customer_id: state.customer_id,
        version: state.version,
        status: state.status,
        order,
        latest,
        placed_at: state.placed_at,
        updated_at: state.updated_at,
        waiting_since: state.waiting_since,
        payment: state.payment,
        notifications: facts.notifications().map(notification_view).collect(),
        timeline: timeline(&facts),
        receipt: state.receipt,
    })
}

/// The state of the order `id` that `steps` tell of, each once; `None` until its first order event is
/// among them. `updated_at` is when the last of its events happened.
pub(crate) fn fold_steps(id: OrderId, steps: &[Step], updated_at: Timestamp) -> Option<OrderState> {
    let steps = Steps::sort(steps);
    let first = *steps.orders.first()?;
    let requests = steps.requests();
    let current = requests.iter().rfind(|request| request.counts).or(requests.last())?;
    let (status, result) = outcome(&requests, current);
    let charge = succeeded(&requests).last();
    let content = match (status, result) {
        (OrderStatus::Paid | OrderStatus::Refunded, Some(result)) => {
            charge.unwrap_or(result).content
        }
        (OrderStatus::Cancelled, Some(void)) => void.content,
        _ => current.content()?,
    };
    let open = waiting(&requests);
    let doubt = open.iter().find_map(|request| request.doubt);
    Some(OrderState {
        id,
        customer_id: first.customer_id.clone(),
        version: requests.iter().map(|request| request.version).max()?,
        open_events: u32::try_from(open.len()).unwrap_or(u32::MAX),
        status,
        currency: content.currency,
        total_minor: content.total_minor,
        placed_at: first.occurred_at,
        updated_at,
        waiting_since: open.first().and_then(Request::asked_at),
        payment: payment_view(result, doubt, content),
        receipt: first.at.clone(),
        content: content.id,
        latest: current.content()?.id,
    })
}

/// Steps of one order, by topic.
struct Steps<'a> {
    /// By place in the log.
    orders: Vec<&'a OrderStep>,
    /// By version, then place in the log.
    payments: Vec<&'a PaymentStep>,
    /// By the id of the report.
    doubts: HashMap<Uuid, &'a DoubtStep>,
}

impl<'a> Steps<'a> {
    fn sort(steps: &'a [Step]) -> Self {
        let mut sorted = Self { orders: Vec::new(), payments: Vec::new(), doubts: HashMap::new() };
        for step in steps {
            match step {
                Step::Order(step) => sorted.orders.push(step),
                Step::Payment(step) => sorted.payments.push(step),
                Step::Doubt(step) => _ = sorted.doubts.insert(step.event_id, step),
            }
        }
        sorted.orders.sort_by_key(|step| place(&step.at));
        sorted.payments.sort_by_key(|step| (step.version, step.place));
        sorted
    }

    /// What was asked for, in the order of the log, with what came of it.
    fn requests(&self) -> Vec<Request<'a>> {
        let mut results: HashMap<Uuid, &'a PaymentStep> =
            self.payments.iter().map(|result| (result.event_id, *result)).collect();
        let mut race = Race::default();
        let asked = self.orders.iter().map(|event| {
            let result = results.remove(&PaymentEvent::derive_id(event.event_id));
            let entered = race.enter_change(event.event_id, event.r#type, event.version);
            let won = entered.is_some_and(|entered| entered.is_ok());
            let doubt = match self.doubts.is_empty() {
                true => None,
                false => self.doubts.get(&PaymentReport::in_doubt_id(event.event_id)).copied(),
            };
            Request {
                place: place(&event.at),
                version: event.version,
                asked: Some(event),
                doubt,
                result,
                counts: result.map_or(won, |result| !is_rejection(result)),
            }
        });
        let mut requests: Vec<Request<'a>> = asked.collect();
        // A result proves its event even where that has not been read yet.
        let alone = self.payments.iter().filter(|result| results.contains_key(&result.event_id));
        requests.extend(alone.map(|result| Request {
            place: result.source,
            version: result.version,
            asked: None,
            doubt: None,
            result: Some(result),
            counts: !is_rejection(result),
        }));
        requests.sort_by_key(|request| (request.place, request.version));
        requests
    }
}

/// The place of a record among those of one key. Partitions are only ever added to a topic, with
/// higher numbers, so what a key has in a lower partition is older.
pub(crate) fn place(at: &Recorded) -> (i32, i64) {
    (at.partition, at.offset)
}

/// One thing that was asked for.
struct Request<'a> {
    place: (i32, i64),
    version: i32,
    asked: Option<&'a OrderStep>,
    /// That its outcome was open once.
    doubt: Option<&'a DoubtStep>,
    result: Option<&'a PaymentStep>,
    /// Whether it was not rejected, or will not be, as far as can be told.
    counts: bool,
}

impl Request<'_> {
    fn content(&self) -> Option<Content> {
        let asked = self.asked.map(|event| event.content);
        asked.or(self.result.map(|result| result.content))
    }

    fn asked_at(&self) -> Option<Timestamp> {
        self.asked.map(|event| event.occurred_at)
    }
}

/// The requests that still wait for their results. One that has a result behind it waits no more:
/// events of an order are handled one after another, so it became a dead letter.
fn waiting<'s, 'a>(requests: &'s [Request<'a>]) -> &'s [Request<'a>] {
    let handled = requests.iter().rposition(|request| request.result.is_some());
    &requests[handled.map_or(0, |last| last + 1)..]
}

fn is_rejection(result: &PaymentStep) -> bool {
    result.r#type == PaymentEventType::ChangeRejected
}

/// All that says that the order is paid, in the order of the log.
fn succeeded<'a>(requests: &[Request<'a>]) -> impl DoubleEndedIterator<Item = &'a PaymentStep> {
    let results = requests.iter().filter_map(|request| request.result);
    results.filter(|result| result.r#type == PaymentEventType::Succeeded)
}

/// Where the order stands, and the result that says so.
fn outcome<'a>(
    requests: &[Request<'a>],
    current: &Request<'a>,
) -> (OrderStatus, Option<&'a PaymentStep>) {
    use PaymentEventType::{Failed, Refunded, Voided};
    let moved_money = |result: &&PaymentStep| result.payment.payment_id.is_some();
    let results = || requests.iter().filter_map(|request| request.result);
    if let Some(refund) = results().filter(moved_money).find(|result| result.r#type == Refunded) {
        return (OrderStatus::Refunded, Some(refund));
    }
    // The first of those that tell of one charge made it.
    let charge = succeeded(requests).last().and_then(|last| {
        succeeded(requests).find(|result| result.payment.payment_id == last.payment.payment_id)
    });
    if let Some(charge) = charge.filter(moved_money) {
        return (OrderStatus::Paid, Some(charge));
    }
    // An order for nothing is paid without a charge, and cancelled without a refund.
    match results().find(|result| matches!(result.r#type, Refunded | Voided)) {
        Some(end) if end.r#type == Refunded => (OrderStatus::Refunded, Some(end)),
        Some(end) => (OrderStatus::Cancelled, Some(end)),
        None => match charge.or(current.result) {
            Some(failed) if failed.r#type == Failed => (OrderStatus::PaymentFailed, Some(failed)),
            result if charge.is_some() => (OrderStatus::Paid, result),
            result => (OrderStatus::Pending, result),
        },
    }
}

/// The payment as `result` left it; UNKNOWN while something that was sent since is open.
fn payment_view(
    result: Option<&PaymentStep>,
    doubt: Option<&DoubtStep>,
    content: Content,
) -> PaymentView {
    let settled = settled_view(result, content);
    let Some(doubt) = doubt else { return settled };
    PaymentView {
        status: PaymentStatus::Unknown,
        provider: Some(doubt.provider.clone()),
        reason: None,
        detail: doubt.detail.clone(),
        attempts: doubt.attempts,
        at: Some(doubt.occurred_at),
        ..settled
    }
}

fn settled_view(result: Option<&PaymentStep>, content: Content) -> PaymentView {
    let Some(event) = result else {
        return PaymentView::pending(content.total_minor, content.currency);
    };
    let status = match event.r#type {
        PaymentEventType::Succeeded => PaymentStatus::Succeeded,
        PaymentEventType::Failed => PaymentStatus::Failed,
        PaymentEventType::Refunded => PaymentStatus::Refunded,
        PaymentEventType::Voided => PaymentStatus::Voided,
        PaymentEventType::ChangeRejected => PaymentStatus::Pending,
        PaymentEventType::Unknown => PaymentStatus::Unknown,
    };
    let payment = &event.payment;
    PaymentView {
        status,
        provider: Some(payment.provider.clone()),
        payment_id: payment.payment_id.clone(),
        amount_minor: payment.amount_minor,
        currency: payment.currency,
        reason: payment.reason,
        detail: payment.detail.clone(),
        attempts: payment.attempts,
        at: Some(event.occurred_at),
    }
}
