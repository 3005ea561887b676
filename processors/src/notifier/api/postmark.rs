//! Postmark's Email API.
//!
//! It has no idempotency key. The same mail sent twice is two mails, with one `Message-ID`.
//!
//! Sources: "Send a single email" and "API error codes" in Postmark's documentation
//! (<https://postmarkapp.com/developer/api/overview#error-codes>).

use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{About, Api, Complaint, Outgoing, Taken};
use crate::provider::{Answer, Auth, Http};

#[derive(Debug)]
pub(super) struct Postmark;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    from: String,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    subject: &'a str,
    text_body: &'a str,
    html_body: &'a str,
    tag: &'a str,
    headers: [Header<'a>; 2],
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

/// What webhooks and the activity page tell the mail by.
#[derive(Serialize)]
struct Metadata<'a> {
    order_id: &'a str,
    payment_event_id: &'a str,
}

#[derive(Deserialize)]
struct Accepted {
    #[serde(rename = "MessageID")]
    message_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody {
    error_code: u32,
    message: String,
}

impl Api for Postmark {
    fn auth<'a>(&self, key: &'a SecretString) -> Auth<'a> {
        Auth::Header("x-postmark-server-token", key)
    }

    fn request(&self, http: &Http, mail: &Outgoing<'_>) -> RequestBuilder {
        let request = http.request(Method::POST, "email", &[]);
        request.header("accept", "application/json").json(&Request {
            from: mail.from.to_string(),
            to: mail.to.as_str(),
            reply_to: mail.reply_to.map(ToString::to_string),
            subject: mail.subject,
            text_body: mail.text,
            html_body: mail.html,
            tag: mail.template,
            headers: [
                Header { name: "Message-ID", value: mail.message_id },
                // Postmark puts its own id in the place of ours otherwise.
                Header { name: "X-PM-KeepID", value: "true" },
            ],
            metadata: Metadata { order_id: mail.order_id, payment_event_id: mail.key },
        })
    }

    fn taken(&self, answer: &Answer) -> Option<Taken> {
        let accepted = serde_json::from_slice::<Accepted>(&answer.body).ok()?;
        Some(Taken::with_id(Some(&accepted.message_id)))
    }

    fn complaint(&self, status: u16, body: &[u8]) -> Complaint {
        let Ok(error) = serde_json::from_slice::<ErrorBody>(body) else {
            return Complaint::foreign(status);
        };
        let about = match (status, error.error_code) {
            // An invalid address; the message alone tells whose.
            (422, 300) if error.message.contains("'From'") => About::Us,
            (422, 300) if error.message.contains("'ReplyTo'") => About::Us,
            // The recipient's address is invalid, or has bounced or complained before.
            (422, 300 | 406) => About::Mail,
            // All others with this status are about the account, the sender or the request's form.
            (422, _) => About::Us,
            _ => About::of(status),
        };
        Complaint { code: Some(name_of(error.error_code)), about }
    }
}

/// Postmark's title of an error code.
fn name_of(code: u32) -> String {
    let name = match code {
        10 => "bad_or_missing_api_token",
        100 => "maintenance",
        300 => "invalid_email_request",
        400 => "sender_signature_not_found",
        401 => "sender_signature_not_confirmed",
        405 => "not_allowed_to_send",
        406 => "inactive_recipient",
        412 => "account_is_pending",
        413 => "account_may_not_send",
        429 => "rate_limit_exceeded",
        other => return format!("error_{other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::complaint;
    use super::*;

    #[test]
    fn every_class_of_error_has_its_meaning() {
        let to = "Error parsing 'To': Illegal email domain 'x' in address 'ana@x'.";
        let from = "Invalid 'From' address: 'orders'.";
        for (status, number, message, code, about) in [
            (422, 300, to, "invalid_email_request", About::Mail),
            (422, 300, from, "invalid_email_request", About::Us),
            (422, 300, "Invalid 'ReplyTo' address", "invalid_email_request", About::Us),
            (422, 406, "ana@example.com is inactive", "inactive_recipient", About::Mail),
            (422, 400, "", "sender_signature_not_found", About::Us),
            (422, 401, "", "sender_signature_not_confirmed", About::Us),
            (422, 405, "", "not_allowed_to_send", About::Us),
            (422, 412, "", "account_is_pending", About::Us),
            (422, 1235, "", "error_1235", About::Us),
            (401, 10, "", "bad_or_missing_api_token", About::Us),
            (413, 0, "", "error_0", About::Mail),
            (429, 429, "", "rate_limit_exceeded", About::Time),
            (500, 100, "", "maintenance", About::Time),
        ] {
            let body = format!(r#"{{"ErrorCode":{number},"Message":"{message}"}}"#);
            let expected = (Some(code.to_owned()), about);
            assert_eq!(complaint(&Postmark, status, &body), expected, "{status} {number}");
        }
    }
}
