//! Resend, and the sandbox's mailbox.
//!
//! `Idempotency-Key` is remembered for 24 hours; the same key with another body is refused.
//!
//! Sources: "Send Email", "Errors" and "Idempotency Keys" in Resend's documentation
//! (<https://resend.com/docs/api-reference/errors>).

use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{About, Api, Complaint, Outgoing, Taken};
use crate::provider::{Answer, Auth, Http, code_of};

#[derive(Debug)]
pub(super) struct Resend;

#[derive(Serialize)]
struct Request<'a> {
    from: String,
    to: [&'a str; 1],
    subject: &'a str,
    text: &'a str,
    html: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    tags: [Tag<'a>; 2],
}

#[derive(Serialize)]
struct Tag<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    /// In small letters and underscores.
    name: String,
    #[serde(rename = "message")]
    _message: String,
}

impl ErrorBody {
    fn is_the_providers(&self) -> bool {
        !self.name.is_empty() && self.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    }
}

impl Api for Resend {
    fn auth<'a>(&self, key: &'a SecretString) -> Auth<'a> {
        Auth::Bearer(key)
    }

    fn request(&self, http: &Http, mail: &Outgoing<'_>) -> RequestBuilder {
        http.request(Method::POST, "emails", &[]).header("Idempotency-Key", mail.key).json(
            &Request {
                from: mail.from.to_string(),
                to: [mail.to.as_str()],
                subject: mail.subject,
                text: mail.text,
                html: mail.html,
                reply_to: mail.reply_to.map(ToString::to_string),
                tags: [
                    Tag { name: "template", value: mail.template },
                    Tag { name: "order_id", value: mail.order_id },
                ],
            },
        )
    }

    fn taken(&self, answer: &Answer) -> Option<Taken> {
        let accepted = serde_json::from_slice::<Accepted>(&answer.body).ok()?;
        Some(Taken::with_id(Some(&accepted.id)))
    }

    fn complaint(&self, status: u16, body: &[u8]) -> Complaint {
        let error = serde_json::from_slice::<ErrorBody>(body).ok();
        let Some(error) = error.filter(ErrorBody::is_the_providers) else {
            return Complaint::foreign(status);
        };
        let about = match (status, error.name.as_str()) {
            (409, "invalid_idempotent_request") => About::Key,
            (409, _) => About::Time,
            (429, "daily_quota_exceeded" | "monthly_quota_exceeded") => About::Us,
            (_, "invalid_from_address") => About::Us,
            _ => About::of(status),
        };
        Complaint { code: code_of(Some(&error.name)), about }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::complaint;
    use super::*;

    #[test]
    fn every_class_of_error_has_its_meaning() {
        for (status, name, about) in [
            (400, "validation_error", About::Mail),
            (422, "missing_required_field", About::Mail),
            (422, "invalid_from_address", About::Us),
            (451, "security_error", About::Mail),
            (401, "missing_api_key", About::Us),
            (403, "validation_error", About::Us),
            (404, "not_found", About::Us),
            (405, "method_not_allowed", About::Us),
            (409, "invalid_idempotent_request", About::Key),
            (409, "concurrent_idempotent_requests", About::Time),
            (429, "rate_limit_exceeded", About::Time),
            (429, "daily_quota_exceeded", About::Us),
            (500, "application_error", About::Time),
        ] {
            let body = format!(r#"{{"name":"{name}","message":"to ana@example.com"}}"#);
            assert_eq!(complaint(&Resend, status, &body), (Some(name.into()), about), "{status}");
        }
        let other = r#"{"name":"BadRequest","message":"no"}"#;
        assert_eq!(complaint(&Resend, 400, other), (None, About::Foreign));
    }
}
