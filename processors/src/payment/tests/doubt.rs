//! Requests whose answer is missing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use comanda_schemas::{FailureReason, PaymentEventType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn search_query(request: &Request) -> String {
    request.url.query_pairs().find(|(name, _)| name == "query").unwrap().1.into_owned()
}

#[tokio::test]
async fn a_charge_whose_answer_is_lost_is_found_and_not_repeated() {
    let provider = Provider::start().await.charging(ResponseTemplate::new(500)).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
    assert_eq!(event.payment.attempts, 1);
    assert_eq!(provider.charges().await.len(), 1);
    let searches = provider.searches().await;
    assert_eq!(searches.len(), 1);
    let id = order_id();
    assert_eq!(
        search_query(&searches[0]),
        format!("metadata['order_id']:'{id}' AND metadata['version']:'1'")
    );
    assert_eq!(header(&searches[0], "authorization"), "Bearer sk_test_hidden");
    assert_eq!(header(&searches[0], "stripe-version"), "2025-09-30.clover");
}

#[tokio::test]
async fn what_the_look_up_does_not_find_is_sent_again_as_it_was() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.finding(&[]).await;
    let provider = provider.first(2, "POST", CHARGE, ResponseTemplate::new(503)).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.attempts, 3);
    let charges = provider.charges().await;
    assert_eq!(charges.len(), 3);
    for charge in &charges {
        assert_eq!(header(charge, "idempotency-key"), header(&charges[0], "idempotency-key"));
        assert_eq!(charge.body, charges[0].body);
    }
    assert_eq!(provider.searches().await.len(), 2);
}

#[tokio::test]
async fn a_provider_that_stays_broken_fails_the_order_once_nothing_is_found() {
    let provider = Provider::start().await.charging(ResponseTemplate::new(500)).await;
    let provider = provider.finding(&[]).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Failed);
    assert_eq!(event.payment.reason, Some(FailureReason::Unknown));
    assert_eq!(event.payment.detail.as_deref(), Some("http_500"));
    assert_eq!(event.payment.attempts, 4);
    assert_eq!(provider.charges().await.len(), 4);
    assert_eq!(provider.searches().await.len(), 4, "one before each repetition and one at the end");
}

#[tokio::test]
async fn a_provider_that_nobody_answers_for_is_waited_for() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let payment = Payment::new(options(&format!("http://{unused}"))).unwrap();
    let (after, error) = put_off(payment.handle(&input(placed(), 1)).await);
    assert_eq!((after, error.kind), (5_000, "payment_unresolved"));
    assert!(error.chain.contains("no connection"), "{}", error.chain);
}

#[tokio::test]
async fn a_busy_provider_is_waited_for() {
    let provider = Provider::start().await.charging(ResponseTemplate::new(429)).await;
    let (_, error) = put_off(provider.handle(placed()).await);
    assert_eq!(error.kind, "payment_unresolved");
    assert_eq!(provider.charges().await.len(), 4);
    assert!(provider.searches().await.is_empty());
}

#[tokio::test]
async fn a_provider_that_is_away_for_all_is_left_alone_but_for_a_probe() {
    let away = || ResponseTemplate::new(503);
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.finding(&[]).await;
    let provider = provider.first(1, "POST", CHARGE, away()).await;
    let provider = provider.first(2, "GET", SEARCH, away()).await;
    let options = Options {
        circuit_failures: 3,
        circuit_pause_ms: 200,
        max_attempts: 2,
        give_up_after_ms: 60_000,
        ..options(&provider.0.uri())
    };
    let payment = Payment::new(options).unwrap();
    let (_, error) = put_off(payment.handle(&input(placed(), 1)).await);
    assert_eq!(error.kind, "payment_unresolved");
    let asked = || async { provider.0.received_requests().await.unwrap().len() };
    assert_eq!(asked().await, 3);
    let (after, error) = put_off(payment.handle(&input(placed(), 1)).await);
    assert_eq!(error.kind, "payment_provider_away");
    assert!(after <= 201, "{after}");
    assert_eq!(asked().await, 3);
    let deadline = Instant::now() + Duration::from_secs(30);
    let probe = loop {
        match payment.handle(&input(placed(), 1)).await {
            Outcome::Emit(event) => break event,
            _ => assert!(Instant::now() < deadline, "no probe"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(probe.r#type, PaymentEventType::Succeeded);
    let other = event(OrderEventType::Placed, 2);
    emitted(payment.handle(&input(other, 1)).await);
    assert_eq!(provider.charges().await.len(), 3, "two more");
}

#[tokio::test]
async fn what_the_log_rejects_does_not_wait_for_a_provider_that_is_away() {
    let away = || ResponseTemplate::new(503);
    let provider = Provider::start().await.charging(away()).await;
    let provider = provider.answering("GET", SEARCH, away()).await;
    let options = Options {
        circuit_failures: 1,
        circuit_pause_ms: 60_000,
        max_attempts: 1,
        ..options(&provider.0.uri())
    };
    let payment = Payment::new(options).unwrap();
    put_off(payment.handle(&input(placed(), 1)).await);
    let (_, error) = put_off(payment.handle(&input(placed(), 1)).await);
    assert_eq!(error.kind, "payment_provider_away");
    let cancelled = event(OrderEventType::Cancelled, 2);
    let late = input(event(OrderEventType::Updated, 3), 1);
    let late = Input { earlier: vec![cancelled], ..late };
    let rejected = emitted(payment.handle(&late).await);
    assert_eq!(rejected.r#type, PaymentEventType::ChangeRejected);
}

#[tokio::test]
async fn an_order_without_an_answer_is_given_up_after_its_time() {
    let provider = Provider::start().await.charging(ResponseTemplate::new(500)).await;
    let provider = provider.finding(&[]).await;
    let options = Options { give_up_after_ms: 60_000, ..options(&provider.0.uri()) };
    let payment = Payment::new(options).unwrap();
    let young = input(placed(), 1);
    let (_, error) = put_off(payment.handle(&young).await);
    assert_eq!(error.kind, "payment_unresolved");
    let old = Input { failing_for: Duration::from_secs(60), ..input(placed(), 9) };
    let event = emitted(payment.handle(&old).await);
    assert_eq!(event.payment.reason, Some(FailureReason::Unknown));
}

#[tokio::test]
async fn an_order_that_lived_through_an_outage_is_charged() {
    let provider = Provider::start().await.finding(&[]).await;
    let provider = provider.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.first(4, "POST", CHARGE, ResponseTemplate::new(429)).await;
    let payment = provider.payment();
    put_off(payment.handle(&input(placed(), 1)).await);
    let event = emitted(payment.handle(&input(placed(), 2)).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(provider.searches().await.len(), 1, "looked up before it was sent again");
}

#[tokio::test]
async fn an_outcome_that_can_not_be_looked_up_stays_open() {
    let provider = Provider::start().await.charging(ResponseTemplate::new(500)).await;
    let provider = provider.answering("GET", SEARCH, ResponseTemplate::new(503)).await;
    let (after, error) = put_off(provider.handle(placed()).await);
    assert_eq!((after, error.kind), (5_000, "payment_unresolved"));
    assert_eq!(provider.charges().await.len(), 1, "nothing is sent again in doubt");
    assert_eq!(provider.searches().await.len(), 4);
}

#[tokio::test]
async fn a_look_up_that_fails_is_tried_again() {
    let provider = Provider::start().await.charging(ResponseTemplate::new(500)).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let provider = provider.first(2, "GET", SEARCH, ResponseTemplate::new(503)).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(provider.charges().await.len(), 1);
}

#[tokio::test]
async fn a_payment_that_is_still_processed_stays_open() {
    let provider = Provider::start().await.charging(ok(intent(1, "processing"))).await;
    let provider = provider.finding(&[intent(1, "processing")]).await;
    let (_, error) = put_off(provider.handle(placed()).await);
    assert_eq!(error.kind, "payment_unresolved");
    assert_eq!(provider.charges().await.len(), 1);
}

#[tokio::test]
async fn a_key_that_stays_locked_stays_open() {
    let locked = error(409, "idempotency_error", "idempotency_key_in_use");
    let provider = Provider::start().await.charging(locked).await;
    let provider = provider.finding(&[]).await;
    let (_, error) = put_off(provider.handle(placed()).await);
    assert_eq!(error.kind, "payment_unresolved");
    assert_eq!(provider.charges().await.len(), 4);
}

#[tokio::test]
async fn a_decline_that_was_lost_is_found() {
    let mut declined = intent(1, "requires_payment_method");
    declined["last_payment_error"] =
        json!({ "code": "card_declined", "decline_code": "lost_card" });
    let provider = Provider::start().await.charging(ResponseTemplate::new(502)).await;
    let provider = provider.finding(&[declined]).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.payment.reason, Some(FailureReason::Declined));
    assert_eq!(event.payment.detail.as_deref(), Some("lost_card"));
    assert_eq!(provider.charges().await.len(), 1);
}

#[tokio::test]
async fn a_payment_that_was_created_and_never_tried_is_sent_again() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.finding(&[intent(1, "requires_payment_method")]).await;
    let provider = provider.first(1, "POST", CHARGE, ResponseTemplate::new(500)).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.attempts, 2);
}

#[tokio::test]
async fn payments_of_other_orders_and_versions_are_no_answer() {
    let mut foreign = intent(1, "succeeded");
    foreign["metadata"]["order_id"] = json!(OrderId::derive("c-2", "k-1").to_string());
    let provider = Provider::start().await.charging(ResponseTemplate::new(500)).await;
    let provider = provider.finding(&[foreign, intent(2, "succeeded")]).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.payment.reason, Some(FailureReason::Unknown));
}

#[tokio::test]
async fn a_key_of_another_request_fails_only_when_nothing_was_charged() {
    let reused = || error(400, "idempotency_error", "");
    let provider = Provider::start().await.charging(reused()).await.finding(&[]).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.payment.reason, Some(FailureReason::Unknown));
    assert_eq!(event.payment.detail.as_deref(), Some("idempotency_key_reused"));
    assert_eq!(provider.charges().await.len(), 1);

    let provider = Provider::start().await.charging(reused()).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let event = emitted(provider.handle(placed()).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);

    let provider = Provider::start().await.charging(reused()).await;
    let (_, error) = put_off(provider.handle(placed()).await);
    assert_eq!(error.kind, "payment_provider_refuses", "the mock has no search: 404");
}

#[tokio::test]
async fn a_repeated_call_looks_up_before_it_sends() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let event = emitted(provider.payment().handle(&input(placed(), 2)).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.attempts, 0);
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn an_order_that_was_never_sent_is_not_failed() {
    let provider = Provider::start().await.finding(&[]).await;
    let provider = provider.first(4, "GET", SEARCH, ResponseTemplate::new(503)).await;
    let (_, error) = put_off(provider.payment().handle(&input(placed(), 2)).await);
    assert_eq!(error.kind, "payment_unresolved");
    assert_eq!(provider.searches().await.len(), 5, "the last one finds nothing");
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn an_event_older_than_the_key_lives_is_looked_up_first() {
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let mut old = placed();
    old.occurred_at = Timestamp::from_micros(Timestamp::now().as_micros() - 24 * 3_600_000_000);
    let event = emitted(provider.handle(old).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert!(provider.charges().await.is_empty());
}

#[tokio::test]
async fn nothing_found_counts_only_after_the_searchs_lag() {
    let lag = Duration::from_millis(400);
    let provider = Provider::start().await.charging(ResponseTemplate::new(500)).await;
    let nothing = ok(json!({ "data": [] }));
    // One look-up before the second request, one at the end that is too early, one in time.
    let provider = provider.first(2, "GET", SEARCH, nothing).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let options = Options { search_lag_ms: 400, max_attempts: 2, ..options(&provider.0.uri()) };
    let begun = Instant::now();
    let event = emitted(Payment::new(options).unwrap().handle(&input(placed(), 1)).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(provider.searches().await.len(), 3);
    assert!(begun.elapsed() >= lag, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_that_timed_out_gets_as_long_again_before_it_counts_as_not_charged() {
    let slow = ok(intent(1, "succeeded")).set_delay(Duration::from_secs(30));
    let provider = Provider::start().await.charging(slow).await;
    let provider = provider.first(1, "GET", SEARCH, ok(json!({ "data": [] }))).await;
    let provider = provider.finding(&[intent(1, "succeeded")]).await;
    let options = Options { max_attempts: 1, ..options(&provider.0.uri()) };
    let begun = Instant::now();
    let event = emitted(Payment::new(options).unwrap().handle(&input(placed(), 1)).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(provider.searches().await.len(), 2);
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
}

/// Charges and hangs up: each request for a charge is recorded and left without an answer, as
/// long as the idempotency key is new.
#[derive(Clone, Default)]
struct HangsUp {
    keys: Arc<Mutex<Vec<String>>>,
    finds: bool,
}

impl HangsUp {
    async fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().answer(stream));
            }
        });
        url
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut request = String::new();
        let mut buffer = [0; 4096];
        while !request.contains("\r\n\r\n") {
            let read = stream.read(&mut buffer).await.unwrap();
            request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        if request.starts_with("POST") {
            let key = request
                .lines()
                .find_map(|l| {
                    l.to_ascii_lowercase().strip_prefix("idempotency-key: ")?.to_owned().into()
                })
                .unwrap();
            self.keys.lock().unwrap().push(key);
            return;
        }
        let found = if self.finds { vec![intent(1, "succeeded")] } else { vec![] };
        let body = json!({ "data": found }).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_provider_that_charges_and_hangs_up_has_charged_once() {
    let provider = HangsUp { finds: true, ..HangsUp::default() };
    let keys = provider.keys.clone();
    let payment = Payment::new(options(&provider.serve().await)).unwrap();
    let event = emitted(payment.handle(&input(placed(), 1)).await);
    assert_eq!(event.r#type, PaymentEventType::Succeeded);
    assert_eq!(event.payment.payment_id.as_deref(), Some("pi_1"));
    assert_eq!(*keys.lock().unwrap(), [format!("{}:1", order_id())]);
}

#[tokio::test]
async fn a_provider_that_only_hangs_up_is_unreachable() {
    let provider = HangsUp::default();
    let keys = provider.keys.clone();
    let payment = Payment::new(options(&provider.serve().await)).unwrap();
    let event = emitted(payment.handle(&input(placed(), 1)).await);
    assert_eq!(event.payment.reason, Some(FailureReason::Unreachable));
    assert_eq!(event.payment.detail.as_deref(), Some("connection_lost"));
    assert_eq!(keys.lock().unwrap().len(), 4);
}
