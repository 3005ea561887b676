//! What is sent to each provider, held against the provider's own description of its API.

mod hostile;

use std::time::Duration;

use http_body_util::BodyDataStream;
use jsonschema::Validator;
use multer::Multipart;
use reqwest::{Body, Request};
use serde_json::{Map, Value, json};

use super::*;
use crate::provider::Endpoint;

const ALL: [Provider; 6] = [
    Provider::Resend,
    Provider::Sendgrid,
    Provider::Postmark,
    Provider::Mailgun,
    Provider::Mailpit,
    Provider::Sandbox,
];

/// Code and subject of `api`'s complaint.
pub(super) fn complaint(api: &dyn Api, status: u16, body: &str) -> (Option<String>, About) {
    let Complaint { code, about } = api.complaint(status, body.as_bytes());
    (code, about)
}

/// The description of `provider`'s request, closed: what it does not know is an error.
fn description(provider: Provider) -> Value {
    let text = match provider {
        Provider::Resend | Provider::Sandbox => include_str!("resend.json"),
        Provider::Sendgrid => include_str!("sendgrid.json"),
        Provider::Postmark => include_str!("postmark.json"),
        Provider::Mailgun => include_str!("mailgun.json"),
        Provider::Mailpit => include_str!("mailpit.json"),
    };
    let mut schema = serde_json::from_str(text).unwrap();
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.get("properties").is_some_and(|p| p.is_object()) {
                object.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

fn validator(provider: Provider) -> Validator {
    jsonschema::options().should_validate_formats(true).build(&description(provider)).unwrap()
}

/// A form has no lists: a field that may stand several times is one, described as a list.
fn with_lists(provider: Provider, mut body: Value) -> Value {
    if matches!(provider, Provider::Mailgun) {
        let description = description(provider);
        for (name, value) in body.as_object_mut().expect("a form") {
            if description["properties"][name]["type"] == "array" {
                *value = json!([value.take()]);
            }
        }
    }
    body
}

/// Fails where `body` is not what `provider` describes.
fn assert_described(provider: Provider, body: Value) {
    let body = with_lists(provider, body);
    let validator = validator(provider);
    let errors = validator.iter_errors(&body);
    let errors: Vec<_> = errors.map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{provider:?}: {errors:#?} in {body:#}");
}

fn outgoing<'a>(from: &'a Sender, to: &'a Recipient, text: &'a str) -> Outgoing<'a> {
    Outgoing {
        key: "0e8cd1a4-8f4f-5a5e-9d3c-6a1f6f2c9b11",
        message_id: "<0e8cd1a4-8f4f-5a5e-9d3c-6a1f6f2c9b11@comanda.example>",
        from,
        reply_to: Some(from),
        to,
        subject: "Trattoria: order 48FE1C36 is confirmed",
        text,
        html: "<p>Grazie</p>",
        template: "payment_succeeded",
        order_id: "20bc3846-7355-561b-8c27-aea348fe1c36",
    }
}

fn request(provider: Provider, mail: &Outgoing<'_>) -> Request {
    let key = SecretString::from("key");
    let http = Http::new(&Endpoint {
        provider: provider.name(),
        url: "http://mail.example/base",
        auth: provider.api().auth(&key),
        connect_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(1),
    })
    .unwrap();
    provider.api().request(&http, mail).build().unwrap()
}

/// The body as JSON; a form as an object, whose fields must stand once.
async fn body(mut request: Request) -> Value {
    let media_type = request.headers()["content-type"].to_str().unwrap().to_owned();
    let body = request.body_mut().take().expect("a body");
    match media_type.strip_prefix("multipart/form-data; boundary=") {
        Some(boundary) => form(body, boundary).await,
        None => serde_json::from_slice(body.as_bytes().expect("a body in memory")).unwrap(),
    }
}

async fn form(body: Body, boundary: &str) -> Value {
    let mut parts = Multipart::new(BodyDataStream::new(body), boundary);
    let mut fields = Map::new();
    while let Some(part) = parts.next_field().await.unwrap() {
        let name = part.name().expect("a name").to_owned();
        assert_eq!(part.file_name(), None, "{name} is a file");
        let before = fields.insert(name.clone(), json!(part.text().await.unwrap()));
        assert_eq!(before, None, "{name} stands twice");
    }
    Value::Object(fields)
}

async fn sent(provider: Provider, mail: &Outgoing<'_>) -> Value {
    body(request(provider, mail)).await
}

/// Every text under a field whose name is one of `names`, however deep.
fn texts_under(value: &Value, names: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if names.contains(&name.as_str()) {
                    texts(value, found);
                } else {
                    texts_under(value, names, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| texts_under(value, names, found)),
        _ => {}
    }
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| texts(value, found)),
        Value::Object(object) => object.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

fn recipient() -> Recipient {
    Recipient::parse("ana@example.com").unwrap()
}

#[tokio::test]
async fn every_request_is_one_that_its_provider_describes() {
    let to = recipient();
    for provider in ALL {
        for from in ["orders@comanda.example", "\"Enzo, chef\" <orders@comanda.example>"] {
            let from = Sender::parse(from).unwrap();
            let mail = outgoing(&from, &to, "Grazie\n\n\"<>&%\u{0}😀");
            for mail in [mail, Outgoing { reply_to: None, ..mail }] {
                assert_described(provider, sent(provider, &mail).await);
            }
        }
    }
}

#[test]
fn every_request_is_of_the_media_type_that_its_provider_describes() {
    let (from, to) = (Sender::parse("a@b.example").unwrap(), recipient());
    for provider in ALL {
        let request = request(provider, &outgoing(&from, &to, "t"));
        let media_type = request.headers()["content-type"].to_str().unwrap();
        let media_type = media_type.split(';').next().unwrap();
        assert_eq!(json!(media_type), description(provider)["contentMediaType"], "{provider:?}");
    }
}

#[tokio::test]
async fn the_descriptions_do_not_let_everything_pass() {
    let (from, to) = (Sender::parse("a@b.example").unwrap(), recipient());
    for provider in ALL {
        let body = with_lists(provider, sent(provider, &outgoing(&from, &to, "t")).await);
        let validator = validator(provider);
        assert!(validator.is_valid(&body));
        let from = if body.get("From").is_some() { "From" } else { "from" };
        for (field, value) in [(from, json!(7)), ("subjekt", json!("x"))] {
            let mut wrong = body.clone();
            wrong[field] = value;
            assert!(!validator.is_valid(&wrong), "{provider:?}: {field}");
        }
    }
}

#[test]
fn every_request_goes_to_its_path_below_the_base_url() {
    let (from, to) = (Sender::parse("a@b.example").unwrap(), recipient());
    for (provider, path) in [
        (Provider::Resend, "emails"),
        (Provider::Sandbox, "emails"),
        (Provider::Sendgrid, "v3/mail/send"),
        (Provider::Postmark, "email"),
        (Provider::Mailgun, "messages"),
        (Provider::Mailpit, "api/v1/send"),
    ] {
        let request = request(provider, &outgoing(&from, &to, "t"));
        assert_eq!(request.method(), "POST");
        assert_eq!(request.url().as_str(), format!("http://mail.example/base/{path}"));
    }
}

#[tokio::test]
async fn every_mail_has_one_recipient_and_the_texts_as_they_are() {
    let from = Sender::parse("\"Enzo, chef\" <orders@comanda.example>").unwrap();
    let to = recipient();
    let text = "x Bcc: evil@e.invalid <script>alert(1)</script>\nTo: evil@e.invalid";
    let known = ["to", "To", "cc", "Cc", "bcc", "Bcc"];
    for provider in ALL {
        let body = sent(provider, &outgoing(&from, &to, text)).await;
        let mut recipients = Vec::new();
        texts_under(&body, &known, &mut recipients);
        assert_eq!(recipients, ["ana@example.com"], "{body:#}");
        let mut senders = Vec::new();
        texts_under(&body, &["from", "From"], &mut senders);
        senders.sort_unstable();
        match provider {
            Provider::Sendgrid | Provider::Mailpit => {
                assert_eq!(senders, ["Enzo, chef", "orders@comanda.example"]);
            }
            _ => assert_eq!(senders, ["\"Enzo, chef\" <orders@comanda.example>"]),
        }
        let mut all = Vec::new();
        texts(&body, &mut all);
        assert!(all.iter().any(|value| value == text), "{body:#}");
        for part in ["<p>Grazie</p>", "Trattoria: order 48FE1C36 is confirmed", "payment_succeeded"]
        {
            assert!(all.iter().any(|value| value == part), "{part} is missing in {body:#}");
        }
    }
}

#[tokio::test]
async fn what_tells_a_second_mail_from_another_one_is_with_every_mail() {
    let (from, to) = (Sender::parse("a@b.example").unwrap(), recipient());
    let mail = outgoing(&from, &to, "t");
    for provider in ALL {
        let request = request(provider, &mail);
        let key = request.headers().get("idempotency-key").cloned();
        let key = key.as_ref().map(|key| key.to_str().unwrap());
        let mut all = Vec::new();
        texts(&body(request).await, &mut all);
        let has_message_id = all.iter().any(|value| value == mail.message_id);
        match provider {
            Provider::Resend | Provider::Sandbox => assert_eq!(key, Some(mail.key)),
            _ => assert_eq!((key, has_message_id), (None, true), "{provider:?}"),
        }
    }
}

#[test]
fn ids_of_mails_are_taken_over_without_their_brackets() {
    assert_eq!(id_of(Some("49a3999c-0ce1")).as_deref(), Some("49a3999c-0ce1"));
    assert_eq!(id_of(Some("<2026.1+x=y@mg.example>")).as_deref(), Some("2026.1+x=y@mg.example"));
    for text in ["", "<>", "two words", "a\nb", "a<b>c", &"x".repeat(256)] {
        assert_eq!(id_of(Some(text)), None, "{text:?}");
    }
    assert_eq!(id_of(None), None);
}
