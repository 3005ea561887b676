//! Changes and cancellations.

use comanda_schemas::{FailureReason, PaymentEventType};

use super::*;

fn updated() -> OrderEvent {
    event(OrderEventType::Updated, 2)
}

fn cancelled() -> OrderEvent {
    event(OrderEventType::Cancelled, 2)
}

fn refund(status: &str) -> ResponseTemplate {
    ok(json!({ "id": "re_1", "object": "refund", "status": status }))
}

#[tokio::test]
async fn a_change_before_any_charge_is_charged_at_its_own_version() {
    let provider = Provider::start().await.charging(ok(intent(2, "succeeded"))).await;
    let mut declined = intent(1, "requires_payment_method");
    declined["last_payment_error"] = json!({ "code": "card_declined" });
    let provider = provider.finding(&[declined]).await;
    let event = emitted(provider.handle(updated()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.version, 2);
    let charges = provider.charges().await;
    assert_eq!(charges.len(), 1);
    assert_eq!(header(&charges[0], "idempotency-key"), format!("{}:2", order_id()));
    let searches = provider.searches().await;
    let query = searches[0].url.query_pairs().find(|(name, _)| name == "query").unwrap().1;
    assert_eq!(query, format!("metadata['order_id']:'{}'", order_id()));
}

#[tokio::test]
async fn a_change_after_the_charge_is_rejected_and_nothing_is_charged() {
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let event = emitted(provider.handle(updated()).await);
    assert_eq!(event.r#type, PaymentEventType::ChangeRejected);
    assert_eq!(event.version, 2);
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
    assert_eq!(event.payment.reason, None);
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn a_change_that_was_charged_by_a_lost_call_is_succeeded() {
    let provider = Provider::start().await;
    let provider = provider.finding(&[intent(1, "canceled"), intent(2, "succeeded")]).await;
    let event = emitted(provider.handle(updated()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_2"));
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn a_change_waits_while_an_earlier_charge_is_not_decided() {
    let provider = Provider::start().await.finding(&[intent(1, "processing")]).await;
    let (_, error) = put_off(provider.handle(updated()).await);
    assert_eq!(error.kind, "payment_unresolved");
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn a_change_waits_while_earlier_charges_can_not_be_looked_up() {
    let broken = ResponseTemplate::new(503);
    let provider = Provider::start().await.answering("GET", SEARCH, broken).await;
    let (after, error) = put_off(provider.handle(updated()).await);
    assert_eq!((after, error.kind), (5_000, "payment_unresolved"));
    assert!(provider.charges().await.is_empty());
    assert_eq!(provider.searches().await.len(), 4);
}

#[tokio::test]
async fn a_cancel_after_the_charge_refunds_it() {
    for status in ["succeeded", "pending"] {
        let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
        let provider = provider.answering("POST", REFUND, refund(status)).await;
        let mut cancel = cancelled();
        cancel.order.total_minor = 9_900;
        let event = emitted(provider.handle(cancel).await);
        assert_eq!(event.r#type, PaymentEventType::Refunded);
        assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
        assert_eq!(event.payment.amount_minor, 2400, "what was charged, not what was changed to");
        assert_eq!(event.payment.attempts, 1);
        let refunds = provider.refunds().await;
        assert_eq!(refunds.len(), 1);
        assert_eq!(header(&refunds[0], "idempotency-key"), format!("{}:2:refund", order_id()));
        assert_eq!(header(&refunds[0], "authorization"), "Bearer sk_test_hidden");
        let form = form(&refunds[0]);
        assert!(form.contains(&("payment_intent".into(), "pi_1".into())), "{form:?}");
        assert!(form.contains(&("metadata[order_id]".into(), order_id().to_string())), "{form:?}");
    }
}

#[tokio::test]
async fn a_cancel_before_any_charge_is_voided() {
    let provider = Provider::start().await.finding(&[]).await;
    let event = emitted(provider.handle(cancelled()).await);
    assert_eq!(event.r#type, PaymentEventType::Voided);
    assert_eq!(event.payment.payment_id, None);
    assert_eq!(event.payment.attempts, 0);
    assert!(provider.charges().await.is_empty() && provider.refunds().await.is_empty());
}

#[tokio::test]
async fn cancelling_an_order_for_nothing_undoes_its_payment() {
    let provider = Provider::start().await.finding(&[]).await;
    let mut cancel = cancelled();
    cancel.order.total_minor = 0;
    let event = emitted(provider.handle(cancel).await);
    assert_eq!(event.r#type, PaymentEventType::Refunded);
    assert_eq!(event.payment.amount_minor, 0);
}

#[tokio::test]
async fn a_refund_whose_answer_is_lost_is_sent_again_under_its_key() {
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let provider = provider.answering("POST", REFUND, refund("succeeded")).await;
    let provider = provider.first(2, "POST", REFUND, ResponseTemplate::new(500)).await;
    let event = emitted(provider.handle(cancelled()).await);
    assert_eq!(event.r#type, PaymentEventType::Refunded);
    assert_eq!(event.payment.attempts, 3);
    let refunds = provider.refunds().await;
    assert!(refunds.iter().all(|r| r.body == refunds[0].body));
    assert!(refunds.iter().all(|r| header(r, "idempotency-key").ends_with(":2:refund")));
}

#[tokio::test]
async fn a_charge_that_was_refunded_before_is_refunded() {
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let before = error(400, "invalid_request_error", "charge_already_refunded");
    let provider = provider.answering("POST", REFUND, before).await;
    assert_eq!(emitted(provider.handle(cancelled()).await).r#type, PaymentEventType::Refunded);
}

#[tokio::test]
async fn a_refund_that_is_not_answered_stays_open() {
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let provider = provider.answering("POST", REFUND, ResponseTemplate::new(500)).await;
    let (_, error) = put_off(provider.handle(cancelled()).await);
    assert_eq!(error.kind, "payment_unresolved");
    assert_eq!(provider.refunds().await.len(), 4);
}

#[tokio::test]
async fn a_refund_that_is_refused_is_for_a_person() {
    let refused = error(400, "invalid_request_error", "charge_disputed");
    for answer in [refused, refund("failed")] {
        let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
        let provider = provider.answering("POST", REFUND, answer).await;
        let outcome = provider.handle(cancelled()).await;
        let Outcome::DeadLetter { error, result } = outcome else { panic!("{outcome:?}") };
        assert_eq!((error.kind, result), ("refund_refused", None));
    }
}

#[tokio::test]
async fn a_cancel_finds_a_charge_that_the_search_learns_of_late() {
    let provider = Provider::start().await;
    let provider = provider.first(1, "GET", SEARCH, ok(json!({ "data": [] }))).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let provider = provider.answering("POST", REFUND, refund("succeeded")).await;
    let options = Options { search_lag_ms: 200, ..options(&provider.0.uri()) };
    let outcome = Payment::new(options).unwrap().handle(&input(cancelled(), 1)).await;
    assert_eq!(emitted(outcome).r#type, PaymentEventType::Refunded);
}

#[tokio::test]
async fn a_change_that_is_declined_is_failed() {
    let declined = error(402, "card_error", "expired_card");
    let provider = Provider::start().await.charging(declined).await.finding(&[]).await;
    let event = emitted(provider.handle(updated()).await);
    assert_eq!(event.payment.reason, Some(FailureReason::Declined));
    assert_eq!(event.payment.detail.as_deref(), Some("expired_card"));
}

#[tokio::test]
async fn a_cancellation_gives_every_charge_of_the_order_back() {
    let charges = [intent(1, "succeeded"), intent(3, "succeeded"), intent(2, "canceled")];
    let provider = Provider::start().await.finding(&charges).await;
    let provider = provider.answering("POST", REFUND, refund("succeeded")).await;
    let event = emitted(provider.handle(event(OrderEventType::Cancelled, 4)).await);
    assert_eq!(event.r#type, PaymentEventType::Refunded);
    assert_eq!(event.payment.amount_minor, 4800, "both");
    let refunds = provider.refunds().await;
    let of = |n: usize| form(&refunds[n])[0].1.clone();
    assert_eq!((refunds.len(), of(0), of(1)), (2, "pi_1".into(), "pi_3".into()));
    assert_ne!(header(&refunds[0], "idempotency-key"), header(&refunds[1], "idempotency-key"));
}
