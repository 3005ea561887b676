//! What the projector hands to the store: events, and where each is stored on Kafka.

use comanda_schemas::{
    Event, NotificationEvent, Order, OrderEvent, OrderId, PaymentEvent, PaymentReport, Timestamp,
    Topic,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An event of any of the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyEvent {
    /// Of [`Topic::Orders`].
    Order(OrderEvent),
    /// Of [`Topic::Payments`].
    Payment(PaymentEvent),
    /// Of [`Topic::Notifications`].
    Notification(NotificationEvent),
    /// Of [`Topic::PaymentReports`].
    Report(PaymentReport),
}

impl AnyEvent {
    /// The event's id; an event read twice has it twice.
    pub fn event_id(&self) -> Uuid {
        match self {
            Self::Order(event) => event.event_id(),
            Self::Payment(event) => event.event_id(),
            Self::Notification(event) => event.event_id(),
            Self::Report(event) => event.event_id(),
        }
    }

    /// The order it belongs to.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Order(event) => event.order_id(),
            Self::Payment(event) => event.order_id(),
            Self::Notification(event) => event.order_id(),
            Self::Report(event) => event.order_id(),
        }
    }

    /// When it happened.
    pub fn occurred_at(&self) -> Timestamp {
        match self {
            Self::Order(event) => event.occurred_at(),
            Self::Payment(event) => event.occurred_at(),
            Self::Notification(event) => event.occurred_at(),
            Self::Report(event) => event.occurred_at(),
        }
    }

    /// What the order contained by it, where it says so.
    pub fn content(&self) -> Option<&Order> {
        match self {
            Self::Order(event) => Some(&event.order),
            Self::Payment(event) => Some(&event.order),
            Self::Notification(_) | Self::Report(_) => None,
        }
    }

    /// As [`AnyEvent::content`], to be changed.
    pub(crate) fn content_mut(&mut self) -> Option<&mut Order> {
        match self {
            Self::Order(event) => Some(&mut event.order),
            Self::Payment(event) => Some(&mut event.order),
            Self::Notification(_) | Self::Report(_) => None,
        }
    }

    /// The version of the order that it is about, where it says so.
    pub(crate) fn version(&self) -> Option<i32> {
        match self {
            Self::Order(event) => Some(event.version),
            Self::Payment(event) => Some(event.version),
            Self::Report(event) => Some(event.version),
            Self::Notification(_) => None,
        }
    }

    /// The topic that carries such events.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Order(_) => OrderEvent::TOPIC,
            Self::Payment(_) => PaymentEvent::TOPIC,
            Self::Notification(_) => NotificationEvent::TOPIC,
            Self::Report(_) => PaymentReport::TOPIC,
        }
    }
}

/// Where and when Kafka stored a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Full name of the topic.
    pub topic: String,
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// The record's timestamp.
    pub timestamp: Timestamp,
}

impl Recorded {
    /// How far its partition has been read once it has been applied.
    pub fn passed(&self) -> Position {
        let Self { topic, partition, offset, .. } = self;
        let next_offset = offset.saturating_add(1);
        Position { topic: topic.clone(), partition: *partition, next_offset }
    }
}

/// One record to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its place; the position moves past it.
    pub at: Recorded,
    /// What it says; `None` where there is nothing to fold and only the position moves.
    pub event: Option<AnyEvent>,
}

/// An event that the store has, and its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The record; the first one where the event was recorded more than once.
    pub at: Recorded,
    /// The event.
    pub event: AnyEvent,
}

/// How far a partition has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Full name of the topic.
    pub topic: String,
    /// Partition of the topic.
    pub partition: i32,
    /// The offset to go on from: everything below it has been applied.
    pub next_offset: i64,
}
