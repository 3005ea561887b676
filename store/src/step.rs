//! What the fold needs to know of an event, small enough to be read for all events of an order.
//!
//! A step stands in the column `step` of a fact as JSON: lists in place of objects, because their
//! names would be most of it.

use comanda_schemas::{
    Currency, Order, OrderEvent, OrderEventType, Payment, PaymentEvent, PaymentEventType,
    PaymentReport, PaymentReportType, Timestamp,
};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::{AnyEvent, Recorded};

/// What the fold needs to know of an event. Messages, and what the provider or an operator reported
/// of a payment's end, change nothing that is folded but the time of the last change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Step {
    #[serde(rename = "o")]
    Order(OrderStep),
    #[serde(rename = "p")]
    Payment(PaymentStep),
    #[serde(rename = "d")]
    Doubt(DoubtStep),
}

/// Which content an event carries, and what a list shows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Content {
    pub id: Uuid,
    pub total_minor: i64,
    pub currency: Currency,
}

/// An order event.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct OrderStep {
    pub event_id: Uuid,
    pub r#type: OrderEventType,
    pub version: i32,
    pub occurred_at: Timestamp,
    pub customer_id: String,
    pub content: Content,
    pub at: Recorded,
}

/// A payment event.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PaymentStep {
    pub event_id: Uuid,
    pub r#type: PaymentEventType,
    pub version: i32,
    pub occurred_at: Timestamp,
    pub content: Content,
    pub payment: Payment,
    /// Its own place in the log.
    pub place: (i32, i64),
    /// The place of the event that it is the result of.
    pub source: (i32, i64),
}

/// A report that an outcome is open.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DoubtStep {
    pub event_id: Uuid,
    pub occurred_at: Timestamp,
    pub provider: String,
    pub detail: Option<String>,
    pub attempts: i32,
}

impl Content {
    pub fn new(id: Uuid, order: &Order) -> Self {
        Self { id, total_minor: order.total_minor, currency: order.currency }
    }
}

impl Step {
    /// The step of an event whose content has the id `content`.
    pub fn new(at: &Recorded, event: &AnyEvent, content: Uuid) -> Option<Self> {
        match event {
            AnyEvent::Order(event) => Some(Self::Order(OrderStep::new(at, event, content))),
            AnyEvent::Payment(event) => Some(Self::Payment(PaymentStep::new(at, event, content))),
            AnyEvent::Report(event) => DoubtStep::new(event).map(Self::Doubt),
            AnyEvent::Notification(_) => None,
        }
    }
}

impl OrderStep {
    fn new(at: &Recorded, event: &OrderEvent, content: Uuid) -> Self {
        Self {
            event_id: event.event_id,
            r#type: event.r#type,
            version: event.version,
            occurred_at: event.occurred_at,
            customer_id: event.customer_id.clone(),
            content: Content::new(content, &event.order),
            at: at.clone(),
        }
    }
}

impl PaymentStep {
    fn new(at: &Recorded, event: &PaymentEvent, content: Uuid) -> Self {
        Self {
            event_id: event.event_id,
            r#type: event.r#type,
            version: event.version,
            occurred_at: event.occurred_at,
            content: Content::new(content, &event.order),
            payment: event.payment.clone(),
            place: (at.partition, at.offset),
            source: (event.source.partition, event.source.offset),
        }
    }
}

impl DoubtStep {
    fn new(report: &PaymentReport) -> Option<Self> {
        (report.r#type == PaymentReportType::InDoubt).then(|| Self {
            event_id: report.event_id,
            occurred_at: report.occurred_at,
            provider: report.provider.clone(),
            detail: report.detail.clone(),
            attempts: report.attempts,
        })
    }
}

/// Writes the fields as a list, which the derived `Deserialize` takes as well.
macro_rules! as_list {
    ($($name:ident($($field:ident),+);)+) => {
        $(impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                ($(&self.$field,)+).serialize(serializer)
            }
        })+
    };
}

as_list! {
    Content(id, total_minor, currency);
    OrderStep(event_id, r#type, version, occurred_at, customer_id, content, at);
    PaymentStep(event_id, r#type, version, occurred_at, content, payment, place, source);
    DoubtStep(event_id, occurred_at, provider, detail, attempts);
}
