//! Changes that were on their way at one time.

use comanda_schemas::{CHARGED_BEFORE, PaymentEventType, Rejection};

use super::*;

/// A change to `version` that differs from others in its note.
fn change(version: i32, r#type: OrderEventType, note: &str) -> OrderEvent {
    let mut event = event(r#type, version);
    event.order.note = Some(note.into());
    let OrderEvent { order_id, order, .. } = &event;
    event.event_id = OrderEvent::derive_change_id(*order_id, version, r#type, order, None);
    event
}

fn after(earlier: &[OrderEvent], event: OrderEvent) -> Input<OrderEvent> {
    Input { earlier: earlier.to_vec(), ..input(event, 1) }
}

async fn rejected(provider: &Provider, input: Input<OrderEvent>) -> PaymentEvent {
    let event = emitted(provider.payment().handle(&input).await);
    assert_eq!(event.r#type, PaymentEventType::ChangeRejected, "{event:?}");
    assert_eq!(event.payment.reason, None);
    event
}

fn charged_for(order: &Order) -> Value {
    let mut charge = intent(1, "succeeded");
    charge["metadata"]["terms"] = json!(order.terms().to_string());
    charge
}

#[tokio::test]
async fn the_second_change_to_a_version_is_rejected_and_the_provider_is_not_asked() {
    let provider = Provider::start().await;
    let [first, second] = ["a", "b"].map(|note| change(2, OrderEventType::Updated, note));
    let event = rejected(&provider, after(&[placed(), first], second)).await;
    assert_eq!(event.payment.detail.as_deref(), Some(Rejection::VersionTaken.as_str()));
    assert_eq!((event.payment.payment_id, event.payment.attempts), (None, 0));
    assert_eq!((event.version, event.payment.amount_minor), (2, 2400));
    assert!(provider.0.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_change_after_a_cancellation_is_rejected() {
    let provider = Provider::start().await;
    let cancel = change(2, OrderEventType::Cancelled, "");
    let late = change(3, OrderEventType::Updated, "a");
    let event = rejected(&provider, after(&[cancel], late)).await;
    assert_eq!(event.payment.detail.as_deref(), Some(Rejection::OrderCancelled.as_str()));
    assert!(provider.0.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_change_that_was_written_twice_has_the_same_result_twice() {
    let provider = Provider::start().await.charging(ok(intent(2, "succeeded"))).await;
    let provider = provider.finding(&[]).await;
    let own = change(2, OrderEventType::Updated, "a");
    let next = change(3, OrderEventType::Updated, "b");
    let event = emitted(provider.payment().handle(&after(&[own.clone(), next], own.clone())).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.event_id, PaymentEvent::derive_id(own.event_id));
}

#[tokio::test]
async fn a_change_that_was_declined_and_is_read_again_after_a_charge_stays_declined() {
    let mut declined = intent(2, "requires_payment_method");
    declined["last_payment_error"] = json!({ "code": "card_declined" });
    let provider = Provider::start().await.finding(&[intent(3, "succeeded"), declined]).await;
    let own = change(2, OrderEventType::Updated, "a");
    let event =
        emitted(provider.payment().handle(&after(std::slice::from_ref(&own), own.clone())).await);
    assert_eq!(event.r#type, PaymentEventType::Failed);
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn a_change_that_leaves_the_money_alone_needs_no_charge() {
    let own = change(2, OrderEventType::Updated, "no onions");
    let provider = Provider::start().await.finding(&[charged_for(&own.order)]).await;
    let event = emitted(provider.handle(own).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
    assert_eq!(event.payment.detail.as_deref(), Some(CHARGED_BEFORE));
    assert_eq!((event.payment.amount_minor, event.payment.attempts), (2400, 0));
    assert_eq!(event.order.note.as_deref(), Some("no onions"));
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn other_lines_of_the_same_total_are_other_terms() {
    let mut own = change(2, OrderEventType::Updated, "");
    let provider = Provider::start().await.finding(&[charged_for(&own.order)]).await;
    own.order.lines[0].sku = "PIZ-2".into();
    let event = rejected(&provider, input(own, 1)).await;
    assert_eq!(event.payment.detail.as_deref(), Some(Rejection::AlreadyCharged.as_str()));
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
}

#[tokio::test]
async fn a_charge_of_the_same_version_on_other_terms_is_anothers() {
    let own = change(2, OrderEventType::Updated, "");
    let mut other = intent(2, "succeeded");
    other["metadata"]["terms"] = json!(Order { lines: vec![], ..own.order.clone() }.terms());
    let provider = Provider::start().await.finding(&[other]).await;
    rejected(&provider, input(own, 1)).await;
}

#[tokio::test]
async fn a_dead_letter_that_is_put_back_is_overtaken_by_what_was_handled_since() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let redriven = |since: Vec<OrderEvent>| Input {
        earlier: [vec![placed()], since].concat(),
        is_redriven: true,
        ..input(placed(), 1)
    };
    let update = change(2, OrderEventType::Updated, "a");
    let event = rejected(&provider, redriven(vec![update.clone()])).await;
    assert_eq!(event.payment.detail.as_deref(), Some(Rejection::Overtaken.as_str()));
    let cancel = change(2, OrderEventType::Cancelled, "");
    let event = rejected(&provider, redriven(vec![cancel])).await;
    assert_eq!(event.payment.detail.as_deref(), Some(Rejection::OrderCancelled.as_str()));
    assert!(provider.charges().await.is_empty());

    let provider = provider.finding(&[]).await;
    let alone = emitted(provider.payment().handle(&redriven(vec![])).await);
    assert_eq!(alone.r#type, PaymentEventType::Succeeded);
    // One that lost its race has overtaken nobody.
    let late = change(2, OrderEventType::Updated, "b");
    let own = Input { event: update.clone(), ..redriven(vec![update, late]) };
    let first = emitted(provider.payment().handle(&own).await);
    assert_eq!(first.r#type, PaymentEventType::Succeeded);
}

#[test]
fn only_what_can_be_late_looks_back() {
    use OrderEventType::*;
    let looks = |r#type, seen: Option<i64>, redriven| {
        let event = OrderEvent { seen_offset: seen, ..event(r#type, 2) };
        Payment::looks_back(&event, redriven)
    };
    assert_eq!(looks(Placed, None, None), None);
    assert_eq!(looks(Placed, None, Some(4)), Some(4));
    assert_eq!(looks(Updated, Some(7), None), Some(7));
    assert_eq!(looks(Updated, Some(7), Some(4)), Some(4));
    assert_eq!(looks(Updated, None, None), None);
    assert_eq!(looks(Cancelled, Some(7), Some(4)), None);
}
