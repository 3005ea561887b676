//! From the events of an order to the order.
//!
//! A pure function of the set of events: neither the order in which they came nor how often each
//! came makes a difference, so that topics may be read at any pace relative to each other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use comanda_schemas::{
    NotificationEvent, Order, OrderEvent, PaymentEvent, PaymentEventType, PaymentReport,
    PaymentReportType, Race, Timestamp,
};
use uuid::Uuid;

use crate::timeline::{timeline, without_addresses};
use crate::{
    AnyEvent, NotificationView, OrderStatus, OrderView, PaymentStatus, PaymentView, Recorded,
    StoredEvent,
};

/// The order that `facts` tell of; `None` until its first order event is among them.
///
/// `facts` are events of one order. What was given back or charged decides: whatever came after it
/// left the order as charged. Without that, the latest event counts that was not rejected.
pub fn fold(facts: &[StoredEvent]) -> Option<OrderView> {
    let facts = Facts::sort(facts);
    let (receipt, first) = facts.orders.first()?;
    let steps = facts.steps();
    let current = steps.iter().rfind(|step| step.counts).or(steps.last())?;
    let (status, result) = outcome(&steps, current);
    let charge = succeeded(&steps).last();
    let order = match (status, result) {
        (OrderStatus::Paid | OrderStatus::Refunded, Some(result)) => {
            &charge.unwrap_or(result).order
        }
        (OrderStatus::Cancelled, Some(void)) => &void.order,
        _ => current.content()?,
    };
    let timeline = timeline(&facts);
    let open = waiting(&steps);
    let doubt = open.iter().find_map(|step| step.doubt);
    Some(OrderView {
        id: first.order_id,
        customer_id: first.customer_id.clone(),
        version: steps.iter().map(|step| step.version).max()?,
        status,
        placed_at: first.occurred_at,
        updated_at: timeline.iter().map(|entry| entry.at).max()?,
        waiting_since: open.first().and_then(Step::asked_at),
        payment: payment_view(result, doubt, order),
        notifications: facts.notifications.iter().map(|(_, n)| notification_view(n)).collect(),
        timeline,
        receipt: (*receipt).clone(),
        order: order.clone(),
        latest: current.content()?.clone(),
    })
}

/// The place of a record among those of one key. Partitions are only ever added to a topic, with
/// higher numbers, so what a key has in a lower partition is older.
pub(crate) fn place(at: &Recorded) -> (i32, i64) {
    (at.partition, at.offset)
}

/// The events of one order, each once, by topic.
pub(crate) struct Facts<'a> {
    /// By place in the log.
    pub orders: Vec<(&'a Recorded, &'a OrderEvent)>,
    /// By version, then place in the log.
    pub payments: Vec<(&'a Recorded, &'a PaymentEvent)>,
    /// By time, then id.
    pub notifications: Vec<(&'a Recorded, &'a NotificationEvent)>,
    /// By time, then id.
    pub reports: Vec<(&'a Recorded, &'a PaymentReport)>,
}

impl<'a> Facts<'a> {
    fn sort(facts: &'a [StoredEvent]) -> Self {
        let mut first: HashMap<Uuid, &StoredEvent> = HashMap::with_capacity(facts.len());
        for fact in facts {
            match first.entry(fact.event.event_id()) {
                Entry::Occupied(mut seen) if place(&fact.at) < place(&seen.get().at) => {
                    seen.insert(fact);
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(new) => {
                    new.insert(fact);
                }
            }
        }
        let mut sorted = Self {
            orders: Vec::new(),
            payments: Vec::new(),
            notifications: Vec::new(),
            reports: Vec::new(),
        };
        for StoredEvent { at, event } in first.into_values() {
            match event {
                AnyEvent::Order(event) => sorted.orders.push((at, event)),
                AnyEvent::Payment(event) => sorted.payments.push((at, event)),
                AnyEvent::Notification(event) => sorted.notifications.push((at, event)),
                AnyEvent::Report(event) => sorted.reports.push((at, event)),
            }
        }
        sorted.orders.sort_by_key(|(at, _)| place(at));
        sorted.payments.sort_by_key(|(at, event)| (event.version, place(at)));
        sorted.notifications.sort_by_key(|(_, event)| (event.occurred_at, event.event_id));
        sorted.reports.sort_by_key(|(_, event)| (event.occurred_at, event.event_id));
        sorted
    }

    /// What was asked for, in the order of the log, with what came of it.
    fn steps(&self) -> Vec<Step<'a>> {
        let mut results: HashMap<Uuid, &'a PaymentEvent> =
            self.payments.iter().map(|(_, result)| (result.event_id, *result)).collect();
        let doubts = self.reports.iter().map(|(_, report)| *report);
        let doubts = doubts.filter(|report| report.r#type == PaymentReportType::InDoubt);
        let doubts: HashMap<Uuid, &'a PaymentReport> =
            doubts.map(|report| (report.event_id, report)).collect();
        let mut race = Race::default();
        let asked = self.orders.iter().map(|(at, event)| {
            let result = results.remove(&PaymentEvent::derive_id(event.event_id));
            let won = race.enter(event).is_some_and(|entered| entered.is_ok());
            let counts = result.map_or(won, |result| !is_rejection(result));
            Step {
                place: place(at),
                version: event.version,
                asked: Some(event),
                doubt: doubts.get(&PaymentReport::in_doubt_id(event.event_id)).copied(),
                result,
                counts,
            }
        });
        let mut steps: Vec<Step<'a>> = asked.collect();
        // A result proves its event even where that has not been read yet.
        let alone =
            self.payments.iter().filter(|(_, result)| results.contains_key(&result.event_id));
        steps.extend(alone.map(|(_, result)| Step {
            place: (result.source.partition, result.source.offset),
            version: result.version,
            asked: None,
            doubt: None,
            result: Some(result),
            counts: !is_rejection(result),
        }));
        steps.sort_by_key(|step| (step.place, step.version));
        steps
    }
}

/// One thing that was asked for.
struct Step<'a> {
    place: (i32, i64),
    version: i32,
    asked: Option<&'a OrderEvent>,
    /// That its outcome was open once.
    doubt: Option<&'a PaymentReport>,
    result: Option<&'a PaymentEvent>,
    /// Whether it was not rejected, or will not be, as far as can be told.
    counts: bool,
}

impl<'a> Step<'a> {
    fn content(&self) -> Option<&'a Order> {
        self.asked.map(|event| &event.order).or(self.result.map(|result| &result.order))
    }

    fn asked_at(&self) -> Option<Timestamp> {
        self.asked.map(|event| event.occurred_at)
    }
}

/// The steps that still wait for their results. One that has a result behind it waits no more:
/// events of an order are handled one after another, so it became a dead letter.
fn waiting<'s, 'a>(steps: &'s [Step<'a>]) -> &'s [Step<'a>] {
    let handled = steps.iter().rposition(|step| step.result.is_some());
    &steps[handled.map_or(0, |last| last + 1)..]
}

fn is_rejection(result: &PaymentEvent) -> bool {
    result.r#type == PaymentEventType::ChangeRejected
}

/// All that says that the order is paid, in the order of the log.
fn succeeded<'a>(steps: &[Step<'a>]) -> impl DoubleEndedIterator<Item = &'a PaymentEvent> {
    let results = steps.iter().filter_map(|step| step.result);
    results.filter(|result| result.r#type == PaymentEventType::Succeeded)
}

/// Where the order stands, and the result that says so.
fn outcome<'a>(steps: &[Step<'a>], current: &Step<'a>) -> (OrderStatus, Option<&'a PaymentEvent>) {
    use PaymentEventType::{Failed, Refunded, Voided};
    let moved_money = |result: &&PaymentEvent| result.payment.payment_id.is_some();
    let results = || steps.iter().filter_map(|step| step.result);
    if let Some(refund) = results().filter(moved_money).find(|result| result.r#type == Refunded) {
        return (OrderStatus::Refunded, Some(refund));
    }
    // The first of those that tell of one charge made it.
    let charge = succeeded(steps).last().and_then(|last| {
        succeeded(steps).find(|result| result.payment.payment_id == last.payment.payment_id)
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
    result: Option<&PaymentEvent>,
    doubt: Option<&PaymentReport>,
    order: &Order,
) -> PaymentView {
    let settled = settled_view(result, order);
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

fn settled_view(result: Option<&PaymentEvent>, order: &Order) -> PaymentView {
    let Some(event) = result else {
        return PaymentView::pending(order);
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

fn notification_view(event: &NotificationEvent) -> NotificationView {
    NotificationView {
        status: event.r#type,
        channel: event.channel.clone(),
        template: event.template.clone(),
        provider: event.provider.clone(),
        message_id: event.message_id.clone(),
        detail: event.detail.as_deref().map(without_addresses),
        at: event.occurred_at,
    }
}
