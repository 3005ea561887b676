//! From the events of an order to the order.
//!
//! A pure function of the set of events: neither the order in which they came nor how often each
//! came makes a difference, so that topics may be read at any pace relative to each other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use comanda_schemas::{NotificationEvent, Order, OrderEvent, PaymentEvent, PaymentEventType};
use uuid::Uuid;

use crate::timeline::{timeline, without_addresses};
use crate::{
    AnyEvent, NotificationView, OrderStatus, OrderView, PaymentStatus, PaymentView, Recorded,
    StoredEvent,
};

/// The order that `facts` tell of; `None` until its first order event is among them.
///
/// `facts` are events of one order. A charge decides over everything but its refund: whatever
/// came after it left the order as charged. Without one, the latest version counts that was not
/// rejected.
pub fn fold(facts: &[StoredEvent]) -> Option<OrderView> {
    let facts = Facts::sort(facts);
    let (receipt, first) = facts.orders.first()?;
    let charge = facts.payment_of_type(PaymentEventType::Succeeded);
    let refund = facts.payment_of_type(PaymentEventType::Refunded);
    let version = facts.versions().max()?;
    let current = facts.versions().filter(|v| !facts.rejected(*v)).max().unwrap_or(version);
    let result = refund.or(charge).or_else(|| facts.result_of(current));
    let order = match charge.or(refund) {
        Some(charged) => &charged.order,
        None => facts.content_of(current)?,
    };
    let timeline = timeline(&facts);
    Some(OrderView {
        id: first.order_id,
        customer_id: first.customer_id.clone(),
        version,
        status: status(result),
        placed_at: first.occurred_at,
        updated_at: timeline.iter().map(|entry| entry.at).max()?,
        payment: payment_view(result, order),
        notifications: facts.notifications.iter().map(|(_, n)| notification_view(n)).collect(),
        timeline,
        receipt: (*receipt).clone(),
        order: order.clone(),
    })
}

/// The place of a record among those of one key. Partitions are only ever added to a topic, with
/// higher numbers, so what a key has in a lower partition is older.
pub(crate) fn place(at: &Recorded) -> (i32, i64) {
    (at.partition, at.offset)
}

/// The events of one order, each once, by topic.
pub(crate) struct Facts<'a> {
    /// By version, then place in the log.
    pub orders: Vec<(&'a Recorded, &'a OrderEvent)>,
    /// By version, then place in the log.
    pub payments: Vec<(&'a Recorded, &'a PaymentEvent)>,
    /// By time, then id.
    pub notifications: Vec<(&'a Recorded, &'a NotificationEvent)>,
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
        let mut sorted =
            Self { orders: Vec::new(), payments: Vec::new(), notifications: Vec::new() };
        for StoredEvent { at, event } in first.into_values() {
            match event {
                AnyEvent::Order(event) => sorted.orders.push((at, event)),
                AnyEvent::Payment(event) => sorted.payments.push((at, event)),
                AnyEvent::Notification(event) => sorted.notifications.push((at, event)),
            }
        }
        sorted.orders.sort_by_key(|(at, event)| (event.version, place(at)));
        sorted.payments.sort_by_key(|(at, event)| (event.version, place(at)));
        sorted.notifications.sort_by_key(|(_, event)| (event.occurred_at, event.event_id));
        sorted
    }

    /// A result proves its version even where the order event has not been read yet.
    fn versions(&self) -> impl Iterator<Item = i32> {
        let orders = self.orders.iter().map(|(_, event)| event.version);
        orders.chain(self.payments.iter().map(|(_, event)| event.version))
    }

    fn payment_of_type(&self, r#type: PaymentEventType) -> Option<&'a PaymentEvent> {
        self.payments.iter().map(|(_, event)| *event).find(|event| event.r#type == r#type)
    }

    fn rejected(&self, version: i32) -> bool {
        self.result_of(version).is_some_and(|p| p.r#type == PaymentEventType::ChangeRejected)
    }

    fn result_of(&self, version: i32) -> Option<&'a PaymentEvent> {
        self.payments.iter().map(|(_, event)| *event).rfind(|event| event.version == version)
    }

    fn content_of(&self, version: i32) -> Option<&'a Order> {
        let asked = self.orders.iter().rfind(|(_, event)| event.version == version);
        asked.map(|(_, event)| &event.order).or_else(|| Some(&self.result_of(version)?.order))
    }
}

fn status(result: Option<&PaymentEvent>) -> OrderStatus {
    match result.map(|result| result.r#type) {
        Some(PaymentEventType::Succeeded) => OrderStatus::Paid,
        Some(PaymentEventType::Failed) => OrderStatus::PaymentFailed,
        Some(PaymentEventType::Refunded) => OrderStatus::Refunded,
        Some(PaymentEventType::Voided) => OrderStatus::Cancelled,
        Some(PaymentEventType::ChangeRejected | PaymentEventType::Unknown) | None => {
            OrderStatus::Pending
        }
    }
}

fn payment_view(result: Option<&PaymentEvent>, order: &Order) -> PaymentView {
    let Some(event) = result else {
        return PaymentView {
            status: PaymentStatus::Pending,
            provider: None,
            payment_id: None,
            amount_minor: order.total_minor,
            currency: order.currency,
            reason: None,
            detail: None,
            attempts: 0,
            at: None,
        };
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
