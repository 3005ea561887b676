//! Servers that answer in the provider's place, and pauses that the provider asks for.

use std::time::Duration;

use comanda_schemas::PaymentEventType;

use super::*;

/// What servers say that are not the payment provider.
const PAGES: [&str; 7] = [
    "",
    "<html><h1>400 Bad Request</h1><hr>nginx</html>",
    "{}",
    "[]",
    r#"{"error":"bad request"}"#,
    r#"{"error":{"type":"BadRequest","code":"declined","message":"no"}}"#,
    r#"{"message":"Forbidden"}"#,
];

fn pages(statuses: &[u16]) -> impl Iterator<Item = ResponseTemplate> {
    let statuses = statuses.to_vec();
    PAGES.into_iter().flat_map(move |page| {
        statuses
            .clone()
            .into_iter()
            .map(move |status| ResponseTemplate::new(status).set_body_string(page))
    })
}

#[tokio::test]
async fn a_charge_that_something_else_answers_waits_and_is_not_failed() {
    for answer in pages(&[301, 302, 307, 400, 401, 402, 403, 404, 405, 413, 422, 451]) {
        let provider = Provider::start().await.charging(answer).await.finding(&[]).await;
        for attempt in [1, 99] {
            let failing_for = Duration::from_secs(600);
            let input = Input { failing_for, ..input(placed(), attempt) };
            let outcome = provider.payment().handle(&input).await;
            let Outcome::Retry { after, error } = outcome else { panic!("{outcome:?}") };
            let told = (after.as_secs(), error.kind);
            assert_eq!(told, (60, "payment_provider_refuses"), "{}", error.chain);
        }
    }
}

#[tokio::test]
async fn a_success_or_a_proxys_word_leaves_the_charge_open_and_is_not_failed() {
    for answer in pages(&[200, 201, 204, 408, 409, 424]) {
        let provider = Provider::start().await.charging(answer).await.finding(&[]).await;
        let failing_for = Duration::from_secs(600);
        let input = Input { failing_for, ..input(placed(), 99) };
        let (_, note) = held(provider.payment().handle(&input).await);
        assert!(note.is_some());
        let provider = provider.finding(&[]).await;
        let keys = provider.charges().await;
        assert!(keys.iter().all(|charge| header(charge, "idempotency-key").ends_with(":1")));
    }
}

#[tokio::test]
async fn a_look_up_that_something_else_answers_finds_nothing_out() {
    for answer in pages(&[200, 302, 400, 402, 404]) {
        let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
        let provider = provider.answering("GET", SEARCH, answer).await;
        put_off(provider.payment().handle(&input(placed(), 2)).await);
        put_off(provider.handle(event(OrderEventType::Updated, 2)).await);
        put_off(provider.handle(event(OrderEventType::Cancelled, 2)).await);
        assert!(provider.charges().await.is_empty());
        assert!(provider.refunds().await.is_empty());
    }
}

#[tokio::test]
async fn a_refund_that_something_else_answers_waits() {
    for answer in pages(&[200, 302, 400, 402, 404, 409]) {
        let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
        let provider = provider.answering("POST", REFUND, answer).await;
        put_off(provider.handle(event(OrderEventType::Cancelled, 2)).await);
    }
}

#[tokio::test]
async fn orders_wait_for_the_provider_however_it_is_away_and_are_charged_once_it_is_back() {
    for away in [
        ResponseTemplate::new(400).set_body_string("<html>nginx"),
        ResponseTemplate::new(302),
        ResponseTemplate::new(429),
        error(401, "invalid_request_error", "api_key_expired"),
        error(403, "invalid_request_error", ""),
    ] {
        let provider = Provider::start().await.charging(away.clone()).await;
        let provider = provider.answering("GET", SEARCH, away).await;
        let options = Options {
            circuit_failures: 5,
            circuit_pause_ms: 50,
            max_attempts: 1,
            ..options(&provider.0.uri())
        };
        let payment = Payment::new(options).unwrap();
        for _ in 0..5 {
            put_off(payment.handle(&input(placed(), 1)).await);
        }
        let outcome = payment.handle(&input(placed(), 1)).await;
        let Outcome::Wait { error, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.kind, "payment_provider_away");
        assert!(Payment::is_neighbours_fault(&error));
        assert!(payment.presence().absence().is_some());
        provider.0.reset().await;
        let provider = provider.charging(ok(intent(1, "succeeded"))).await.finding(&[]).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let event = loop {
            match payment.handle(&input(placed(), 1)).await {
                Outcome::Emit(event) => break event,
                _ => assert!(std::time::Instant::now() < deadline, "no probe"),
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(event.r#type, PaymentEventType::Succeeded);
        assert_eq!(provider.charges().await.len(), 1);
        assert_eq!(payment.presence().absence(), None);
    }
}

#[tokio::test]
async fn a_long_pause_that_the_provider_asks_for_is_kept_outside_of_the_call() {
    let date = || {
        let format = time::format_description::well_known::Rfc2822;
        let at = time::OffsetDateTime::now_utc() + Duration::from_secs(4_000);
        at.format(&format).unwrap().replace("+0000", "GMT")
    };
    for pause in ["4000".to_owned(), date()] {
        let busy = error(429, "invalid_request_error", "rate_limit");
        let busy = busy.insert_header("retry-after", pause.as_str());
        let provider = Provider::start().await.charging(busy.clone()).await;
        let (after, error) = put_off(provider.handle(placed()).await);
        assert_eq!(error.kind, "payment_unresolved");
        assert!((3_990_000..=4_000_100).contains(&after), "{after}");
        assert_eq!(provider.charges().await.len(), 1, "it is left alone");

        let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
        let provider = provider.answering("POST", REFUND, busy.clone()).await;
        let (after, _) = put_off(provider.handle(event(OrderEventType::Cancelled, 2)).await);
        assert!((3_990_000..=4_000_100).contains(&after), "{after}");
        assert_eq!(provider.refunds().await.len(), 1);

        let provider = Provider::start().await.answering("GET", SEARCH, busy).await;
        let (after, _) = put_off(provider.handle(event(OrderEventType::Updated, 2)).await);
        assert!((3_990_000..=4_000_100).contains(&after), "{after}");
        assert_eq!(provider.searches().await.len(), 1);
    }
}
