//! The notifier against a provider that answers as told, over real HTTP, and the mails it renders.

mod mails;
mod providers;
mod sending;

use comanda_schemas::{
    Contact, Currency, FailureReason, NotificationEvent, Order, OrderEvent, OrderEventType,
    OrderId, OrderLine, Payment, PaymentEvent, PaymentEventType, Source, Timestamp, TraceContext,
};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::{Notifier, Options, Provider};
use crate::{HandlerError, Input, Outcome, Processor};

fn options(url: &str) -> Options {
    Options {
        provider: Provider::Resend,
        provider_url: url.into(),
        api_key: "re_hidden".to_owned().into(),
        from: "Trattoria Comanda <orders@comanda.example>".into(),
        reply_to: "kitchen@comanda.example".into(),
        restaurant_name: "Trattoria Comanda".into(),
        connect_timeout_ms: 1_000,
        request_timeout_ms: 300,
        max_attempts: 3,
        backoff_initial_ms: 1_000,
        backoff_max_ms: 8_000,
        retry_refused_ms: 60_000,
    }
}

fn event(r#type: PaymentEventType) -> PaymentEvent {
    let order_id = OrderId::derive("c-1", "k-1");
    let currency = Currency::parse("EUR").unwrap();
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
            note: None,
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

fn failed(reason: FailureReason, detail: &str) -> PaymentEvent {
    let mut event = event(PaymentEventType::Failed);
    event.payment.payment_id = None;
    event.payment.reason = Some(reason);
    event.payment.detail = Some(detail.into());
    event
}
