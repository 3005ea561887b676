//! An order as a reader sees it.

use comanda_schemas::{
    Currency, FailureReason, NotificationEventType, Order, OrderEvent, OrderEventType, OrderId,
    PaymentEventType, PaymentReportType, Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AnyEvent, Recorded, timeline};

/// Declares an enum whose values have a fixed text form.
macro_rules! symbols {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $symbol:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $symbol)] $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value as text, in capitals.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $symbol,)+
                }
            }

            /// The value of a text; `None` where it is that of none.
            pub fn from_symbol(symbol: &str) -> Option<Self> {
                match symbol {
                    $($symbol => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

symbols!(
    /// Where an order stands.
    OrderStatus {
        /// Its latest version has no result yet.
        Pending = "PENDING",
        /// Charged.
        Paid = "PAID",
        /// The latest version could not be charged.
        PaymentFailed = "PAYMENT_FAILED",
        /// Cancelled before any charge.
        Cancelled = "CANCELLED",
        /// Charged, and the charge given back.
        Refunded = "REFUNDED",
    }
);

symbols!(
    /// Where the payment of an order stands.
    PaymentStatus {
        /// No result yet.
        Pending = "PENDING",
        /// Charged.
        Succeeded = "SUCCEEDED",
        /// Not charged.
        Failed = "FAILED",
        /// Charged and given back.
        Refunded = "REFUNDED",
        /// Cancelled before any charge.
        Voided = "VOIDED",
        /// Nobody can tell yet whether it was charged.
        Unknown = "UNKNOWN",
    }
);

symbols!(
    /// What an entry of the timeline tells of.
    TimelineKind {
        /// The order was placed.
        OrderPlaced = "ORDER_PLACED",
        /// The client changed it, or asked for another try at the payment.
        OrderUpdated = "ORDER_UPDATED",
        /// The client cancelled it.
        OrderCancelled = "ORDER_CANCELLED",
        /// It was charged.
        PaymentSucceeded = "PAYMENT_SUCCEEDED",
        /// It could not be charged.
        PaymentFailed = "PAYMENT_FAILED",
        /// The charge was given back.
        PaymentRefunded = "PAYMENT_REFUNDED",
        /// It was cancelled before any charge.
        PaymentVoided = "PAYMENT_VOIDED",
        /// A change was not made.
        ChangeRejected = "CHANGE_REJECTED",
        /// A request was sent to the provider, and its outcome is open.
        PaymentInDoubt = "PAYMENT_IN_DOUBT",
        /// The provider told later how the payment ended.
        PaymentReported = "PAYMENT_REPORTED",
        /// An operator said how the payment ended.
        PaymentResolved = "PAYMENT_RESOLVED",
        /// The customer was told.
        NotificationSent = "NOTIFICATION_SENT",
        /// The customer could not be told.
        NotificationFailed = "NOTIFICATION_FAILED",
        /// An event of a type newer than this build.
        Unknown = "UNKNOWN",
    }
);

/// An order with everything that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderView {
    /// Its id.
    pub id: OrderId,
    /// Who placed it.
    pub customer_id: String,
    /// Highest version that is known, counted from 1; a change has to carry the next one.
    pub version: i32,
    /// Where it stands.
    pub status: OrderStatus,
    /// Its content: what was charged, or where nothing was, the latest version.
    pub order: Order,
    /// Its content with all that was asked for and not rejected yet: what the next change starts
    /// from.
    pub latest: Order,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When the last thing happened to it.
    pub updated_at: Timestamp,
    /// When the oldest of its events came that has no result yet and has none behind it; `None`
    /// where all is settled.
    pub waiting_since: Option<Timestamp>,
    /// Its payment.
    pub payment: PaymentView,
    /// The messages to the customer, oldest first.
    pub notifications: Vec<NotificationView>,
    /// Everything that happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// The record of its first version.
    pub receipt: Recorded,
}

impl OrderView {
    /// An order of which nothing is known but the event that placed it, and where that is stored:
    /// what [`fold`](crate::fold()) makes of it, at a fraction of the cost.
    pub fn placed(event: OrderEvent, receipt: Recorded) -> Self {
        let timeline = vec![timeline::of_order(&receipt, &event)];
        let OrderEvent { order_id, version, occurred_at, customer_id, order, .. } = event;
        Self {
            id: order_id,
            customer_id,
            version,
            status: OrderStatus::Pending,
            payment: PaymentView::pending(order.total_minor, order.currency),
            latest: order.clone(),
            order,
            placed_at: occurred_at,
            updated_at: occurred_at,
            waiting_since: Some(occurred_at),
            notifications: Vec::new(),
            timeline,
            receipt,
        }
    }
}

/// The payment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentView {
    /// Where it stands.
    pub status: PaymentStatus,
    /// Payment provider that was asked; `None` where nothing is known of that.
    pub provider: Option<String>,
    /// The provider's id of the payment.
    pub payment_id: Option<String>,
    /// Amount in minor units: of the result, or the order's total while there is none.
    pub amount_minor: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// Why nothing was charged.
    pub reason: Option<FailureReason>,
    /// The provider's own code or words for the reason; while nobody can tell, for that.
    pub detail: Option<String>,
    /// Requests that were sent to the provider, as far as is known.
    pub attempts: i32,
    /// When that was known.
    pub at: Option<Timestamp>,
}

impl PaymentView {
    /// That of an order without a result.
    pub(crate) fn pending(amount_minor: i64, currency: Currency) -> Self {
        Self {
            status: PaymentStatus::Pending,
            provider: None,
            payment_id: None,
            amount_minor,
            currency,
            reason: None,
            detail: None,
            attempts: 0,
            at: None,
        }
    }
}

/// A message to the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationView {
    /// What became of it.
    pub status: NotificationEventType,
    /// How the customer was told: `email`.
    pub channel: String,
    /// Template of the message.
    pub template: String,
    /// Mail provider that was asked.
    pub provider: String,
    /// The provider's id of the message.
    pub message_id: Option<String>,
    /// The provider's own code or words for a failure, without e-mail addresses.
    pub detail: Option<String>,
    /// When the provider answered.
    pub at: Timestamp,
}

/// One thing that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// The event that tells of it.
    pub event_id: Uuid,
    /// What happened.
    pub kind: TimelineKind,
    /// Version of the order it is about, where that is known.
    pub version: Option<i32>,
    /// When it happened.
    pub at: Timestamp,
    /// Why, in a few words, without e-mail addresses.
    pub detail: Option<String>,
    /// The event's record.
    pub recorded: Recorded,
}

/// How an order was first asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// [`crate::fingerprint`] of the request.
    pub fingerprint: String,
    /// Its record.
    pub receipt: Recorded,
}

impl From<OrderEventType> for TimelineKind {
    fn from(event: OrderEventType) -> Self {
        match event {
            OrderEventType::Placed => Self::OrderPlaced,
            OrderEventType::Updated => Self::OrderUpdated,
            OrderEventType::Cancelled => Self::OrderCancelled,
            OrderEventType::Unknown => Self::Unknown,
        }
    }
}

impl From<PaymentEventType> for TimelineKind {
    fn from(event: PaymentEventType) -> Self {
        match event {
            PaymentEventType::Succeeded => Self::PaymentSucceeded,
            PaymentEventType::Failed => Self::PaymentFailed,
            PaymentEventType::Refunded => Self::PaymentRefunded,
            PaymentEventType::Voided => Self::PaymentVoided,
            PaymentEventType::ChangeRejected => Self::ChangeRejected,
            PaymentEventType::Unknown => Self::Unknown,
        }
    }
}

impl From<PaymentReportType> for TimelineKind {
    fn from(report: PaymentReportType) -> Self {
        match report {
            PaymentReportType::InDoubt => Self::PaymentInDoubt,
            PaymentReportType::Reported => Self::PaymentReported,
            PaymentReportType::Resolved => Self::PaymentResolved,
            PaymentReportType::Unknown => Self::Unknown,
        }
    }
}

impl From<NotificationEventType> for TimelineKind {
    fn from(event: NotificationEventType) -> Self {
        match event {
            NotificationEventType::Sent => Self::NotificationSent,
            NotificationEventType::Failed => Self::NotificationFailed,
            NotificationEventType::Unknown => Self::Unknown,
        }
    }
}

impl From<&AnyEvent> for TimelineKind {
    fn from(event: &AnyEvent) -> Self {
        match event {
            AnyEvent::Order(event) => event.r#type.into(),
            AnyEvent::Payment(event) => event.r#type.into(),
            AnyEvent::Notification(event) => event.r#type.into(),
            AnyEvent::Report(event) => event.r#type.into(),
        }
    }
}
