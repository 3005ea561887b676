//! Outcomes that stay open: reported once, held, and ended by those who know.

use std::pin::pin;

use comanda_schemas::{FailureReason, PaymentEventType, PaymentOutcome, PaymentReportType};
use futures_util::FutureExt as _;

use super::super::Reports;
use super::*;

const SUCCEEDED: PaymentOutcome = PaymentOutcome::Succeeded;

/// A provider that charges and says nothing of use, nor can be asked.
async fn mute() -> Provider {
    let provider = Provider::start().await.charging(error(500, "api_error", "x")).await;
    provider.answering("GET", SEARCH, error(503, "api_error", "x")).await
}

fn held_input(event: OrderEvent) -> Input<OrderEvent> {
    let failing_for = Duration::from_secs(86_400);
    Input { is_held: true, failing_for, ..input(event, 2_000) }
}

fn resolution(version: i32, outcome: PaymentOutcome) -> PaymentReport {
    PaymentReport {
        event_id: PaymentReport::derive_id(PaymentReportType::Resolved, "x"),
        r#type: PaymentReportType::Resolved,
        order_id: order_id(),
        version,
        occurred_at: Timestamp::now(),
        provider: "stripe".into(),
        payment_id: Some("pi_by_hand".into()),
        outcome: Some(outcome),
        amount_minor: Some(2300),
        currency: Currency::parse("EUR"),
        detail: Some("seen in the dashboard".into()),
        attempts: 3,
        source: None,
    }
}

#[tokio::test]
async fn an_outcome_that_can_not_be_looked_up_is_reported_once_and_held() {
    let provider = mute().await;
    let (_, note) = held(provider.handle(placed()).await);
    let report = note.expect("the first time");
    assert_eq!(report.event_id, PaymentReport::in_doubt_id(placed().event_id));
    assert_eq!(report.r#type, PaymentReportType::InDoubt);
    assert_eq!((report.order_id, report.version), (order_id(), 1));
    assert_eq!((report.provider.as_str(), report.outcome), ("stripe", None));
    assert_eq!((report.detail.as_deref(), report.attempts), (Some("http_503"), 1));
    let source = report.source.expect("the order event");
    assert_eq!((source.topic.as_str(), source.partition, source.offset), ("orders", 3, 42));

    // Whatever its age: nobody knows that it was not charged.
    let (error, note) = held(provider.payment().handle(&held_input(placed())).await);
    assert_eq!((error.kind, note), ("payment_unresolved", None));
    assert_eq!(provider.charges().await.len(), 1);
}

#[tokio::test]
async fn a_refund_without_an_answer_is_reported_too() {
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let provider = provider.answering("POST", REFUND, error(500, "api_error", "x")).await;
    let (_, note) = held(provider.handle(event(OrderEventType::Cancelled, 2)).await);
    let report = note.expect("something was sent");
    assert_eq!((report.version, report.attempts), (2, 4));
}

#[tokio::test]
async fn a_provider_that_refuses_before_anything_happens_leaves_nothing_open() {
    let provider = Provider::start().await.charging(error(429, "rate_limit", "")).await;
    let outcome = provider.handle(placed()).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    let provider = Provider::start().await.charging(error(401, "x", "api_key_expired")).await;
    let outcome = provider.handle(placed()).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}

#[tokio::test]
async fn what_is_held_stays_held_while_the_provider_is_away_and_is_known_after_a_restart() {
    let provider = mute().await;
    let options = Options { circuit_failures: 1, ..options(&provider.0.uri()) };
    let payment = Payment::new(options.clone()).unwrap();
    let (_, note) = held(payment.handle(&input(placed(), 1)).await);
    let (error, again) = held(payment.handle(&held_input(placed())).await);
    assert_eq!((error.kind, again), ("payment_provider_away", None));

    let reports = Reports::none();
    reports.add(note.expect("the first time"));
    let restarted = Payment::new(options).unwrap().heeding(reports);
    let sent = provider.charges().await.len();
    let (error, again) = held(restarted.handle(&input(placed(), 1)).await);
    assert_eq!((error.kind, again), ("payment_unresolved", None));
    assert_eq!(provider.charges().await.len(), sent, "looked up first");
}

#[tokio::test]
async fn what_an_operator_says_ends_it_and_nothing_more_is_sent() {
    use PaymentOutcome::{Failed, Succeeded};
    let (change, cancelled) =
        (event(OrderEventType::Updated, 2), event(OrderEventType::Cancelled, 3));
    for (event, outcome, expected) in [
        (placed(), Succeeded, PaymentEventType::Succeeded),
        (change, Succeeded, PaymentEventType::Succeeded),
        (cancelled, Succeeded, PaymentEventType::Refunded),
    ] {
        let provider = mute().await;
        let payment = provider.payment();
        payment.reports.add(resolution(event.version, outcome));
        let result = emitted(payment.handle(&held_input(event)).await);
        assert_eq!(result.r#type, expected);
        assert_eq!(result.payment.payment_id.as_deref(), Some("pi_by_hand"));
        assert_eq!((result.payment.amount_minor, result.payment.attempts), (2300, 3));
        assert_eq!(result.payment.detail.as_deref(), Some("seen in the dashboard"));
        assert_eq!(provider.0.received_requests().await.unwrap().len(), 0);
    }
    let payment = mute().await.payment();
    payment.reports.add(resolution(1, Failed));
    let result = emitted(payment.handle(&held_input(placed())).await);
    assert_eq!(result.r#type, PaymentEventType::Failed);
    assert_eq!(result.payment.reason, Some(FailureReason::Unknown));
    assert_eq!(result.payment.detail.as_deref(), Some("seen in the dashboard"));
}

#[tokio::test]
async fn words_that_are_no_answer_to_the_event_are_left_alone() {
    let provider = Provider::start().await.finding(&[intent(1, "succeeded")]).await;
    let provider = provider.answering("POST", REFUND, error(500, "api_error", "x")).await;
    let payment = provider.payment();
    payment.reports.add(resolution(3, PaymentOutcome::Failed));
    held(payment.handle(&held_input(event(OrderEventType::Cancelled, 3))).await);
    let without_id = resolution(2, PaymentOutcome::Succeeded);
    payment.reports.add(PaymentReport { payment_id: None, ..without_id });
    let end = emitted(payment.handle(&held_input(event(OrderEventType::Updated, 2))).await);
    assert_eq!(end.payment.payment_id.as_deref(), Some("pi_1"), "as the provider says");
}

#[tokio::test]
async fn payments_wait_until_what_was_reported_before_is_known() {
    let provider = Provider::start().await.charging(ok(intent(1, "succeeded"))).await;
    let reports = Reports::to_follow();
    let payment = provider.payment().heeding(reports.clone());
    let early = input(placed(), 1);
    let mut early = pin!(payment.handle(&early));
    let outcome = tokio::time::timeout(Duration::from_millis(50), &mut early).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert_eq!(provider.charges().await.len(), 0);
    reports.set_caught_up();
    emitted(early.await);
    assert_eq!(provider.charges().await.len(), 1);
}

#[tokio::test]
async fn a_held_order_hears_of_its_own_payments_outcome_alone() {
    let of = |r#type, version| PaymentReport { r#type, ..resolution(version, SUCCEEDED) };
    let reports = Reports::none();
    reports.add(of(PaymentReportType::Reported, 1));
    let mut news = pin!(reports.news(&placed()));
    assert_eq!(news.as_mut().now_or_never(), None, "that was before");
    reports.add(of(PaymentReportType::Reported, 2));
    reports.add(of(PaymentReportType::InDoubt, 1));
    let another = PaymentReport { order_id: OrderId::random(), ..resolution(1, SUCCEEDED) };
    reports.add(another);
    assert_eq!(news.as_mut().now_or_never(), None, "not of this payment's outcome");
    reports.add(of(PaymentReportType::Reported, 1));
    assert_eq!(news.now_or_never(), Some(()));
    let news = reports.news(&placed());
    reports.add(resolution(1, SUCCEEDED));
    assert_eq!(news.now_or_never(), Some(()), "an operator's word");

    // One that takes the place of another is not lost with it.
    let news = reports.news(&placed());
    let next = reports.news(&placed());
    drop(news);
    reports.add(of(PaymentReportType::Reported, 1));
    assert_eq!(next.now_or_never(), Some(()));
}
