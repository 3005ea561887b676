use std::time::{Duration, Instant};

use comanda_schemas::{Event, FailureReason, PaymentEventType};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

#[tokio::test]
async fn a_charge_that_succeeds_gives_succeeded() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let order = placed();
    let before = Timestamp::now();
    let event = emitted(provider.handle(order.clone()).await);
    assert_eq!(event.event_id, PaymentEvent::derive_id(order.event_id));
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.order_id(), order.order_id);
    assert_eq!(event.version, 1);
    assert!(event.occurred_at >= before);
    assert_eq!(event.order, order.order);
    assert_eq!(event.payment.provider, "stripe");
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
    assert_eq!(event.payment.amount_minor, 2400);
    assert_eq!(event.payment.currency.code(), "EUR");
    assert_eq!(event.payment.reason, None);
    assert_eq!(event.payment.detail, None);
    assert_eq!(event.payment.attempts, 1);
    assert_eq!(event.source.topic, "orders");
    assert_eq!(event.source.partition, 3);
    assert_eq!(event.source.offset, 42);
    assert!(provider.searches().await.is_empty());
}

#[tokio::test]
async fn the_request_carries_key_version_and_form() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    provider.handle(placed()).await;
    let charges = provider.charges().await;
    let [request] = charges.as_slice() else { panic!("{} charges", charges.len()) };
    let id = order_id().to_string();
    assert_eq!(header(request, "idempotency-key"), format!("{id}:1"));
    assert_eq!(header(request, "authorization"), "Bearer sk_test_hidden");
    assert_eq!(header(request, "stripe-version"), "2025-09-30.clover");
    assert_eq!(header(request, "content-type"), "application/x-www-form-urlencoded");
    let form = form(request);
    let value = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(value("amount"), Some("2400"));
    assert_eq!(value("currency"), Some("eur"));
    assert_eq!(value("payment_method"), Some("pm_card_visa"));
    assert_eq!(value("confirm"), Some("true"));
    assert_eq!(value("automatic_payment_methods[enabled]"), Some("true"));
    assert_eq!(value("automatic_payment_methods[allow_redirects]"), Some("never"));
    assert_eq!(value("description"), Some(format!("Order {id}").as_str()));
    assert_eq!(value("metadata[order_id]"), Some(id.as_str()));
    assert_eq!(value("metadata[version]"), Some("1"));
    assert_eq!(value("metadata[terms]"), Some(placed().order.terms().to_string().as_str()));
    assert_eq!(form.len(), 10);
}

#[tokio::test]
async fn amounts_are_sent_in_the_providers_units() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let mut order = placed();
    order.order.currency = Currency::parse("ISK").unwrap();
    provider.handle(order).await;
    let form = form(&provider.charges().await[0]);
    assert!(form.contains(&("amount".into(), "240000".into())), "{form:?}");
    assert!(form.contains(&("currency".into(), "isk".into())), "{form:?}");
}

#[tokio::test]
async fn what_the_bank_declines_is_failed_with_its_reason() {
    let declined = json!({ "error": {
        "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "message": "Ana's card was declined", "payment_intent": { "id": "pi_7" },
    }});
    let answer = ResponseTemplate::new(402).set_body_json(declined);
    let provider = Provider::start().await.charging(answer).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Failed);
    assert_eq!(event.payment.reason, Some(FailureReason::Declined));
    assert_eq!(event.payment.detail.as_deref(), Some("insufficient_funds"));
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_7"));
    assert_eq!(event.payment.amount_minor, 2400);
    assert_eq!(provider.charges().await.len(), 1);
}

#[tokio::test]
async fn a_payment_that_needs_the_customer_is_declined() {
    for status in ["requires_action", "requires_payment_method"] {
        let provider = Provider::start().await.charging(ok(intent(1, status))).await;
        let event = emitted(provider.handle(placed()).await);
        assert_eq!(event.r#type, PaymentEventType::Failed);
        assert_eq!(event.payment.reason, Some(FailureReason::Declined));
        assert_eq!(event.payment.detail.as_deref(), Some(status));
        assert_eq!(provider.charges().await.len(), 1);
    }
}

#[tokio::test]
async fn a_request_that_is_refused_for_good_is_invalid_and_not_repeated() {
    for (status, code) in [(400, "amount_too_small"), (404, "resource_missing")] {
        let answer = error(status, "invalid_request_error", code);
        let provider = Provider::start().await.charging(answer).await;
        let event = emitted(provider.handle(placed()).await);
        assert_eq!(event.r#type, PaymentEventType::Failed);
        assert_eq!(event.payment.reason, Some(FailureReason::Invalid));
        assert_eq!(event.payment.detail.as_deref(), Some(code));
        assert_eq!(provider.charges().await.len(), 1);
    }
}

#[tokio::test]
async fn a_refused_key_is_not_the_orders_fault() {
    for status in [401, 403] {
        let answer = error(status, "invalid_request_error", "");
        let provider = Provider::start().await.charging(answer).await;
        let (after, error) = put_off(provider.handle(placed()).await);
        assert_eq!((after, error.kind), (60_000, "payment_provider_refuses"));
        assert!(error.chain.contains(&format!("http_{status}")), "{}", error.chain);
        assert!(!error.chain.contains("sk_test"), "{}", error.chain);
        assert!(!error.chain.contains("ana"), "{}", error.chain);
        assert_eq!(provider.charges().await.len(), 1);
    }
}

#[tokio::test]
async fn a_busy_provider_is_asked_again_when_it_said() {
    let busy = error(429, "invalid_request_error", "rate_limit").insert_header("retry-after", "1");
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.first(1, "POST", CHARGE, busy).await;
    let begun = Instant::now();
    let event = emitted(provider.handle(placed()).await);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.attempts, 2);
    assert!(provider.searches().await.is_empty(), "a definite answer needs no look-up");
}

#[tokio::test]
async fn an_order_for_nothing_is_paid_without_asking_the_provider() {
    let provider = Provider::start().await;
    let mut order = placed();
    order.order.total_minor = 0;
    let event = emitted(provider.handle(order).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.payment_id, None);
    assert_eq!(event.payment.attempts, 0);
    assert!(provider.0.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_amount_that_no_charge_can_have_is_invalid() {
    let provider = Provider::start().await;
    for (code, total) in [("EUR", -1), ("MGA", 120), ("ISK", i64::MAX)] {
        let mut order = placed();
        order.order.total_minor = total;
        order.order.currency = Currency::parse(code).unwrap();
        let event = emitted(provider.handle(order).await);
        assert_eq!(event.payment.reason, Some(FailureReason::Invalid));
        assert_eq!(event.payment.detail.as_deref(), Some("amount_not_chargeable"));
    }
    assert!(provider.0.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_a_dead_letter() {
    let provider = Provider::start().await;
    let outcome = provider.handle(event(OrderEventType::Unknown, 1)).await;
    let Outcome::DeadLetter { error, result } = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.kind, "unknown_event_type");
    assert_eq!(result, None);
    assert!(provider.0.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn requests_and_retries_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.first(1, "POST", CHARGE, ResponseTemplate::new(500)).await;
    let provider = provider.finding(&[]).await;
    emitted(provider.handle(placed()).await);
    let shown = recorder.handle().render();
    for line in [
        r#"requests_total{provider="stripe",call="charge",outcome="5xx"} 1"#,
        r#"requests_total{provider="stripe",call="charge",outcome="2xx"} 1"#,
        r#"requests_total{provider="stripe",call="look_up",outcome="2xx"} 1"#,
        r#"request_seconds_count{provider="stripe",call="charge"} 2"#,
        r#"retries_total{provider="stripe"} 1"#,
    ] {
        assert!(shown.contains(&format!("comanda_provider_{line}\n")), "{line} not in\n{shown}");
    }
}

#[test]
fn settings_that_can_not_work_are_refused_at_the_start() {
    let built = |options| Payment::new(options).map(|_| ()).unwrap_err().to_string();
    let without = Options { max_attempts: 0, ..options("http://localhost") };
    assert_eq!(built(without), "stripe: `max_attempts` must be at least 1");
    assert!(built(options("localhost:80")).contains("URL"));
}
