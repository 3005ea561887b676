//! Mailpit's HTTP send API: a mailbox for tests that delivers nothing.
//!
//! It has no idempotency key; started with `--ignore-duplicate-ids` it drops a mail whose
//! `Message-ID` it has. It asks for no key unless it is told to.
//!
//! Source: "Send a message" in Mailpit's API (<https://mailpit.axllent.org/docs/api-v1/>).

use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{About, Api, Complaint, Outgoing, Taken};
use crate::notifier::sender::Sender;
use crate::provider::{Answer, Auth, Http};

#[derive(Debug)]
pub(super) struct Mailpit;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    from: Address<'a>,
    to: [Address<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<[Address<'a>; 1]>,
    subject: &'a str,
    text: &'a str,
    #[serde(rename = "HTML")]
    html: &'a str,
    tags: [&'a str; 1],
    headers: Headers<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
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

#[derive(Serialize)]
struct Headers<'a> {
    #[serde(rename = "Message-ID")]
    message_id: &'a str,
}

#[derive(Deserialize)]
struct Accepted {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "Error")]
    _error: String,
}

impl Api for Mailpit {
    fn auth<'a>(&self, _: &'a SecretString) -> Auth<'a> {
        Auth::None
    }

    fn request(&self, http: &Http, mail: &Outgoing<'_>) -> RequestBuilder {
        http.request(Method::POST, "api/v1/send", &[]).json(&Request {
            from: Address::of(mail.from),
            to: [Address { email: mail.to.as_str(), name: None }],
            reply_to: mail.reply_to.map(|sender| [Address::of(sender)]),
            subject: mail.subject,
            text: mail.text,
            html: mail.html,
            tags: [mail.template],
            headers: Headers { message_id: mail.message_id },
        })
    }

    fn taken(&self, answer: &Answer) -> Option<Taken> {
        let accepted = serde_json::from_slice::<Accepted>(&answer.body).ok()?;
        Some(Taken::with_id(Some(&accepted.id)))
    }

    /// Its errors are sentences: the status has to do.
    fn complaint(&self, status: u16, body: &[u8]) -> Complaint {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(_) => Complaint { code: None, about: About::of(status) },
            Err(_) => Complaint::foreign(status),
        }
    }
}
