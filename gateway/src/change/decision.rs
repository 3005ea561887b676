//! What becomes of a change, going by what the order store shows.

use std::collections::HashSet;

use comanda_schemas::{Order, OrderEvent, OrderEventType, PaymentEvent};
use comanda_store::{AnyEvent, OrderStatus, OrderView, Recorded, StoredEvent, TimelineKind};
use uuid::Uuid;

use crate::input::{Ask, Change, Edit, ErrorCode, UserError};

/// How much an order may change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub versions: i32,
    /// Changes that have no result yet.
    pub open: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is to be written.
    Write(Wanted),
    /// It stands in the log at this place, or there is nothing to change since.
    Done(Recorded),
    Refuse(Vec<UserError>),
}

/// What is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub r#type: OrderEventType,
    /// The order after the change.
    pub order: Order,
    pub reason: Option<String>,
}

/// What becomes of `ask` with an order that `facts` tell of. A cancellation ends an order, so it is
/// never one too many.
pub(super) fn decide(
    order: &OrderView,
    facts: &[StoredEvent],
    ask: &Ask,
    bounds: Bounds,
) -> Decision {
    match decide_alone(order, facts, ask) {
        Decision::Write(wanted) if wanted.r#type != OrderEventType::Cancelled => {
            match one_too_many(order, facts, bounds) {
                Some(error) => refuse(error),
                None => Decision::Write(wanted),
            }
        }
        decision => decision,
    }
}

/// What keeps the order from being changed once more, whatever the change is.
fn one_too_many(order: &OrderView, facts: &[StoredEvent], bounds: Bounds) -> Option<UserError> {
    let refused = |message| error(ErrorCode::TooManyChanges, "orderId", message);
    let Bounds { versions, open } = bounds;
    if order.version >= versions {
        return Some(refused(format!("an order has at most {versions} versions")));
    }
    if open_changes(facts) < open {
        return None;
    }
    let message = format!("{open} changes of the order have no result yet; try again later");
    Some(UserError { retriable: true, ..refused(message) })
}

/// How many changes of an order have no result yet. One that has a result behind it waits no more: it
/// became a dead letter.
fn open_changes(facts: &[StoredEvent]) -> usize {
    let results: HashSet<Uuid> = facts
        .iter()
        .filter_map(|fact| match &fact.event {
            AnyEvent::Payment(result) => Some(result.event_id),
            AnyEvent::Order(_) | AnyEvent::Notification(_) | AnyEvent::Report(_) => None,
        })
        .collect();
    let mut asked: Vec<((i32, i64), &OrderEvent)> = facts
        .iter()
        .filter_map(|fact| match &fact.event {
            AnyEvent::Order(event) => Some(((fact.at.partition, fact.at.offset), event)),
            AnyEvent::Payment(_) | AnyEvent::Notification(_) | AnyEvent::Report(_) => None,
        })
        .collect();
    asked.sort_by_key(|(place, _)| *place);
    let has_result =
        |event: &OrderEvent| results.contains(&PaymentEvent::derive_id(event.event_id));
    let open = asked.iter().rev().take_while(|(_, event)| !has_result(event));
    open.filter(|(_, event)| event.r#type != OrderEventType::Placed).count()
}

/// What becomes of `ask` where the order may have as many changes as there are.
fn decide_alone(order: &OrderView, facts: &[StoredEvent], ask: &Ask) -> Decision {
    if let Some(expected) = ask.expected_version.filter(|version| *version != order.version) {
        return match written_before(facts, expected, &ask.change) {
            Some(at) => Decision::Done(at.clone()),
            None => refuse(conflict(expected, order.version)),
        };
    }
    if order.timeline.iter().any(|entry| entry.kind == TimelineKind::OrderCancelled) {
        let message = match order.status {
            OrderStatus::Cancelled | OrderStatus::Refunded => "the order is cancelled",
            _ => "the order is about to be cancelled",
        };
        return refuse(error(ErrorCode::OrderCancelled, "orderId", message));
    }
    match &ask.change {
        Change::Update(edit) => update(order, edit),
        Change::Cancel { reason } => Decision::Write(Wanted {
            r#type: OrderEventType::Cancelled,
            order: order.order.clone(),
            reason: reason.clone(),
        }),
        Change::Retry { payment_method } => retry(order, payment_method.as_ref()),
    }
}

fn update(order: &OrderView, edit: &Edit) -> Decision {
    let is_paid = order.status == OrderStatus::Paid;
    // A change of the lines that was still written before the charge was known will be rejected.
    let is_lost = is_paid && order.latest.terms() != order.order.terms();
    let before = if is_lost { &order.order } else { &order.latest };
    let mut after = before.clone();
    edit.apply(&mut after);
    if after == *before {
        let latest = order.timeline.iter().rfind(|entry| is_order_event(entry.kind));
        return Decision::Done(latest.map_or(&order.receipt, |entry| &entry.recorded).clone());
    }
    let mut errors = Vec::new();
    if is_paid && after.lines != before.lines {
        let message = "the order is paid: its lines can't be changed any more";
        errors.push(error(ErrorCode::OrderPaid, "lines", message));
    }
    if is_paid && after.payment_method != before.payment_method {
        let message = "the order is paid: its payment method can't be changed any more";
        errors.push(error(ErrorCode::OrderPaid, "paymentMethod", message));
    }
    if errors.is_empty() { Decision::Write(updated(after)) } else { Decision::Refuse(errors) }
}

fn retry(order: &OrderView, payment_method: Option<&String>) -> Decision {
    if order.status != OrderStatus::PaymentFailed {
        let status = order.status.as_str();
        let message = format!("no payment failed: the order is {status}");
        return refuse(error(ErrorCode::PaymentNotFailed, "orderId", message));
    }
    let mut after = order.latest.clone();
    after.payment_method = payment_method.cloned().unwrap_or(after.payment_method);
    Decision::Write(updated(after))
}

fn updated(order: Order) -> Wanted {
    Wanted { r#type: OrderEventType::Updated, order, reason: None }
}

/// Where the same request was written after the version that it expects.
fn written_before<'f>(
    facts: &'f [StoredEvent],
    expected: i32,
    change: &Change,
) -> Option<&'f Recorded> {
    let is_it = |event: &OrderEvent| {
        let asks = match change {
            Change::Update(edit) => {
                let mut again = event.order.clone();
                edit.apply(&mut again);
                event.r#type == OrderEventType::Updated && again == event.order
            }
            Change::Cancel { reason } => {
                event.r#type == OrderEventType::Cancelled && event.reason == *reason
            }
            Change::Retry { payment_method } => {
                let method = payment_method.as_ref().unwrap_or(&event.order.payment_method);
                event.r#type == OrderEventType::Updated && event.order.payment_method == *method
            }
        };
        asks && expected.checked_add(1) == Some(event.version)
    };
    facts.iter().find_map(|fact| match &fact.event {
        AnyEvent::Order(event) => is_it(event).then_some(&fact.at),
        AnyEvent::Payment(_) | AnyEvent::Notification(_) | AnyEvent::Report(_) => None,
    })
}

fn is_order_event(kind: TimelineKind) -> bool {
    use TimelineKind::{OrderCancelled, OrderPlaced, OrderUpdated};
    matches!(kind, OrderPlaced | OrderUpdated | OrderCancelled)
}

fn conflict(expected: i32, version: i32) -> UserError {
    let message = format!("the order has version {version}");
    // The client is ahead of the order store, which will get there.
    let retriable = expected > version;
    UserError { retriable, ..error(ErrorCode::VersionConflict, "expectedVersion", message) }
}

fn error(code: ErrorCode, field: &str, message: impl Into<String>) -> UserError {
    UserError::new(code, &["input", field], message)
}

fn refuse(error: UserError) -> Decision {
    Decision::Refuse(vec![error])
}

impl Edit {
    /// Makes `order` what it is to be.
    fn apply(&self, order: &mut Order) {
        let Self { lines, payment_method, contact, note } = self;
        if let Some((lines, total_minor)) = lines {
            order.lines.clone_from(lines);
            order.total_minor = *total_minor;
        }
        if let Some(payment_method) = payment_method {
            order.payment_method.clone_from(payment_method);
        }
        if let Some(contact) = contact {
            order.contact.clone_from(contact);
        }
        if let Some(note) = note {
            order.note.clone_from(note);
        }
    }
}

#[cfg(test)]
mod tests;
