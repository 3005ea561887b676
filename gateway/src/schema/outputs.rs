//! Orders as GraphQL shows them.

use std::sync::Arc;

use async_graphql::{Enum, ID, Object, SimpleObject};
use comanda_schemas::{FailureReason as Reason, NotificationEventType};
use comanda_store::{NotificationView, OrderView, PaymentView, Recorded};

use super::scalars::{DateTime, Long};
use crate::receipt;

/// Where an order stands.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "comanda_store::OrderStatus")]
pub(crate) enum OrderStatus {
    /// Its latest version has no result yet.
    Pending,
    /// Charged.
    Paid,
    /// The latest version could not be charged.
    PaymentFailed,
    /// Cancelled before any charge.
    Cancelled,
    /// Charged, and the charge given back.
    Refunded,
}

/// Where the payment of an order stands.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "comanda_store::PaymentStatus")]
pub(crate) enum PaymentStatus {
    /// No result yet.
    Pending,
    /// Charged.
    Succeeded,
    /// Not charged.
    Failed,
    /// Charged and given back.
    Refunded,
    /// Cancelled before any charge.
    Voided,
    /// Nobody can tell yet whether it was charged.
    Unknown,
}

/// Why nothing was charged.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Reason")]
pub(crate) enum FailureReason {
    /// The payment method was declined.
    Declined,
    /// The payment provider could not be reached.
    Unreachable,
    /// The provider refused the request itself.
    Invalid,
    /// None of these.
    Unknown,
}

/// What became of a message to the customer.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "NotificationEventType")]
pub(crate) enum NotificationStatus {
    /// The mail provider took it.
    Sent,
    /// It was refused for good.
    Failed,
    /// Neither, in words newer than this gateway.
    Unknown,
}

/// What can happen to an order.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "comanda_store::TimelineKind")]
pub(crate) enum OrderEventType {
    /// The order was placed.
    OrderPlaced,
    /// The client changed it, or asked for another try at the payment.
    OrderUpdated,
    /// The client cancelled it.
    OrderCancelled,
    /// It was charged.
    PaymentSucceeded,
    /// It could not be charged.
    PaymentFailed,
    /// The charge was given back.
    PaymentRefunded,
    /// It was cancelled before any charge.
    PaymentVoided,
    /// A change was not made: it came after the charge, after a cancellation, or after another
    /// change to the same version. The detail says which.
    ChangeRejected,
    /// A request was sent to the payment provider and nobody can tell yet what came of it.
    PaymentInDoubt,
    /// The payment provider told later how the payment ended.
    PaymentReported,
    /// An operator said how the payment ended.
    PaymentResolved,
    /// The customer was told.
    NotificationSent,
    /// The customer could not be told.
    NotificationFailed,
    /// Something newer than this gateway.
    Unknown,
}

/// Entries of a timeline, and messages, that an answer has where nothing is said; no more can be
/// asked for.
pub(crate) const TIMELINE: u32 = 100;

/// An order with everything that happened to it.
#[derive(Debug)]
pub(crate) struct WholeOrder {
    /// Its id, a UUID.
    pub id: ID,
    /// Who ordered.
    pub customer_id: ID,
    /// Where it stands.
    pub status: OrderStatus,
    /// Its version, counted from 1; every change makes the next one.
    pub version: i32,
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// Sum of the lines in minor units of the currency.
    pub total_minor: Long,
    /// What is ordered.
    pub lines: Vec<OrderLine>,
    /// Whom to tell about the outcome.
    pub contact: Contact,
    /// The payment provider's token of the payment method.
    pub payment_method: String,
    /// A note for the kitchen.
    pub note: Option<String>,
    /// When it was placed.
    pub placed_at: DateTime,
    /// When the last thing happened to it.
    pub updated_at: DateTime,
    /// Its payment.
    pub payment: Payment,
    /// The messages to the customer, oldest first.
    pub notifications: Vec<Notification>,
    /// The latest of what happened to it, oldest first: as much as [`TIMELINE`] says.
    pub timeline: Vec<TimelineEntry>,
    /// What happened before, oldest first.
    pub earlier: Vec<TimelineEntry>,
    /// Where the event is stored that placed it.
    pub receipt: Receipt,
}

/// A line of an order.
#[derive(SimpleObject, Debug, Clone)]
#[graphql(serial)]
pub(crate) struct OrderLine {
    /// The restaurant's own code of the dish.
    pub sku: String,
    /// The dish as the customer saw it.
    pub name: String,
    /// How many.
    pub quantity: i32,
    /// Price of one in minor units.
    pub unit_price_minor: Long,
    /// Quantity times price in minor units.
    pub total_minor: Long,
}

/// Whom to tell about the outcome.
#[derive(SimpleObject, Debug, Clone)]
#[graphql(serial)]
pub(crate) struct Contact {
    /// The person's name.
    pub name: String,
    /// E-mail address.
    pub email: String,
}

/// The payment of an order.
#[derive(SimpleObject, Debug, Clone)]
#[graphql(serial)]
pub(crate) struct Payment {
    /// Where it stands.
    pub status: PaymentStatus,
    /// Payment provider that was asked; null while there is no result.
    pub provider: Option<String>,
    /// The provider's id of the payment.
    pub payment_id: Option<String>,
    /// Amount in minor units.
    pub amount_minor: Long,
    /// ISO 4217 code of the amount.
    pub currency: String,
    /// Why nothing was charged; null where it was.
    pub reason: Option<FailureReason>,
    /// The provider's own code or words for the reason.
    pub detail: Option<String>,
    /// Requests that were sent to the provider for the result.
    pub attempts: i32,
    /// When the result was known.
    pub at: Option<DateTime>,
}

/// A message to the customer.
#[derive(SimpleObject, Debug, Clone)]
#[graphql(serial)]
pub(crate) struct Notification {
    /// What became of it.
    pub status: NotificationStatus,
    /// How the customer was told: email.
    pub channel: String,
    /// Template of the message.
    pub template: String,
    /// Mail provider that was asked.
    pub provider: String,
    /// The provider's id of the message.
    pub message_id: Option<String>,
    /// The provider's own code or words for a failure.
    pub detail: Option<String>,
    /// When the provider answered.
    pub at: DateTime,
}

/// One thing that happened to an order.
#[derive(SimpleObject, Debug, Clone)]
#[graphql(serial)]
pub(crate) struct TimelineEntry {
    /// What happened.
    pub r#type: OrderEventType,
    /// Version of the order it is about, where that is known.
    pub version: Option<i32>,
    /// When it happened.
    pub at: DateTime,
    /// Why, in a few words.
    pub detail: Option<String>,
    /// The event that tells of it, a UUID.
    pub event_id: ID,
    /// Where that event is stored.
    pub receipt: Option<Receipt>,
}

/// The type `Receipt`.
#[derive(Debug, Clone)]
pub(crate) struct Receipt(pub Arc<Recorded>);

/// Where an event is stored on Kafka. Whoever has it knows that all in-sync replicas have the
/// event.
#[Object(serial)]
impl Receipt {
    /// Topic.
    async fn topic(&self) -> &str {
        &self.0.topic
    }

    /// Partition of the topic.
    async fn partition(&self) -> i32 {
        self.0.partition
    }

    /// Offset in the partition.
    async fn offset(&self) -> Long {
        self.0.offset.into()
    }

    /// Timestamp of the record.
    async fn timestamp(&self) -> DateTime {
        self.0.timestamp.into()
    }

    /// All of this as one word: a query that is given it waits until it can see the event.
    async fn token(&self) -> String {
        receipt::token(&self.0)
    }
}

impl From<OrderView> for WholeOrder {
    fn from(view: OrderView) -> Self {
        let order = view.order;
        let mut earlier: Vec<_> = view.timeline.into_iter().map(TimelineEntry::from).collect();
        let timeline = earlier.split_off(earlier.len().saturating_sub(TIMELINE as usize));
        Self {
            id: view.id.to_string().into(),
            customer_id: view.customer_id.into(),
            status: view.status.into(),
            version: view.version,
            currency: order.currency.code().to_owned(),
            total_minor: order.total_minor.into(),
            lines: order.lines.into_iter().map(OrderLine::from).collect(),
            contact: order.contact.into(),
            payment_method: order.payment_method,
            note: order.note,
            placed_at: view.placed_at.into(),
            updated_at: view.updated_at.into(),
            payment: view.payment.into(),
            notifications: view.notifications.into_iter().map(Notification::from).collect(),
            timeline,
            earlier,
            receipt: Receipt(view.receipt.into()),
        }
    }
}

impl From<comanda_schemas::Contact> for Contact {
    fn from(comanda_schemas::Contact { name, email }: comanda_schemas::Contact) -> Self {
        Self { name, email }
    }
}

impl From<comanda_schemas::OrderLine> for OrderLine {
    fn from(line: comanda_schemas::OrderLine) -> Self {
        let total = line.unit_price_minor.saturating_mul(line.quantity.into());
        Self {
            sku: line.sku,
            name: line.name,
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor.into(),
            total_minor: total.into(),
        }
    }
}

impl From<PaymentView> for Payment {
    fn from(payment: PaymentView) -> Self {
        Self {
            status: payment.status.into(),
            provider: payment.provider,
            payment_id: payment.payment_id,
            amount_minor: payment.amount_minor.into(),
            currency: payment.currency.code().to_owned(),
            reason: payment.reason.map(FailureReason::from),
            detail: payment.detail,
            attempts: payment.attempts,
            at: payment.at.map(DateTime::from),
        }
    }
}

impl From<NotificationView> for Notification {
    fn from(notification: NotificationView) -> Self {
        Self {
            status: notification.status.into(),
            channel: notification.channel,
            template: notification.template,
            provider: notification.provider,
            message_id: notification.message_id,
            detail: notification.detail,
            at: notification.at.into(),
        }
    }
}

impl From<comanda_store::TimelineEntry> for TimelineEntry {
    fn from(entry: comanda_store::TimelineEntry) -> Self {
        Self {
            r#type: entry.kind.into(),
            version: entry.version,
            at: entry.at.into(),
            detail: entry.detail,
            event_id: entry.event_id.to_string().into(),
            receipt: Some(Receipt(entry.recorded.into())),
        }
    }
}
