//! The events, as the schemas in `avro/` define them.
//!
//! Field names and their order follow the `.avsc` files, which are the source of truth: a test
//! encodes each type against its schema. A reader with these types can decode what an older or
//! newer schema wrote: unknown fields are skipped, unknown enum symbols read as `Unknown`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Currency, OrderId, Timestamp, Topic};

/// An event of one of the topics: its schema, its key and its CloudEvents attributes.
pub trait Event: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static {
    /// The topic that carries this type.
    const TOPIC: Topic;
    /// Deterministic id: the same cause gives the same id.
    fn event_id(&self) -> Uuid;
    /// The order it belongs to, which is the record's key.
    fn order_id(&self) -> OrderId;
    /// When it happened.
    fn occurred_at(&self) -> Timestamp;
    /// CloudEvents `type`, e.g. `comanda.order.placed`.
    fn ce_type(&self) -> &'static str;
}

/// What the customer wants, whole, as it stood after the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// ISO 4217 code of every amount in the order.
    pub currency: Currency,
    /// Sum of quantity × unit price, in minor units.
    pub total_minor: i64,
    /// The positions, at least one.
    pub lines: Vec<OrderLine>,
    /// Whom to tell about the outcome.
    pub contact: Contact,
    /// The provider's token for the payment method; never a card number.
    pub payment_method: String,
    /// Free text for the kitchen.
    #[serde(default)]
    pub note: Option<String>,
}

impl Order {
    /// Sum of quantity × unit price over `lines` in minor units; `None` when it does not fit.
    pub fn total_of(lines: &[OrderLine]) -> Option<i64> {
        lines.iter().try_fold(0i64, |sum, line| {
            let amount = line.unit_price_minor.checked_mul(line.quantity.into())?;
            sum.checked_add(amount)
        })
    }

    /// The same for two orders that are charged alike: currency, lines and payment method.
    pub fn terms(&self) -> Uuid {
        derive_event_id(&["terms", &json(&(self.currency, &self.lines, &self.payment_method))])
    }
}

/// One position of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// The restaurant's own code of the dish.
    pub sku: String,
    /// The dish as the customer saw it.
    pub name: String,
    /// How many, at least 1.
    pub quantity: i32,
    /// Price of one in minor units, at least 0.
    pub unit_price_minor: i64,
}

/// Whom to tell about the outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Name of the person, as they wrote it.
    pub name: String,
    /// E-mail address.
    pub email: String,
}

/// The record that caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// Topic of the causing record.
    pub topic: String,
    /// Partition of the causing record.
    pub partition: i32,
    /// Offset of the causing record.
    pub offset: i64,
}

/// Declares an enum of an Avro schema: symbols in the schema's order, `Unknown` last, the
/// default that stands for symbols newer than this build.
macro_rules! avro_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $symbol:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $symbol)] $variant,)+
            /// None of these, or a symbol that is newer than this build.
            #[serde(rename = "UNKNOWN", other)]
            Unknown,
        }

        impl $name {
            /// Every value, in the order of the schema's symbols.
            pub const ALL: &[Self] = &[$(Self::$variant,)+ Self::Unknown];

            /// The symbol as it stands in the schema.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $symbol,)+
                    Self::Unknown => "UNKNOWN",
                }
            }

            /// The value of a symbol; `Unknown` for any other text.
            pub fn from_symbol(symbol: &str) -> Self {
                match symbol {
                    $($symbol => Self::$variant,)+
                    _ => Self::Unknown,
                }
            }
        }
    };
}

avro_enum!(
    /// What a client asked for.
    OrderEventType {
        /// A new order.
        Placed = "PLACED",
        /// Other lines, contact, payment method or note; or the payment is to be tried again.
        Updated = "UPDATED",
        /// The order is not wanted any more.
        Cancelled = "CANCELLED",
    }
);

avro_enum!(
    /// The result of one order event.
    PaymentEventType {
        /// Charged.
        Succeeded = "SUCCEEDED",
        /// Not charged, see [`Payment::reason`].
        Failed = "FAILED",
        /// A charge was given back.
        Refunded = "REFUNDED",
        /// Cancelled before any charge.
        Voided = "VOIDED",
        /// The change was not made; the order stays as it was.
        ChangeRejected = "CHANGE_REJECTED",
    }
);

avro_enum!(
    /// Why nothing was charged.
    FailureReason {
        /// The payment method was declined.
        Declined = "DECLINED",
        /// The payment provider could not be reached.
        Unreachable = "UNREACHABLE",
        /// The provider refused the request itself.
        Invalid = "INVALID",
    }
);

avro_enum!(
    /// What became of a message to the customer.
    NotificationEventType {
        /// The mail provider took it.
        Sent = "SENT",
        /// It was refused for good.
        Failed = "FAILED",
    }
);

avro_enum!(
    /// Who reports what of a payment.
    PaymentReportType {
        /// The payment processor: a request was sent and its outcome is open.
        InDoubt = "IN_DOUBT",
        /// The provider, through its webhook: how the payment ended.
        Reported = "REPORTED",
        /// An operator: how the payment ended.
        Resolved = "RESOLVED",
    }
);

avro_enum!(
    /// How a payment ended, as somebody reports it.
    PaymentOutcome {
        /// The provider did what it was asked: it charged, or for a cancellation gave back.
        Succeeded = "SUCCEEDED",
        /// It did not and will not.
        Failed = "FAILED",
    }
);

/// A change of an order, with the whole order after it. Topic `orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEvent {
    /// See [`OrderEvent::derive_id`].
    pub event_id: Uuid,
    /// What was asked for.
    pub r#type: OrderEventType,
    /// The order.
    pub order_id: OrderId,
    /// Version of the order, counted from 1.
    pub version: i32,
    /// When the gateway took the request.
    pub occurred_at: Timestamp,
    /// Who ordered.
    pub customer_id: String,
    /// The order after the change.
    pub order: Order,
    /// Why, where the client said so.
    #[serde(default)]
    pub reason: Option<String>,
    /// Of a change: offset in the record's partition below which its writer knew all events of the
    /// order.
    #[serde(default)]
    pub seen_offset: Option<i64>,
}

impl OrderEvent {
    /// Id of the event that brings `order_id` to `version` by a `type` of which there is one only:
    /// of the event that places the order.
    pub fn derive_id(order_id: OrderId, version: i32, r#type: OrderEventType) -> Uuid {
        derive_event_id(&["order", &order_id.to_string(), &version.to_string(), r#type.as_str()])
    }

    /// Id of a change: two that differ have two ids, also where both are to be the same version,
    /// and one that is asked for twice has one.
    pub fn derive_change_id(
        order_id: OrderId,
        version: i32,
        r#type: OrderEventType,
        order: &Order,
        reason: Option<&str>,
    ) -> Uuid {
        let (id, version) = (order_id.to_string(), version.to_string());
        let content = json(&(order, reason));
        derive_event_id(&["order", &id, &version, r#type.as_str(), &content])
    }
}

/// How a charge went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Payment provider that was asked.
    pub provider: String,
    /// The provider's id of the payment.
    #[serde(default)]
    pub payment_id: Option<String>,
    /// Amount charged or tried, in minor units.
    pub amount_minor: i64,
    /// ISO 4217 code of the amount.
    pub currency: Currency,
    /// Why nothing was charged; `None` where it was.
    #[serde(default)]
    pub reason: Option<FailureReason>,
    /// The provider's own code or words for the reason; of a change that was rejected, or did not
    /// touch the money, ours.
    #[serde(default)]
    pub detail: Option<String>,
    /// Requests that were sent to the provider for this result.
    pub attempts: i32,
}

/// The result of one order event. Topic `payments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentEvent {
    /// See [`PaymentEvent::derive_id`].
    pub event_id: Uuid,
    /// The result.
    pub r#type: PaymentEventType,
    /// The order.
    pub order_id: OrderId,
    /// Version of the order this is the result of.
    pub version: i32,
    /// When the result was known.
    pub occurred_at: Timestamp,
    /// The order as the order event carried it.
    pub order: Order,
    /// How the charge went.
    pub payment: Payment,
    /// The order event this is the result of.
    pub source: Source,
}

impl PaymentEvent {
    /// Id of the one result of the order event `cause`.
    pub fn derive_id(cause: Uuid) -> Uuid {
        derive_event_id(&["payment", &cause.to_string()])
    }
}

/// The e-mail for one payment event. Topic `notifications`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationEvent {
    /// See [`NotificationEvent::derive_id`].
    pub event_id: Uuid,
    /// What became of the message.
    pub r#type: NotificationEventType,
    /// The order.
    pub order_id: OrderId,
    /// When the mail provider answered.
    pub occurred_at: Timestamp,
    /// `event_id` of the payment event that the message tells of.
    pub payment_event_id: Uuid,
    /// How the customer was told: `email`.
    pub channel: String,
    /// Template of the message.
    pub template: String,
    /// Mail provider that was asked.
    pub provider: String,
    /// The provider's id of the message.
    #[serde(default)]
    pub message_id: Option<String>,
    /// The provider's own code or words for a failure.
    #[serde(default)]
    pub detail: Option<String>,
    /// The payment event this is the result of.
    pub source: Source,
}

impl NotificationEvent {
    /// Id of the one message for the payment event `cause`.
    pub fn derive_id(cause: Uuid) -> Uuid {
        derive_event_id(&["notification", &cause.to_string()])
    }
}

/// What is known of a payment besides its result, which only a [`PaymentEvent`] is. Topic
/// `payment-reports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentReport {
    /// See [`PaymentReport::derive_id`].
    pub event_id: Uuid,
    /// Who reports what.
    pub r#type: PaymentReportType,
    /// The order.
    pub order_id: OrderId,
    /// Version of the order that the payment is for.
    pub version: i32,
    /// When it was found open, or when it was reported.
    pub occurred_at: Timestamp,
    /// Payment provider.
    pub provider: String,
    /// The provider's id of the payment, where it is known.
    #[serde(default)]
    pub payment_id: Option<String>,
    /// How it ended; `None` where nobody knows.
    #[serde(default)]
    pub outcome: Option<PaymentOutcome>,
    /// Amount that was charged, in minor units.
    #[serde(default)]
    pub amount_minor: Option<i64>,
    /// ISO 4217 code of the amount.
    #[serde(default)]
    pub currency: Option<Currency>,
    /// Why: a code of the provider's or ours; of what an operator says, their own words.
    #[serde(default)]
    pub detail: Option<String>,
    /// Requests that were sent to the provider up to then, as far as the writer knows.
    pub attempts: i32,
    /// The order event that the payment is for, where the writer knows it.
    #[serde(default)]
    pub source: Option<Source>,
}

impl PaymentReport {
    /// Id of a report. Its `cause` is, of one [`PaymentReportType::InDoubt`], the id of the order
    /// event; of the others, whatever tells it from other reports of its type: the provider's id of
    /// its event, what an operator said.
    pub fn derive_id(r#type: PaymentReportType, cause: &str) -> Uuid {
        derive_event_id(&["report", r#type.as_str(), cause])
    }

    /// Id of the report that the outcome of the order event `cause` is open.
    pub fn in_doubt_id(cause: Uuid) -> Uuid {
        Self::derive_id(PaymentReportType::InDoubt, &cause.to_string())
    }
}

/// Namespace of all event ids; generated once for this project.
const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0x8f0f_3b52_6a0e_4b7c_9d1a_5c2e_77a4_10d3);

fn derive_event_id(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&EVENT_NAMESPACE, parts.join("/").as_bytes())
}

/// A text in which where one value ends and the next begins can't be mistaken.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("structs of texts and numbers have a JSON form")
}

macro_rules! event {
    ($name:ident, $topic:ident, $($variant:pat => $ce_type:literal),+) => {
        impl Event for $name {
            const TOPIC: Topic = Topic::$topic;
            fn event_id(&self) -> Uuid {
                self.event_id
            }
            fn order_id(&self) -> OrderId {
                self.order_id
            }
            fn occurred_at(&self) -> Timestamp {
                self.occurred_at
            }
            fn ce_type(&self) -> &'static str {
                match self.r#type {
                    $($variant => $ce_type,)+
                }
            }
        }
    };
}

event!(OrderEvent, Orders,
    OrderEventType::Unknown => "comanda.order.unknown",
    OrderEventType::Placed => "comanda.order.placed",
    OrderEventType::Updated => "comanda.order.updated",
    OrderEventType::Cancelled => "comanda.order.cancelled");

event!(PaymentEvent, Payments,
    PaymentEventType::Unknown => "comanda.payment.unknown",
    PaymentEventType::Succeeded => "comanda.payment.succeeded",
    PaymentEventType::Failed => "comanda.payment.failed",
    PaymentEventType::Refunded => "comanda.payment.refunded",
    PaymentEventType::Voided => "comanda.payment.voided",
    PaymentEventType::ChangeRejected => "comanda.payment.change_rejected");

event!(NotificationEvent, Notifications,
    NotificationEventType::Unknown => "comanda.notification.unknown",
    NotificationEventType::Sent => "comanda.notification.sent",
    NotificationEventType::Failed => "comanda.notification.failed");

event!(PaymentReport, PaymentReports,
    PaymentReportType::Unknown => "comanda.payment_report.unknown",
    PaymentReportType::InDoubt => "comanda.payment_report.in_doubt",
    PaymentReportType::Reported => "comanda.payment_report.reported",
    PaymentReportType::Resolved => "comanda.payment_report.resolved");
