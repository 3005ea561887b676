//! SendGrid's v3 Mail Send.
//!
//! It has no idempotency key. The same mail sent twice is two mails, with one `Message-ID`.
//!
//! Sources: "Mail Send" and "Errors" in SendGrid's documentation
//! (<https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send>).

use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{About, Api, Complaint, Outgoing, Taken};
use crate::notifier::sender::Sender;
use crate::provider::{Answer, Auth, Http, code_of};

#[derive(Debug)]
pub(super) struct SendGrid;

#[derive(Serialize)]
struct Request<'a> {
    personalizations: [Personalization<'a>; 1],
    from: Address<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Address<'a>>,
    subject: &'a str,
    content: [Content<'a>; 2],
    headers: Headers<'a>,
    categories: [&'a str; 1],
}

#[derive(Serialize)]
struct Personalization<'a> {
    to: [Address<'a>; 1],
    /// What activity and event webhooks tell the mail by.
    custom_args: CustomArgs<'a>,
}

#[derive(Serialize)]
struct CustomArgs<'a> {
    order_id: &'a str,
    payment_event_id: &'a str,
}

#[derive(Serialize)]
struct Address<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> Address<'a> {
    fn of(sender: &'a Sender) -> Self {
        Self { email: sender.address(), name: sender.name() }
    }
}

/// The plain text comes first, as SendGrid wants it.
#[derive(Serialize)]
struct Content<'a> {
    r#type: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Headers<'a> {
    #[serde(rename = "Message-ID")]
    message_id: &'a str,
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<Error>,
}

#[derive(Deserialize)]
struct Error {
    /// Path of the field at fault, such as `personalizations.0.to.0.email`.
    field: Option<String>,
    #[serde(rename = "message")]
    _message: String,
}

impl Api for SendGrid {
    fn auth<'a>(&self, key: &'a SecretString) -> Auth<'a> {
        Auth::Bearer(key)
    }

    fn request(&self, http: &Http, mail: &Outgoing<'_>) -> RequestBuilder {
        http.request(Method::POST, "v3/mail/send", &[]).json(&Request {
            personalizations: [Personalization {
                to: [Address { email: mail.to.as_str(), name: None }],
                custom_args: CustomArgs { order_id: mail.order_id, payment_event_id: mail.key },
            }],
            from: Address::of(mail.from),
            reply_to: mail.reply_to.map(Address::of),
            subject: mail.subject,
            content: [
                Content { r#type: "text/plain", value: mail.text },
                Content { r#type: "text/html", value: mail.html },
            ],
            headers: Headers { message_id: mail.message_id },
            categories: [mail.template],
        })
    }

    /// It accepts a mail with a header and without a body.
    fn taken(&self, answer: &Answer) -> Option<Taken> {
        let id = answer.headers.get("x-message-id")?;
        Some(Taken::with_id(id.to_str().ok()))
    }

    fn complaint(&self, status: u16, body: &[u8]) -> Complaint {
        let error = serde_json::from_slice::<ErrorBody>(body).ok();
        let Some(error) = error.and_then(|body| body.errors.into_iter().next()) else {
            return Complaint::foreign(status);
        };
        let field = error.field;
        let ours = |field: &str| field.starts_with("from") || field.starts_with("reply_to");
        let about = match (status, field.as_deref()) {
            (400, Some(field)) if ours(field) => About::Us,
            _ => About::of(status),
        };
        // SendGrid writes the lack of one as null, or as that word.
        Complaint { code: code_of(field.as_deref().filter(|field| *field != "null")), about }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::complaint;
    use super::*;

    #[test]
    fn every_class_of_error_has_its_meaning() {
        for (status, field, code, about) in [
            (
                400,
                r#""personalizations.0.to.0.email""#,
                Some("personalizations.0.to.0.email"),
                About::Mail,
            ),
            (400, r#""content""#, Some("content"), About::Mail),
            (400, "null", None, About::Mail),
            (400, r#""from.email""#, Some("from.email"), About::Us),
            (400, r#""reply_to.email""#, Some("reply_to.email"), About::Us),
            (401, "null", None, About::Us),
            // A sender that is not verified.
            (403, r#""from""#, Some("from"), About::Us),
            (403, r#""null""#, None, About::Us),
            (404, "null", None, About::Us),
            (413, "null", None, About::Mail),
            (429, "null", None, About::Time),
            (500, "null", None, About::Time),
        ] {
            let body =
                format!(r#"{{"errors":[{{"message":"to ana@example.com","field":{field}}}]}}"#);
            let expected = (code.map(str::to_owned), about);
            assert_eq!(complaint(&SendGrid, status, &body), expected, "{status} {field}");
        }
        let other = r#"{"errors":[{"status":"400","title":"Bad Request"}]}"#;
        for body in [r#"{"errors":[]}"#, other] {
            assert_eq!(complaint(&SendGrid, 400, body), (None, About::Foreign));
        }
    }
}
