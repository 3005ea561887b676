//! Which mail a payment event calls for.

use comanda_schemas::PaymentEventType;

/// A kind of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    PaymentSucceeded,
    PaymentFailed,
    OrderCancelled,
    PaymentRefunded,
    ChangeRejected,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::PaymentSucceeded,
        Kind::PaymentFailed,
        Kind::OrderCancelled,
        Kind::PaymentRefunded,
        Kind::ChangeRejected,
    ];

    /// `None` for a type that this build does not know.
    pub fn of(r#type: PaymentEventType) -> Option<Self> {
        match r#type {
            PaymentEventType::Succeeded => Some(Kind::PaymentSucceeded),
            PaymentEventType::Failed => Some(Kind::PaymentFailed),
            PaymentEventType::Voided => Some(Kind::OrderCancelled),
            PaymentEventType::Refunded => Some(Kind::PaymentRefunded),
            PaymentEventType::ChangeRejected => Some(Kind::ChangeRejected),
            PaymentEventType::Unknown => None,
        }
    }

    /// Name in notification events and of the templates.
    pub fn name(self) -> &'static str {
        match self {
            Kind::PaymentSucceeded => "payment_succeeded",
            Kind::PaymentFailed => "payment_failed",
            Kind::OrderCancelled => "order_cancelled",
            Kind::PaymentRefunded => "payment_refunded",
            Kind::ChangeRejected => "change_rejected",
        }
    }

    /// Colour of the heading's bar, as HTML wants it.
    pub fn colour(self) -> &'static str {
        match self {
            Kind::PaymentSucceeded => "#1f7a4d",
            Kind::PaymentFailed => "#b3261e",
            Kind::ChangeRejected => "#9a5b00",
            Kind::OrderCancelled | Kind::PaymentRefunded => "#4a5568",
        }
    }
}
