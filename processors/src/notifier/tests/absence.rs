//! A mail provider that is away as a whole, and servers that answer in its place.

use std::time::Duration;

use comanda_schemas::NotificationEventType;

use super::providers::houses;
use super::sending::{emitted, input, put_off};
use super::*;

/// What servers say that are not a mail provider.
const PAGES: [&str; 10] = [
    "",
    "<html><h1>400 Bad Request</h1><hr>nginx</html>",
    "null",
    "[]",
    "{}",
    "\"ok\"",
    r#"{"error":"bad request"}"#,
    r#"{"status":"ok"}"#,
    r#"{"errors":[]}"#,
    r#"{"errors":[{"title":"Bad Request"}],"name":"BadRequest","message":"Bad Request"}"#,
];

fn paid() -> PaymentEvent {
    event(PaymentEventType::Succeeded)
}

fn waits(outcome: Outcome<NotificationEvent>) -> HandlerError {
    match outcome {
        Outcome::Wait { error, .. } => error,
        other => panic!("does not wait but {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_is_not_the_providers_never_ends_a_mail() {
    for house in houses() {
        for page in PAGES {
            for status in [302, 400, 403, 413, 422] {
                let answer = ResponseTemplate::new(status).set_body_string(page);
                let (_, error) = put_off(house.handle(&answer, 99).await);
                assert_eq!(error.kind, "mail_provider_refuses", "{:?} {page}", house.provider);
                assert!(error.chain.contains(&format!("http_{status}")), "{}", error.chain);
            }
            for status in [200, 202] {
                let answer = ResponseTemplate::new(status).set_body_string(page);
                let (_, error) = put_off(house.handle(&answer, 99).await);
                assert_eq!(error.kind, "mail_provider_refuses", "{:?} {page}", house.provider);
            }
            for status in [408, 429, 503] {
                let answer = ResponseTemplate::new(status).set_body_string(page);
                let (_, error) = put_off(house.handle(&answer, 99).await);
                assert_eq!(error.kind, "mail_not_sent", "{:?} {page}", house.provider);
            }
        }
    }
}

/// Has a provider answer so to all mails, and sees that they wait and go out once it is back.
async fn mails_wait_for(options: Options, server: &MockServer, away: Option<ResponseTemplate>) {
    let is_reachable = away.is_some();
    if let Some(answer) = away {
        let mock = Mock::given(method("POST")).respond_with(answer);
        mock.mount(server).await;
    }
    let options = Options { circuit_failures: 5, circuit_pause_ms: 100, ..options };
    let notifier = Notifier::new(options).unwrap();
    for _ in 0..5 {
        let outcome = notifier.handle(&input(paid(), 99)).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    }
    let asked = server.received_requests().await.unwrap().len();
    assert_eq!(asked, if is_reachable { 5 } else { 0 });
    let error = waits(notifier.handle(&input(paid(), 99)).await);
    assert_eq!(error.kind, "mail_provider_away");
    let absence = notifier.presence().absence().expect("it is away");
    assert!(!absence.reason.contains("hidden") && !absence.reason.contains("ana@"));
    assert!(Timestamp::now().since(absence.since) < Duration::from_secs(60));
    assert_eq!(server.received_requests().await.unwrap().len(), asked, "left alone");
    if !is_reachable {
        return;
    }
    server.reset().await;
    let taken = ResponseTemplate::new(200).set_body_json(json!({ "id": "49a3999c-0ce1" }));
    Mock::given(method("POST")).respond_with(taken).mount(server).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match notifier.handle(&input(paid(), 99)).await {
            Outcome::Emit(_) => break,
            other => drop(waits(other)),
        }
        assert!(std::time::Instant::now() < deadline, "no probe");
        tokio::task::yield_now().await;
    }
    assert_eq!(notifier.presence().absence(), None);
    emitted(notifier.handle(&input(paid(), 1)).await);
}

#[tokio::test]
async fn mails_wait_for_a_provider_that_is_away_and_go_out_once_it_is_back() {
    let error = |status: u16, name: &str| {
        ResponseTemplate::new(status)
            .set_body_json(json!({ "statusCode": status, "name": name, "message": "hidden ana@" }))
    };
    for away in [
        ResponseTemplate::new(503),
        ResponseTemplate::new(400).set_body_string("<html>nginx"),
        ResponseTemplate::new(200).set_body_string("<html>log in to the network"),
        ResponseTemplate::new(307).insert_header("location", "https://portal.example"),
        error(429, "daily_quota_exceeded").insert_header("retry-after", "0"),
        error(429, "rate_limit_exceeded"),
        error(401, "missing_api_key"),
        error(403, "invalid_api_key"),
        error(500, "application_error"),
        error(422, "invalid_from_address"),
    ] {
        let server = MockServer::start().await;
        mails_wait_for(options(&server.uri()), &server, Some(away)).await;
    }
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = MockServer::start().await;
    mails_wait_for(options(&format!("http://{unused}")), &server, None).await;
}

#[tokio::test]
async fn a_refused_recipient_shows_that_the_provider_is_there() {
    for house in houses() {
        let server = MockServer::start().await;
        let (answer, _) = house.rejected;
        Mock::given(method("POST")).respond_with(answer).mount(&server).await;
        let options = Options {
            provider: house.provider,
            circuit_failures: 2,
            api_key: "hidden".to_owned().into(),
            ..options(&server.uri())
        };
        let notifier = Notifier::new(options).unwrap();
        for _ in 0..5 {
            let event = emitted(notifier.handle(&input(paid(), 1)).await);
            assert_eq!(event.r#type, NotificationEventType::Failed);
        }
        assert_eq!(notifier.presence().absence(), None);
    }
}
