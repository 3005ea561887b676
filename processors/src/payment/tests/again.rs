//! Orders that were perhaps sent before, by somebody who left no word of it.

use std::time::Duration;

use comanda_schemas::PaymentEventType;

use super::*;

/// The first call for an order that another process may have begun.
fn suspect() -> Input<OrderEvent> {
    Input { is_suspect: true, ..input(placed(), 1) }
}

#[tokio::test]
async fn what_another_process_charged_is_found_and_not_charged_again() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let event = emitted(provider.payment().handle(&suspect()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn what_another_process_did_not_send_is_charged_under_the_first_key() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.finding(&[]).await;
    let event = emitted(provider.payment().handle(&suspect()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(keys(&provider.charges().await), [format!("{}:1", order_id())]);
    assert_eq!(provider.searches().await.len(), 1);
}

#[tokio::test]
async fn the_look_up_before_a_decline_does_not_make_it_wait_for_the_search() {
    let declined = error(402, "card_error", "card_declined");
    let provider = Provider::start().await.charging(declined).await.finding(&[]).await;
    let options = Options { search_lag_ms: 3_600_000, ..options(&provider.0.uri()) };
    let payment = Payment::new(options).unwrap();
    let event = emitted(payment.handle(&suspect()).await);
    assert_eq!(event.r#type, PaymentEventType::Failed);
    assert_eq!(provider.searches().await.len(), 1);
}

#[tokio::test]
async fn what_another_process_may_have_sent_is_not_sent_while_nobody_looks_up() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.answering("GET", SEARCH, ResponseTemplate::new(503)).await;
    let (error, note) = held(provider.payment().handle(&suspect()).await);
    assert_eq!(error.kind, "payment_unresolved");
    assert!(note.is_some(), "its outcome is open");
    assert!(provider.charges().await.is_empty());
    assert_eq!(provider.searches().await.len(), 4);
}

#[tokio::test]
async fn a_dead_letter_that_is_put_back_is_looked_up_first() {
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let redriven = Input { is_redriven: true, ..input(placed(), 1) };
    let event = emitted(provider.payment().handle(&redriven).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn a_provider_that_refuses_to_look_up_holds_nothing() {
    let refused = error(401, "invalid_request_error", "");
    let provider = Provider::start().await.answering("GET", SEARCH, refused).await;
    let outcome = provider.payment().handle(&suspect()).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn an_order_that_nobody_can_have_sent_is_not_looked_up() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    emitted(provider.payment().handle(&input(placed(), 1)).await);
    let without = Options { look_up_repeats: false, ..options(&provider.0.uri()) };
    emitted(Payment::new(without).unwrap().handle(&suspect()).await);
    let mut free = suspect();
    free.event.order.total_minor = 0;
    emitted(provider.payment().handle(&free).await);
    assert!(provider.searches().await.is_empty());
    assert_eq!(provider.charges().await.len(), 2);
}

#[test]
fn stripes_search_is_not_taken_for_a_fast_one() {
    let at = |url: &str, search_lag_ms| Payment::new(Options { search_lag_ms, ..options(url) });
    let refused = at("https://api.stripe.com", 59_999).unwrap_err().to_string();
    assert!(refused.contains("`search_lag_ms` must be at least 60000"), "{refused}");
    assert!(at("https://API.Stripe.com", 59_999).is_err(), "hosts have no case");
    assert!(at("https://api.stripe.com", 60_000).is_ok());
    assert!(at("http://127.0.0.1:1/api.stripe.com", 0).is_ok(), "a path is no host");
    assert!(at("http://127.0.0.1:1", 0).is_ok());
}

/// A 500 that the provider has stored for the idempotency key.
fn replayed() -> ResponseTemplate {
    error(500, "api_error", "").insert_header("idempotent-replayed", "true")
}

/// A provider that has stored a 500 for each of `burnt` and charges under any other key.
async fn burning(burnt: &[String]) -> Provider {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    for key in burnt {
        Mock::given(method("POST"))
            .and(path(CHARGE))
            .and(wiremock::matchers::header("idempotency-key", key.as_str()))
            .respond_with(replayed())
            .with_priority(1)
            .mount(&provider.0)
            .await;
    }
    provider
}

fn keys(charges: &[Request]) -> Vec<&str> {
    charges.iter().map(|charge| header(charge, "idempotency-key")).collect()
}

#[tokio::test]
async fn a_key_that_only_replays_an_error_is_replaced_once_nothing_is_found() {
    let (first, second) = (format!("{}:1", order_id()), format!("{}:1:2", order_id()));
    let provider = burning(std::slice::from_ref(&first)).await.finding(&[]).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    let charges = provider.charges().await;
    assert_eq!(keys(&charges), [&first, &second]);
    assert_eq!(charges[0].body, charges[1].body);
    assert_eq!(provider.searches().await.len(), 1, "looked up before the new key");

    let third = format!("{}:1:3", order_id());
    let provider = burning(&[first.clone(), second.clone()]).await.finding(&[]).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(keys(&provider.charges().await), [first, second, third]);
}

#[tokio::test]
async fn a_key_that_replays_an_error_is_kept_while_the_charge_may_be_found_yet() {
    let first = format!("{}:1", order_id());
    let provider = burning(std::slice::from_ref(&first)).await;
    let nothing = ok(json!({ "data": [] }));
    // Too early, and then there it is.
    let provider = provider.first(1, "GET", SEARCH, nothing).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let options = Options { search_lag_ms: 400, ..options(&provider.0.uri()) };
    let event = emitted(Payment::new(options).unwrap().handle(&input(placed(), 1)).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(keys(&provider.charges().await), [&first]);
}

#[tokio::test]
async fn a_key_that_replays_an_error_stays_while_nobody_looks_up() {
    let first = format!("{}:1", order_id());
    let provider = burning(std::slice::from_ref(&first)).await;
    let provider = provider.answering("GET", SEARCH, ResponseTemplate::new(503)).await;
    put_off(provider.handle(placed()).await);
    assert_eq!(keys(&provider.charges().await), [&first]);
}

#[tokio::test]
async fn keys_burnt_in_a_long_outage_do_not_use_up_the_tries() {
    let key = |n: u32| match n {
        1 => format!("{}:1", order_id()),
        n => format!("{}:1:{n}", order_id()),
    };
    let burnt: Vec<String> = (1..=9).map(key).collect();
    let provider = burning(&burnt).await.finding(&[]).await;
    let options = Options { search_lag_ms: 300, ..options(&provider.0.uri()) };
    assert!(burnt.len() > options.max_attempts as usize);
    let before = tokio::time::Instant::now();
    let event = emitted(Payment::new(options).unwrap().handle(&input(placed(), 1)).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    let charges = provider.charges().await;
    assert_eq!(*keys(&charges).last().unwrap(), key(10));
    assert_eq!(charges.len(), 10);
    assert!(before.elapsed() >= Duration::from_millis(300), "waits for the search, and only once");
}

#[tokio::test]
async fn keys_burnt_in_a_long_outage_do_not_keep_a_refund_back() {
    let done = ok(json!({ "id": "re_1", "object": "refund", "status": "succeeded" }));
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let provider = provider.answering("POST", REFUND, done).await;
    let provider = provider.first(9, "POST", REFUND, replayed()).await;
    let event = emitted(provider.handle(event(OrderEventType::Cancelled, 2)).await);
    assert_eq!(event.r#type, PaymentEventType::Refunded);
    let refunds = provider.refunds().await;
    assert_eq!(refunds.len(), 10);
    let last = keys(&refunds)[9].to_owned();
    assert!(last.ends_with(":10"), "{last}");
}
