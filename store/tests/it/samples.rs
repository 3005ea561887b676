//! Events to test with, and logs to find them in.

use std::collections::HashMap;

use comanda_schemas::{
    Contact, Currency, FailureReason, NotificationEvent, NotificationEventType, Order, OrderEvent,
    OrderEventType, OrderId, OrderLine, Payment, PaymentEvent, PaymentEventType, PaymentReport,
    PaymentReportType, Source, Timestamp,
};
use comanda_store::{AnyEvent, Applied, Recorded, StoredEvent};
use proptest::prelude::*;
use uuid::Uuid;

pub fn order(total_minor: i64) -> Order {
    Order {
        currency: Currency::parse("EUR").unwrap(),
        total_minor,
        lines: vec![OrderLine {
            sku: "PIZ-1".into(),
            name: "Margherita".into(),
            quantity: 1,
            unit_price_minor: total_minor,
        }],
        contact: Contact { name: "Ana Ruiz".into(), email: "ana@example.com".into() },
        payment_method: "pm_card_visa".into(),
        note: None,
    }
}

pub fn order_id(key: &str) -> OrderId {
    OrderId::derive("c-1", key)
}

/// An event that brings the order `key` to `version` at second `version * 10`, with a total of
/// as many hundreds.
pub fn asked(key: &str, version: i32, r#type: OrderEventType) -> OrderEvent {
    asked_for(key, version, r#type, order(i64::from(version) * 100))
}

/// One with another content.
pub fn asked_for(key: &str, version: i32, r#type: OrderEventType, order: Order) -> OrderEvent {
    let order_id = order_id(key);
    let event_id = match r#type {
        OrderEventType::Placed => OrderEvent::derive_id(order_id, version, r#type),
        _ => OrderEvent::derive_change_id(order_id, version, r#type, &order, None),
    };
    OrderEvent {
        event_id,
        r#type,
        order_id,
        version,
        occurred_at: seconds(i64::from(version) * 10),
        customer_id: "c-1".into(),
        order,
        reason: None,
        seen_offset: None,
    }
}

/// The result of `cause`, one second later.
pub fn result(cause: &OrderEvent, r#type: PaymentEventType) -> PaymentEvent {
    let failed = r#type == PaymentEventType::Failed;
    PaymentEvent {
        event_id: PaymentEvent::derive_id(cause.event_id),
        r#type,
        order_id: cause.order_id,
        version: cause.version,
        occurred_at: later(cause.occurred_at),
        order: cause.order.clone(),
        payment: Payment {
            provider: "stripe".into(),
            payment_id: Some(format!("pi_{}", cause.version)),
            amount_minor: cause.order.total_minor,
            currency: cause.order.currency,
            reason: failed.then_some(FailureReason::Declined),
            detail: failed.then(|| "card_declined".into()),
            attempts: 1,
        },
        source: Source { topic: "orders".into(), partition: 0, offset: 0 },
    }
}

/// The message about `cause`, one second later.
pub fn told(cause: &PaymentEvent, r#type: NotificationEventType) -> NotificationEvent {
    NotificationEvent {
        event_id: NotificationEvent::derive_id(cause.event_id),
        r#type,
        order_id: cause.order_id,
        occurred_at: later(cause.occurred_at),
        payment_event_id: cause.event_id,
        channel: "email".into(),
        template: "outcome".into(),
        provider: "resend".into(),
        message_id: Some("m-1".into()),
        detail: None,
        source: Source { topic: "payments".into(), partition: 0, offset: 0 },
    }
}

/// That the outcome of `cause` is open, half a second later.
pub fn doubt(cause: &OrderEvent) -> PaymentReport {
    PaymentReport {
        event_id: PaymentReport::in_doubt_id(cause.event_id),
        r#type: PaymentReportType::InDoubt,
        order_id: cause.order_id,
        version: cause.version,
        occurred_at: Timestamp::from_micros(cause.occurred_at.as_micros() + 500_000),
        provider: "stripe".into(),
        payment_id: None,
        outcome: None,
        amount_minor: None,
        currency: None,
        detail: Some("timeout".into()),
        attempts: 3,
        source: None,
    }
}

pub fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn later(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(time.as_micros() + 1_000_000)
}

/// The topics, each of two partitions, with what was appended to them.
#[derive(Debug, Clone, Default)]
pub struct Log {
    next: HashMap<(&'static str, i32), i64>,
    pub records: Vec<Applied>,
    /// Places of the order events, by the id of the result.
    causes: HashMap<Uuid, (i32, i64)>,
}

impl Log {
    pub fn order(&mut self, event: OrderEvent) -> &mut Self {
        self.append(AnyEvent::Order(event))
    }

    pub fn payment(&mut self, event: PaymentEvent) -> &mut Self {
        self.append(AnyEvent::Payment(event))
    }

    pub fn notification(&mut self, event: NotificationEvent) -> &mut Self {
        self.append(AnyEvent::Notification(event))
    }

    pub fn report(&mut self, event: PaymentReport) -> &mut Self {
        self.append(AnyEvent::Report(event))
    }

    pub fn append(&mut self, mut event: AnyEvent) -> &mut Self {
        let topic = match &event {
            AnyEvent::Order(_) => "orders",
            AnyEvent::Payment(_) => "payments",
            AnyEvent::Notification(_) => "notifications",
            AnyEvent::Report(_) => "payment-reports",
        };
        let partition = i32::from(event.order_id().as_uuid().as_bytes()[0] % 2);
        let next = self.next.entry((topic, partition)).or_default();
        let at = Recorded {
            topic: topic.into(),
            partition,
            offset: *next,
            timestamp: event.occurred_at(),
        };
        *next += 1;
        match &mut event {
            AnyEvent::Order(cause) => {
                let result = PaymentEvent::derive_id(cause.event_id);
                self.causes.entry(result).or_insert((at.partition, at.offset));
            }
            AnyEvent::Payment(result) => {
                if let Some((partition, offset)) = self.causes.get(&result.event_id).copied() {
                    result.source = Source { partition, offset, ..result.source.clone() };
                }
            }
            AnyEvent::Notification(_) | AnyEvent::Report(_) => {}
        }
        self.records.push(Applied { at, event: Some(event) });
        self
    }

    pub fn facts(&self) -> Vec<StoredEvent> {
        let fact = |record: &Applied| {
            Some(StoredEvent { at: record.at.clone(), event: record.event.clone()? })
        };
        self.records.iter().filter_map(fact).collect()
    }
}

/// Anything that the topics could say about a few orders, sense or not: versions that two
/// gateways raced for, with one content or two, doubts, results of any kind or none, messages.
pub fn logs() -> impl Strategy<Value = Log> {
    let change = (
        prop::sample::select(vec!["k-1", "k-2", "k-3"]),
        1..5i32,
        prop::sample::select(OrderEventType::ALL),
        1..4i64,
        prop::option::weighted(0.7, prop::sample::select(PaymentEventType::ALL)),
        prop::option::of(prop::sample::select(NotificationEventType::ALL)),
        any::<bool>(),
    );
    prop::collection::vec(change, 1..12).prop_map(|changes| {
        let mut log = Log::default();
        for (key, version, r#type, total, outcome, message, in_doubt) in changes {
            let cause = asked_for(key, version, r#type, order(total));
            let outcome = outcome.map(|outcome| result(&cause, outcome));
            let message = outcome.as_ref().zip(message).map(|(of, message)| told(of, message));
            let doubt = in_doubt.then(|| doubt(&cause));
            log.order(cause);
            doubt.map(|event| log.report(event).records.len());
            outcome.map(|event| log.payment(event).records.len());
            message.map(|event| log.notification(event).records.len());
        }
        log
    })
}
