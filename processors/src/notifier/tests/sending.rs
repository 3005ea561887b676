use std::time::Duration;

use comanda_schemas::{Event, NotificationEventType};

use super::*;

async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let mock = Mock::given(method("POST")).and(path("/emails"));
    mock.respond_with(answer).mount(&server).await;
    server
}

fn taken() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "id": "49a3999c-0ce1" }))
}

fn error(status: u16, name: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({
        "statusCode": status, "name": name, "message": "can't mail ana@example.com",
    }))
}

async fn handle(
    server: &MockServer,
    event: PaymentEvent,
    attempt: u32,
) -> Outcome<NotificationEvent> {
    call(&options(&server.uri()), event, attempt).await
}

pub(super) async fn call(
    options: &Options,
    event: PaymentEvent,
    attempt: u32,
) -> Outcome<NotificationEvent> {
    Notifier::new(options.clone()).unwrap().handle(&input(event, attempt)).await
}

pub(super) fn input(event: PaymentEvent, attempt: u32) -> Input<PaymentEvent> {
    let source = Source { topic: "payments".into(), partition: 5, offset: 7 };
    Input { attempt, ..Input::new(event, source) }
}

fn paid() -> PaymentEvent {
    event(PaymentEventType::Succeeded)
}

pub(super) fn emitted(outcome: Outcome<NotificationEvent>) -> NotificationEvent {
    match outcome {
        Outcome::Emit(event) => event,
        other => panic!("no notification event but {other:?}"),
    }
}

pub(super) fn put_off(outcome: Outcome<NotificationEvent>) -> (Duration, HandlerError) {
    match outcome {
        Outcome::Retry { after, error } => (after, error),
        other => panic!("not put off but {other:?}"),
    }
}

pub(super) fn given_up(outcome: Outcome<NotificationEvent>) -> (HandlerError, NotificationEvent) {
    match outcome {
        Outcome::DeadLetter { error, result: Some(event) } => (error, event),
        other => panic!("not given up with a result but {other:?}"),
    }
}

pub(super) async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.expect("requests are recorded")
}

#[tokio::test]
async fn a_mail_that_is_taken_gives_sent() {
    let server = server(taken()).await;
    let cause = paid();
    let before = Timestamp::now();
    let event = emitted(handle(&server, cause.clone(), 1).await);
    assert_eq!(event.event_id, NotificationEvent::derive_id(cause.event_id));
    assert_eq!(event.r#type, NotificationEventType::Sent);
    assert_eq!(event.order_id(), cause.order_id);
    assert!(event.occurred_at >= before);
    assert_eq!(event.payment_event_id, cause.event_id);
    assert_eq!(event.channel, "email");
    assert_eq!(event.template, "payment_succeeded");
    assert_eq!(event.provider, "resend");
    assert_eq!(event.message_id.as_deref(), Some("49a3999c-0ce1"));
    assert_eq!(event.detail, None);
    assert_eq!(event.source.topic, "payments");
    assert_eq!(event.source.partition, 5);
    assert_eq!(event.source.offset, 7);
}

#[tokio::test]
async fn the_request_carries_key_sender_and_exactly_one_recipient() {
    let server = server(taken()).await;
    let cause = paid();
    handle(&server, cause.clone(), 1).await;
    let requests = requests(&server).await;
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    let header = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok());
    assert_eq!(header("idempotency-key"), Some(cause.event_id.to_string().as_str()));
    assert_eq!(header("authorization"), Some("Bearer re_hidden"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert!(header("user-agent").is_some_and(|agent| agent.starts_with("comanda/")));
    let body: Value = request.body_json().unwrap();
    assert_eq!(body["from"], "Trattoria Comanda <orders@comanda.example>");
    assert_eq!(body["to"], json!(["ana@example.com"]));
    assert_eq!(body["reply_to"], "kitchen@comanda.example");
    assert_eq!(body["subject"], "Trattoria Comanda: order 48FE1C36 is confirmed");
    assert!(body["text"].as_str().unwrap().contains("Total: 27.50 EUR"));
    assert!(body["html"].as_str().unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(body["tags"][0], json!({ "name": "template", "value": "payment_succeeded" }));
    let order = json!({ "name": "order_id", "value": cause.order_id.to_string() });
    assert_eq!(body["tags"][1], order);
    let mut names: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["from", "html", "reply_to", "subject", "tags", "text", "to"]);
}

#[tokio::test]
async fn the_same_event_always_gives_the_same_request() {
    let server = server(taken()).await;
    handle(&server, paid(), 1).await;
    handle(&server, paid(), 2).await;
    let requests = requests(&server).await;
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].headers["idempotency-key"], requests[1].headers["idempotency-key"]);
}

#[tokio::test]
async fn without_an_address_for_answers_there_is_no_such_field() {
    let server = server(taken()).await;
    let options = Options { reply_to: String::new(), ..options(&server.uri()) };
    emitted(call(&options, paid(), 1).await);
    let body: Value = requests(&server).await[0].body_json().unwrap();
    assert_eq!(body.get("reply_to"), None);
}

#[tokio::test]
async fn a_hostile_name_changes_neither_recipient_nor_headers() {
    let server = server(taken()).await;
    let mut cause = paid();
    cause.order.contact.name = "\"x\r\nBcc: evil@e.invalid\" <script>\u{202E}".into();
    emitted(handle(&server, cause, 1).await);
    let body: Value = requests(&server).await[0].body_json().unwrap();
    assert_eq!(body["to"], json!(["ana@example.com"]));
    assert_eq!(body.get("bcc"), None);
    assert_eq!(body["subject"], "Trattoria Comanda: order 48FE1C36 is confirmed");
}

#[tokio::test]
async fn an_address_that_is_not_exactly_one_gets_no_mail() {
    let server = server(taken()).await;
    for email in ["ana@example.com, evil@e.invalid", "ana@example.com\r\nBcc: evil@e.invalid", ""] {
        let mut cause = paid();
        cause.order.contact.email = email.into();
        let event = emitted(handle(&server, cause, 1).await);
        assert_eq!(event.r#type, NotificationEventType::Failed);
        assert_eq!(event.detail.as_deref(), Some("invalid_recipient"));
    }
    assert!(requests(&server).await.is_empty());
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_gives_failed_and_no_retry() {
    for (status, name) in [(400, "validation_error"), (422, "missing_required_field")] {
        let server = server(error(status, name)).await;
        let event = emitted(handle(&server, paid(), 1).await);
        assert_eq!(event.r#type, NotificationEventType::Failed);
        assert_eq!(event.detail.as_deref(), Some(name));
        assert_eq!(event.message_id, None);
        assert_eq!(requests(&server).await.len(), 1);
    }
}

#[tokio::test]
async fn a_refused_key_is_not_the_mails_fault() {
    for (status, name) in [(401, "missing_api_key"), (403, "invalid_api_key")] {
        let server = server(error(status, name)).await;
        let (after, error) = put_off(handle(&server, paid(), 99).await);
        assert_eq!(after, Duration::from_secs(60));
        assert_eq!(error.kind, "mail_provider_refuses");
        assert!(error.chain.contains(name), "{}", error.chain);
        assert!(!error.chain.contains("re_hidden") && !error.chain.contains("ana@"));
    }
}

#[tokio::test]
async fn what_may_go_better_later_is_put_off() {
    for (status, name) in [
        (409, "concurrent_idempotent_requests"),
        (429, "rate_limit_exceeded"),
        (500, "application_error"),
        (503, "application_error"),
    ] {
        let server = server(error(status, name)).await;
        let (after, error) = put_off(handle(&server, paid(), 1).await);
        assert!(after <= Duration::from_secs(1), "{after:?}");
        assert_eq!(error.kind, "mail_not_sent");
        assert!(error.chain.contains(name), "{}", error.chain);
        assert_eq!(requests(&server).await.len(), 1);
    }
}

#[tokio::test]
async fn the_pause_that_the_provider_asks_for_is_kept() {
    let busy = error(429, "rate_limit_exceeded").insert_header("retry-after", "17");
    let (after, _) = put_off(handle(&server(busy).await, paid(), 1).await);
    assert!((17..=18).contains(&after.as_secs()), "{after:?}");
    let busy = error(503, "application_error").insert_header("retry-after", "4000");
    let (after, _) = put_off(handle(&server(busy).await, paid(), 99).await);
    assert!((4_000..=4_060).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn a_mail_without_an_answer_is_put_off() {
    let slow = server(taken().set_delay(Duration::from_secs(30))).await;
    let (_, error) = put_off(handle(&slow, paid(), 1).await);
    assert_eq!(error.chain, "no answer in time");
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, error) = put_off(call(&options(&format!("http://{unused}")), paid(), 1).await);
    assert!(error.chain.starts_with("no connection"), "{}", error.chain);
}

#[tokio::test]
async fn a_mail_that_fails_while_others_are_taken_is_given_up_with_a_result() {
    let server = server(error(500, "application_error")).await;
    let notifier = Notifier::new(options(&server.uri())).unwrap();
    put_off(notifier.handle(&input(paid(), 3)).await);
    take_one(&server).await;
    emitted(notifier.handle(&input(paid(), 1)).await);
    put_off(notifier.handle(&input(paid(), 2)).await);
    put_off(notifier.handle(&input(paid(), 3)).await);
    take_one(&server).await;
    emitted(notifier.handle(&input(paid(), 1)).await);
    let (error, event) = given_up(notifier.handle(&input(paid(), 3)).await);
    assert_eq!(error.kind, "mail_not_sent");
    assert_eq!(event.r#type, NotificationEventType::Failed);
    assert_eq!(event.detail.as_deref(), Some("application_error"));
    assert_eq!(event.event_id, NotificationEvent::derive_id(paid().event_id));
    assert!(Notifier::is_neighbours_fault(&error), "no reason to stop the role");
}

/// Has `server` take one mail, before it answers as it did.
async fn take_one(server: &MockServer) {
    let mock = Mock::given(method("POST")).respond_with(taken()).up_to_n_times(1);
    mock.with_priority(1).mount(server).await;
}

#[tokio::test]
async fn a_key_that_belongs_to_another_mail_is_for_a_person() {
    let server = server(error(409, "invalid_idempotent_request")).await;
    let (error, event) = given_up(handle(&server, paid(), 1).await);
    assert_eq!(error.kind, "mail_not_sent");
    assert_eq!(event.detail.as_deref(), Some("idempotency_key_reused"));
}

#[tokio::test]
async fn each_outcome_of_a_payment_has_its_template() {
    let server = server(taken()).await;
    for (r#type, template) in [
        (PaymentEventType::Succeeded, "payment_succeeded"),
        (PaymentEventType::Failed, "payment_failed"),
        (PaymentEventType::Voided, "order_cancelled"),
        (PaymentEventType::Refunded, "payment_refunded"),
        (PaymentEventType::ChangeRejected, "change_rejected"),
    ] {
        assert_eq!(emitted(handle(&server, event(r#type), 1).await).template, template);
    }
    assert_eq!(requests(&server).await.len(), 5);
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_a_dead_letter() {
    let server = server(taken()).await;
    let outcome = handle(&server, event(PaymentEventType::Unknown), 1).await;
    let Outcome::DeadLetter { error, result } = outcome else { panic!("{outcome:?}") };
    assert_eq!((error.kind, result), ("unknown_event_type", None));
    assert!(requests(&server).await.is_empty());
}

#[test]
fn settings_that_can_not_work_are_refused_at_the_start() {
    let good = options("http://localhost");
    let built = |options| Notifier::new(options).map(|_| ()).unwrap_err().to_string();
    assert!(Notifier::new(good.clone()).is_ok());
    assert!(built(Options { max_attempts: 0, ..good.clone() }).contains("`max_attempts`"));
    assert!(built(Options { from: "a@b.c\nBcc: x@y.z".into(), ..good.clone() }).contains("`from`"));
    assert!(built(Options { from: String::new(), ..good.clone() }).contains("`from`"));
    assert!(built(Options { reply_to: "a\r".into(), ..good.clone() }).contains("`reply_to`"));
    assert!(built(Options { provider_url: "mail".into(), ..good }).contains("URL"));
}
