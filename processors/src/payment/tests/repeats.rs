use comanda_schemas::{FailureReason, PaymentEventType};

use super::*;

/// The same event as another gateway wrote it for another request, further on in the log.
fn other_content(total_minor: i64) -> Input<OrderEvent> {
    let mut event = placed();
    event.order.total_minor = total_minor;
    event.order.note = Some("another order".into());
    let mut input = input(event, 1);
    input.source.offset += 1;
    input
}

/// Of a record and another one of the same event: the results.
async fn both(
    payment: &Payment,
    first: OrderEvent,
    second: Input<OrderEvent>,
) -> [PaymentEvent; 2] {
    let first = emitted(payment.handle(&input(first, 1)).await);
    [first, emitted(payment.handle(&second).await)]
}

#[tokio::test]
async fn a_second_record_of_an_event_has_the_result_of_the_first_and_no_charge_of_its_own() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let [first, second] = both(&provider.payment(), placed(), other_content(9900)).await;
    assert_eq!(second.source.offset, first.source.offset + 1);
    assert_eq!(PaymentEvent { source: first.source.clone(), ..second }, first);
    assert_eq!(provider.charges().await.len(), 1);
}

#[tokio::test]
async fn an_order_for_nothing_is_not_charged_for_what_another_record_of_it_says() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let mut free = placed();
    free.order.total_minor = 0;
    let [first, second] = both(&provider.payment(), free, other_content(9900)).await;
    assert_eq!((first.payment.payment_id, second.payment.payment_id), (None, None));
    assert_eq!(second.order.total_minor, 0);
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn what_was_given_up_is_not_charged_by_another_record_of_it() {
    let away = ResponseTemplate::new(500).set_delay(Duration::from_secs(1));
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await.finding(&[]);
    let provider = provider.await.first(4, "POST", CHARGE, away).await;
    let [first, second] = both(&provider.payment(), placed(), other_content(2400)).await;
    for event in [first, second] {
        assert_eq!(event.r#type, PaymentEventType::Failed);
        assert_eq!(event.payment.reason, Some(FailureReason::Unreachable));
    }
    assert_eq!(provider.charges().await.len(), 4);
}

/// By a processor that has not seen the first.
#[tokio::test]
async fn after_a_restart_the_providers_key_keeps_a_second_record_from_being_charged() {
    let reused = error(400, "idempotency_error", "");
    let provider = Provider::start().await.charging(reused).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let event = emitted(provider.payment().handle(&other_content(9900)).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
    assert_eq!(event.payment.amount_minor, 2400, "what was charged");
}
