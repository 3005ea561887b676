//! What the mails say, in English.

use comanda_schemas::{CHARGED_BEFORE, FailureReason, PaymentEvent, PaymentEventType, Rejection};

/// Which mail a payment event calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    PaymentSucceeded,
    PaymentFailed,
    OrderCancelled,
    PaymentRefunded,
    ChangeRejected,
}

impl Kind {
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

    /// Name of the template in notification events.
    pub fn name(self) -> &'static str {
        match self {
            Kind::PaymentSucceeded => "payment_succeeded",
            Kind::PaymentFailed => "payment_failed",
            Kind::OrderCancelled => "order_cancelled",
            Kind::PaymentRefunded => "payment_refunded",
            Kind::ChangeRejected => "change_rejected",
        }
    }

    /// End of the subject, after the restaurant's name and the order's number.
    pub fn subject(self) -> &'static str {
        match self {
            Kind::PaymentSucceeded => "is confirmed",
            Kind::PaymentFailed => "could not be paid",
            Kind::OrderCancelled => "is cancelled",
            Kind::PaymentRefunded => "is cancelled and refunded",
            Kind::ChangeRejected => "could not be changed",
        }
    }

    /// Heading of the mail.
    pub fn heading(self) -> &'static str {
        match self {
            Kind::PaymentSucceeded => "Thank you, your order is confirmed",
            Kind::PaymentFailed => "Your order could not be paid",
            Kind::OrderCancelled => "Your order is cancelled",
            Kind::PaymentRefunded => "Your order is cancelled and your payment refunded",
            Kind::ChangeRejected => "Your change could not be made",
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

    /// What happened and what to do, a paragraph each.
    pub fn paragraphs(self, event: &PaymentEvent) -> Vec<String> {
        let payment = &event.payment;
        let amount = payment.currency.format_minor(payment.amount_minor);
        match self {
            Kind::PaymentSucceeded if payment.payment_id.is_none() => {
                vec!["There is nothing to pay, and the kitchen has your order.".into()]
            }
            Kind::PaymentSucceeded if payment.detail.as_deref() == Some(CHARGED_BEFORE) => {
                vec![format!(
                    "We have changed your order as you asked. It was paid before ({amount}), and \
                     nothing more is charged."
                )]
            }
            Kind::PaymentSucceeded => {
                vec![format!("We have charged {amount}, and the kitchen has your order.")]
            }
            Kind::PaymentFailed => failed(event),
            Kind::OrderCancelled => vec![
                "We have cancelled your order as you asked. Nothing was charged, and there is \
                 nothing left for you to do."
                    .into(),
            ],
            Kind::PaymentRefunded => vec![
                format!("We have cancelled your order as you asked and given back {amount}."),
                "Depending on your bank it takes up to ten days until you see the money.".into(),
            ],
            Kind::ChangeRejected => rejected(event, &amount),
        }
    }
}

/// Why a change was not made, and what to do about it.
fn rejected(event: &PaymentEvent, amount: &str) -> Vec<String> {
    let below = "Below is what you asked for; it was not applied and not charged.";
    let why = match event.payment.detail.as_deref().and_then(Rejection::from_word) {
        Some(Rejection::VersionTaken | Rejection::Overtaken) => {
            let why = "Another change of your order was there before yours, so yours was not made.";
            let what = "Please look at your order as it is now, and change it again if need be.";
            return vec![format!("{why} {below}"), what.into()];
        }
        Some(Rejection::OrderCancelled) => {
            let why = "Your order was already cancelled when your change reached us.";
            return vec![format!("{why} {below}")];
        }
        Some(Rejection::AlreadyCharged) | None => format!(
            "Your order was already paid ({amount}) when your change reached us, so it stays as it \
             was."
        ),
    };
    let what = "If you don't want the order as it was paid, please cancel it.";
    vec![format!("{why} {below}"), what.into()]
}

/// Why nothing was charged, and what to do about it.
fn failed(event: &PaymentEvent) -> Vec<String> {
    let detail = event.payment.detail.as_deref().unwrap_or_default();
    let (why, what) = match event.payment.reason {
        Some(FailureReason::Declined) => (
            format!("Your payment was declined{}. Nothing was charged.", declined(detail)),
            "Please try again with another payment method, or ask your bank.",
        ),
        Some(FailureReason::Unreachable) => (
            "We could not reach our payment provider. Nothing was charged.".into(),
            "There is nothing wrong with your payment method: please try again in a few minutes.",
        ),
        Some(FailureReason::Invalid) => (
            "Our payment provider did not accept the payment details. Nothing was charged.".into(),
            "Please check the payment method and the amount, and try again.",
        ),
        Some(FailureReason::Unknown) | None => (
            "The payment could not be completed, and the payment provider has no charge for it."
                .into(),
            "Please try again. Should a charge show on your account all the same, tell us.",
        ),
    };
    vec![why, what.into()]
}

/// The bank's reason in words, for those that may be told. Others, such as a card reported stolen,
/// must look like any decline: <https://docs.stripe.com/declines/codes>.
fn declined(code: &str) -> &'static str {
    match code {
        "insufficient_funds" => ": the account has insufficient funds",
        "expired_card" => ": the card has expired",
        "incorrect_cvc" | "invalid_cvc" => ": the card's security code is wrong",
        "incorrect_number" | "invalid_number" => ": the card's number is wrong",
        "card_not_supported" => ": the card does not support this kind of purchase",
        "currency_not_supported" => ": the card does not support this currency",
        "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" => {
            ": the card's limit is reached"
        }
        "processing_error" | "issuer_not_available" | "try_again_later" => {
            ": the bank could not process it just now"
        }
        "authentication_required" | "requires_action" => {
            ": the bank asks for a confirmation that can't be given here"
        }
        _ => "",
    }
}
