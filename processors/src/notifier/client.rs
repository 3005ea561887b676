//! The call to the mail provider: sending one mail, as Resend has it.
//!
//! Sources: "Send Email", "Errors" and "Idempotency Keys" in Resend's documentation
//! (<https://resend.com/docs/api-reference/errors>).

use std::time::Duration;

use comanda_schemas::PaymentEvent;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Options;
use super::mail::Mail;
use super::recipient::Recipient;
use crate::provider::{self, Answer, Endpoint, Http, Lost, code_of};

/// A client of the mail provider.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    from: String,
    reply_to: Option<String>,
}

/// Why a mail was not taken. The text of each is fit for logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// This mail will never be taken.
    #[error("the mail is refused: {0}")]
    Rejected(String),
    /// A mail under the same key was taken before, and it was another one.
    #[error("the idempotency key belongs to another mail")]
    KeyReused,
    /// The provider refuses us, or is not the provider: settings are wrong, not the mail.
    #[error("the provider refuses our requests: {0}; check its URL, key, sender and quota")]
    Refused(String),
    /// Not now.
    #[error("the provider does not take the mail now: {code}")]
    Busy { code: String, retry_after: Option<Duration> },
    /// No answer. The mail may have been taken; the same key says so on the next try.
    #[error(transparent)]
    Lost(Lost),
}

#[derive(Serialize)]
struct Request<'a> {
    from: &'a str,
    to: [&'a str; 1],
    subject: &'a str,
    text: &'a str,
    html: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
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
    name: String,
}

impl Client {
    pub fn new(options: &Options) -> Result<Self, provider::Error> {
        let http = Http::new(&Endpoint {
            provider: &options.provider,
            url: &options.provider_url,
            key: &options.api_key,
            connect_timeout: Duration::from_millis(options.connect_timeout_ms),
            request_timeout: Duration::from_millis(options.request_timeout_ms),
        })?;
        let reply_to = Some(options.reply_to.clone()).filter(|address| !address.is_empty());
        Ok(Self { http, from: options.from.clone(), reply_to })
    }

    /// Whether an answer to a mail goes anywhere.
    pub fn can_reply(&self) -> bool {
        self.reply_to.is_some()
    }

    /// Sends the mail for `event` and returns the provider's id of it, where it gives one.
    pub async fn send(
        &self,
        event: &PaymentEvent,
        template: &str,
        to: &Recipient,
        mail: &Mail,
    ) -> Result<Option<String>, Failure> {
        let order_id = event.order_id.to_string();
        let request = self
            .http
            .request(Method::POST, "emails", &[])
            .header("Idempotency-Key", event.event_id.to_string())
            .json(&Request {
                from: &self.from,
                to: [to.as_str()],
                subject: &mail.subject,
                text: &mail.text,
                html: &mail.html,
                reply_to: self.reply_to.as_deref(),
                tags: [
                    Tag { name: "template", value: template },
                    Tag { name: "order_id", value: &order_id },
                ],
            });
        classify(self.http.send("send", request).await)
    }
}

/// The id of a mail that was taken, or what the answer or its absence means.
fn classify(answer: Result<Answer, Lost>) -> Result<Option<String>, Failure> {
    let answer = answer.map_err(Failure::Lost)?;
    let status = answer.status.as_u16();
    if (200..=299).contains(&status) {
        let accepted = serde_json::from_slice::<Accepted>(&answer.body).ok();
        return Ok(accepted.and_then(|accepted| code_of(Some(&accepted.id))));
    }
    let error = serde_json::from_slice::<ErrorBody>(&answer.body).ok();
    let name = error.as_ref().map(|error| error.name.as_str());
    let code = code_of(name).unwrap_or_else(|| format!("http_{status}"));
    let busy = |code| Failure::Busy { code, retry_after: answer.retry_after };
    Err(match (status, name) {
        (409, Some("invalid_idempotent_request")) => Failure::KeyReused,
        (429, Some("daily_quota_exceeded" | "monthly_quota_exceeded")) => Failure::Refused(code),
        (408 | 409 | 425 | 429 | 500..=599, _) => busy(code),
        // Our key, our sender; and a 404 or 405 comes from somebody who is not the provider.
        (401 | 403 | 404 | 405, _) | (_, Some("invalid_from_address")) => Failure::Refused(code),
        (400..=499, _) => Failure::Rejected(code),
        _ => Failure::Refused(code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    fn meaning(status: u16, body: &str) -> Result<Option<String>, Failure> {
        let status = StatusCode::from_u16(status).unwrap();
        classify(Ok(Answer {
            status,
            retry_after: None,
            is_replayed: false,
            body: body.to_owned().into(),
        }))
    }

    #[test]
    fn every_class_of_answer_has_its_meaning() {
        let busy = |code: &str| Failure::Busy { code: code.into(), retry_after: None };
        let rejected = |code: &str| Failure::Rejected(code.into());
        let refused = |code: &str| Failure::Refused(code.into());
        for (status, name, expected) in [
            (400, "validation_error", rejected("validation_error")),
            (400, "", rejected("http_400")),
            (422, "missing_required_field", rejected("missing_required_field")),
            (422, "invalid_from_address", refused("invalid_from_address")),
            (451, "security_error", rejected("security_error")),
            (401, "missing_api_key", refused("missing_api_key")),
            (403, "validation_error", refused("validation_error")),
            (404, "not_found", refused("not_found")),
            (405, "method_not_allowed", refused("method_not_allowed")),
            (302, "", refused("http_302")),
            (409, "invalid_idempotent_request", Failure::KeyReused),
            (409, "concurrent_idempotent_requests", busy("concurrent_idempotent_requests")),
            (429, "rate_limit_exceeded", busy("rate_limit_exceeded")),
            (429, "daily_quota_exceeded", refused("daily_quota_exceeded")),
            (500, "application_error", busy("application_error")),
            (503, "", busy("http_503")),
        ] {
            let body = format!(r#"{{"name":"{name}","message":"to ana@example.com"}}"#);
            assert_eq!(meaning(status, &body), Err(expected), "{status} {name}");
        }
    }

    #[test]
    fn a_mail_that_was_taken_has_the_providers_id() {
        assert_eq!(meaning(200, r#"{"id":"49a3999c-0ce1"}"#), Ok(Some("49a3999c-0ce1".into())));
        assert_eq!(meaning(202, "no JSON"), Ok(None));
    }
}
