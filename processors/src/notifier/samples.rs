//! Payment events to try templates with, and to show what mails look like.

use comanda_schemas::{
    CHARGED_BEFORE, Contact, Currency, FailureReason, Order, OrderEvent, OrderEventType, OrderId,
    OrderLine, Payment, PaymentEvent, PaymentEventType, Rejection, Source, Timestamp,
};

/// A failed payment: the name of its sample, the reason and the provider's code.
const FAILED: [(&str, FailureReason, &str); 5] = [
    ("payment_failed", FailureReason::Declined, "insufficient_funds"),
    ("payment_failed_declined", FailureReason::Declined, "generic_decline"),
    ("payment_failed_unreachable", FailureReason::Unreachable, "timeout"),
    ("payment_failed_invalid", FailureReason::Invalid, "amount_too_small"),
    ("payment_failed_unknown", FailureReason::Unknown, "processing"),
];

/// One payment event or more for each kind of mail, each with a name.
pub(super) fn all() -> Vec<(&'static str, PaymentEvent)> {
    let mut samples = vec![
        ("payment_succeeded", event(PaymentEventType::Succeeded)),
        ("payment_succeeded_free", free()),
        ("payment_succeeded_before", told(PaymentEventType::Succeeded, CHARGED_BEFORE)),
    ];
    samples.extend(FAILED.map(|(name, reason, code)| (name, failed(reason, code))));
    samples.extend([
        ("order_cancelled", event(PaymentEventType::Voided)),
        ("payment_refunded", event(PaymentEventType::Refunded)),
        ("change_rejected", event(PaymentEventType::ChangeRejected)),
    ]);
    let rejected = |why: Rejection| told(PaymentEventType::ChangeRejected, why.as_str());
    samples.extend([
        ("change_rejected_overtaken", rejected(Rejection::VersionTaken)),
        ("change_rejected_cancelled", rejected(Rejection::OrderCancelled)),
    ]);
    samples
}

/// A result for an order of 27.50 EUR, the same each time.
pub(super) fn event(r#type: PaymentEventType) -> PaymentEvent {
    let order_id = OrderId::derive("c-1", "k-1");
    let currency = Currency::parse("EUR").expect("a currency of ISO 4217");
    let line = |sku: &str, name: &str, quantity, unit_price_minor| OrderLine {
        sku: sku.into(),
        name: name.into(),
        quantity,
        unit_price_minor,
    };
    PaymentEvent {
        event_id: PaymentEvent::derive_id(OrderEvent::derive_id(
            order_id,
            1,
            OrderEventType::Placed,
        )),
        r#type,
        order_id,
        version: 1,
        occurred_at: Timestamp::from_micros(1_795_484_800_123_456),
        order: Order {
            currency,
            total_minor: 2750,
            lines: vec![
                line("PIZ-1", "Pizza Margherita", 2, 1150),
                line("DRK-4", "Acqua frizzante", 1, 450),
            ],
            contact: Contact { name: "Ana Ruiz".into(), email: "ana@example.com".into() },
            payment_method: "pm_card_visa".into(),
            note: Some("No basil, please".into()),
        },
        payment: Payment {
            provider: "stripe".into(),
            payment_id: Some("pi_1".into()),
            amount_minor: 2750,
            currency,
            reason: None,
            detail: None,
            attempts: 1,
        },
        source: Source { topic: "orders".into(), partition: 3, offset: 42 },
    }
}

fn told(r#type: PaymentEventType, detail: &str) -> PaymentEvent {
    let mut event = event(r#type);
    event.payment.detail = Some(detail.into());
    event
}

pub(super) fn failed(reason: FailureReason, code: &str) -> PaymentEvent {
    let mut event = event(PaymentEventType::Failed);
    event.payment.payment_id = None;
    event.payment.reason = Some(reason);
    event.payment.detail = Some(code.into());
    event
}

/// An order for nothing, from somebody without a name or a note, with more positions than a mail
/// lists.
fn free() -> PaymentEvent {
    let mut event = event(PaymentEventType::Succeeded);
    event.payment.payment_id = None;
    event.payment.amount_minor = 0;
    event.order.total_minor = 0;
    event.order.note = None;
    event.order.contact.name = String::new();
    let mut line = event.order.lines.remove(1);
    line.unit_price_minor = 0;
    event.order.lines = vec![line; 101];
    event
}
