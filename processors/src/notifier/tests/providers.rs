//! Each provider over real HTTP: what it is asked, and what becomes of each of its answers.

use std::time::Duration;

use comanda_schemas::NotificationEventType;

use super::sending::{call, emitted, put_off, requests};
use super::*;

/// What one provider answers.
pub(super) struct House {
    pub provider: Provider,
    path: &'static str,
    /// The header that carries the key, and its value.
    auth: (&'static str, Option<&'static str>),
    taken: ResponseTemplate,
    id: &'static str,
    /// An answer about the recipient, with the code that the event tells.
    pub rejected: (ResponseTemplate, &'static str),
    /// Answers about our key, our sender.
    refused: [ResponseTemplate; 2],
    busy: ResponseTemplate,
}

fn json(status: u16, body: Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

fn like_resend(provider: Provider) -> House {
    let error = |status: u16, name: &str| {
        json(status, json!({ "statusCode": status, "name": name, "message": "ana@example.com" }))
    };
    House {
        provider,
        path: "/emails",
        auth: ("authorization", Some("Bearer hidden")),
        taken: json(200, json!({ "id": "49a3999c-0ce1" })),
        id: "49a3999c-0ce1",
        rejected: (error(422, "validation_error"), "validation_error"),
        refused: [error(403, "invalid_api_key"), error(422, "invalid_from_address")],
        busy: error(429, "rate_limit_exceeded"),
    }
}

pub(super) fn houses() -> Vec<House> {
    let sendgrid = |status, field: Value| {
        json(status, json!({ "errors": [{ "message": "ana@example.com", "field": field }] }))
    };
    let postmark = |status, code: u32, message: &str| {
        json(status, json!({ "ErrorCode": code, "Message": message }))
    };
    let mailgun = |status, message: &str| json(status, json!({ "message": message }));
    let mailpit = |status| json(status, json!({ "Error": "invalid To address: ana@example.com" }));
    vec![
        like_resend(Provider::Resend),
        like_resend(Provider::Sandbox),
        House {
            provider: Provider::Sendgrid,
            path: "/v3/mail/send",
            auth: ("authorization", Some("Bearer hidden")),
            taken: ResponseTemplate::new(202)
                .insert_header("x-message-id", "14c5d75ce93.dfd.64b469"),
            id: "14c5d75ce93.dfd.64b469",
            rejected: (
                sendgrid(400, json!("personalizations.0.to.0.email")),
                "personalizations.0.to.0.email",
            ),
            refused: [sendgrid(401, Value::Null), sendgrid(400, json!("from.email"))],
            busy: sendgrid(429, Value::Null),
        },
        House {
            provider: Provider::Postmark,
            path: "/email",
            auth: ("x-postmark-server-token", Some("hidden")),
            taken: json(
                200,
                json!({ "To": "ana@example.com", "ErrorCode": 0, "MessageID": "b7bc2f4a-e38e" }),
            ),
            id: "b7bc2f4a-e38e",
            rejected: (postmark(422, 406, "ana@example.com is inactive"), "inactive_recipient"),
            refused: [postmark(401, 10, ""), postmark(422, 400, "")],
            busy: postmark(429, 429, ""),
        },
        House {
            provider: Provider::Mailgun,
            path: "/messages",
            auth: ("authorization", Some("Basic YXBpOmhpZGRlbg==")),
            taken: json(
                200,
                json!({ "id": "<1@mg.comanda.example>", "message": "Queued. Thank you." }),
            ),
            id: "1@mg.comanda.example",
            rejected: (mailgun(400, "to parameter is not a valid address"), "invalid_to"),
            refused: [
                ResponseTemplate::new(401).set_body_string("Forbidden"),
                mailgun(400, "from parameter is not a valid address"),
            ],
            busy: mailgun(429, "Domain x is not allowed to send: limit exceeded"),
        },
        House {
            provider: Provider::Mailpit,
            path: "/api/v1/send",
            auth: ("authorization", None),
            taken: json(200, json!({ "ID": "iAfZVVe2UQfNSG5BAjgYwa" })),
            id: "iAfZVVe2UQfNSG5BAjgYwa",
            rejected: (mailpit(400), "http_400"),
            refused: [ResponseTemplate::new(401), ResponseTemplate::new(404)],
            busy: ResponseTemplate::new(429),
        },
    ]
}

impl House {
    async fn answering(&self, answer: &ResponseTemplate) -> (MockServer, Options) {
        let server = MockServer::start().await;
        let mock = Mock::given(method("POST")).and(path(self.path));
        mock.respond_with(answer.clone()).mount(&server).await;
        let options = Options {
            provider: self.provider,
            api_key: "hidden".to_owned().into(),
            ..options(&server.uri())
        };
        (server, options)
    }

    pub async fn handle(
        &self,
        answer: &ResponseTemplate,
        attempt: u32,
    ) -> Outcome<NotificationEvent> {
        let (_server, options) = self.answering(answer).await;
        call(&options, event(PaymentEventType::Succeeded), attempt).await
    }
}

#[tokio::test]
async fn a_taken_mail_is_sent_under_the_providers_name_and_id() {
    for house in houses() {
        let (server, options) = house.answering(&house.taken).await;
        let cause = event(PaymentEventType::Succeeded);
        let event = emitted(call(&options, cause.clone(), 1).await);
        assert_eq!(event.r#type, NotificationEventType::Sent);
        assert_eq!(event.provider, house.provider.name());
        assert_eq!(event.message_id.as_deref(), Some(house.id));
        let requests = requests(&server).await;
        let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
        let (header, value) = house.auth;
        let sent = request.headers.get(header).and_then(|value| value.to_str().ok());
        assert_eq!(sent, value, "{:?}", house.provider);
        // Not every provider takes chunks.
        assert!(request.headers.contains_key("content-length"), "{:?}", house.provider);
        let body = String::from_utf8(request.body.clone()).unwrap();
        assert!(body.contains(&cause.order_id.to_string()), "{body}");
    }
}

#[tokio::test]
async fn a_refused_recipient_gives_failed_with_the_providers_reason() {
    for house in houses() {
        let (answer, code) = &house.rejected;
        let event = emitted(house.handle(answer, 1).await);
        assert_eq!(event.r#type, NotificationEventType::Failed, "{:?}", house.provider);
        assert_eq!(event.detail.as_deref(), Some(*code));
        assert_eq!(event.message_id, None);
    }
}

#[tokio::test]
async fn a_refused_key_or_sender_waits_for_an_operator_however_often() {
    for house in houses() {
        for answer in &house.refused {
            let (after, error) = put_off(house.handle(answer, 99).await);
            assert_eq!(after, Duration::from_secs(60), "{:?}", house.provider);
            assert_eq!(error.kind, "mail_provider_refuses");
            assert!(!error.chain.contains("hidden") && !error.chain.contains("ana@"));
        }
    }
}

#[tokio::test]
async fn too_many_requests_wait_as_long_as_the_provider_asks() {
    for house in houses() {
        let busy = house.busy.clone().insert_header("retry-after", "17");
        let (after, error) = put_off(house.handle(&busy, 1).await);
        assert!((17..=18).contains(&after.as_secs()), "{:?}: {after:?}", house.provider);
        assert_eq!(error.kind, "mail_not_sent");
    }
}

#[tokio::test]
async fn trouble_at_the_provider_is_tried_again_however_often() {
    for house in houses() {
        for status in [500, 502, 503] {
            let answer = ResponseTemplate::new(status).set_body_string("<html>ana@example.com");
            let (after, error) = put_off(house.handle(&answer, 2).await);
            assert!(after <= Duration::from_secs(2), "{:?}: {after:?}", house.provider);
            put_off(house.handle(&answer, 999).await);
            assert!(error.chain.contains(&format!("http_{status}")), "{}", error.chain);
        }
    }
}

#[tokio::test]
async fn no_answer_is_tried_again() {
    for house in houses() {
        let slow = house.taken.clone().set_delay(Duration::from_secs(30));
        let (_, error) = put_off(house.handle(&slow, 1).await);
        assert_eq!(error.chain, "no answer in time", "{:?}", house.provider);
    }
}

#[test]
fn a_provider_that_wants_a_key_is_not_used_without_one() {
    for house in houses() {
        let options = Options {
            provider: house.provider,
            api_key: String::new().into(),
            ..options("http://localhost")
        };
        let built = Notifier::new(options);
        assert_eq!(built.is_ok(), house.provider == Provider::Mailpit, "{:?}", house.provider);
    }
}
