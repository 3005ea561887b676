//! Mailgun's Messages API.
//!
//! It has no idempotency key. The same mail sent twice is two mails, with one `Message-ID`.
//!
//! The base URL ends in the sending domain. A mail is a multipart form, the only kind that Mailgun's
//! description of the API names.
//!
//! Sources: "Send an email" and "API response codes" in Mailgun's documentation
//! (<https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages>).

use reqwest::multipart::Form;
use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde::Deserialize;

use super::{About, Api, Complaint, Outgoing, Taken};
use crate::provider::{Answer, Auth, Http};

/// What Mailgun says of a mail that it won't take.
const MAIL_WORDS: [&str; 6] =
    ["parameter", "limited to", "recipient", "address", "message", "Message"];

#[derive(Debug)]
pub(super) struct Mailgun;

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    message: String,
}

impl Api for Mailgun {
    fn auth<'a>(&self, key: &'a SecretString) -> Auth<'a> {
        Auth::Basic("api", key)
    }

    fn request(&self, http: &Http, mail: &Outgoing<'_>) -> RequestBuilder {
        let mut form = Form::new()
            .text("from", mail.from.to_string())
            .text("to", mail.to.as_str().to_owned())
            .text("subject", mail.subject.to_owned())
            .text("text", mail.text.to_owned())
            .text("html", mail.html.to_owned())
            .text("h:Message-Id", mail.message_id.to_owned())
            .text("o:tag", mail.template.to_owned())
            // What events and webhooks tell the mail by.
            .text("v:order_id", mail.order_id.to_owned())
            .text("v:payment_event_id", mail.key.to_owned());
        if let Some(sender) = mail.reply_to {
            form = form.text("h:Reply-To", sender.to_string());
        }
        http.request(Method::POST, "messages", &[]).multipart(form)
    }

    fn taken(&self, answer: &Answer) -> Option<Taken> {
        let accepted = serde_json::from_slice::<Accepted>(&answer.body).ok()?;
        Some(Taken::with_id(Some(&accepted.id)))
    }

    /// Mailgun has sentences and no codes: those that tell more than the status get one here. Many
    /// gateways have errors of the same form, so a refusal of a mail needs words that only Mailgun has.
    fn complaint(&self, status: u16, body: &[u8]) -> Complaint {
        let Ok(error) = serde_json::from_slice::<ErrorBody>(body) else {
            return match status {
                // Its answer to a wrong key is no JSON.
                401 => Complaint { code: None, about: About::Us },
                _ => Complaint::foreign(status),
            };
        };
        let says = |words: &str| error.message.contains(words);
        let (code, about) = match status {
            400 if says("to parameter") => (Some("invalid_to"), About::Mail),
            400 if says("from parameter") => (Some("invalid_from"), About::Us),
            400 if says("not allowed to send") => (Some("not_allowed_to_send"), About::Us),
            _ => match About::of(status) {
                About::Mail if !MAIL_WORDS.iter().any(|words| says(words)) => {
                    (None, About::Foreign)
                }
                about => (None, about),
            },
        };
        Complaint { code: code.map(str::to_owned), about }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::complaint;
    use super::*;

    #[test]
    fn every_class_of_error_has_its_meaning() {
        for (status, message, code, about) in [
            (400, "to parameter is not a valid address", Some("invalid_to"), About::Mail),
            (400, "from parameter is missing", Some("invalid_from"), About::Us),
            (
                400,
                "Domain x is not allowed to send: disabled",
                Some("not_allowed_to_send"),
                About::Us,
            ),
            (400, "Send options are limited to 16KB total", None, About::Mail),
            (400, "Bad Request", None, About::Foreign),
            (402, "", None, About::Us),
            (403, "Please activate your account", None, About::Us),
            (404, "Domain not found: x", None, About::Us),
            (413, "", None, About::Foreign),
            (429, "Domain x is not allowed to send: limit exceeded", None, About::Time),
            (500, "Internal Server Error", None, About::Time),
        ] {
            let body = format!(r#"{{"message":"{message}"}}"#);
            let expected = (code.map(str::to_owned), about);
            assert_eq!(complaint(&Mailgun, status, &body), expected, "{status} {message}");
        }
        assert_eq!(complaint(&Mailgun, 401, "Forbidden"), (None, About::Us));
    }
}
