//! What differs between mail providers: how a mail is asked for, and what the answer means.
//!
//! A provider is an [`Api`]; connections, time-outs, retries and limits are the same for all and
//! live elsewhere. Texts of errors are read and never passed on: they repeat addresses.

mod mailgun;
mod mailpit;
mod postmark;
mod resend;
mod sendgrid;
#[cfg(test)]
mod tests;

use std::fmt;

use reqwest::RequestBuilder;
use secrecy::SecretString;
use serde::Deserialize;

use super::recipient::Recipient;
use super::sender::Sender;
use crate::provider::{Answer, Auth, Http};

/// Longest id of a mail taken over from an answer, in bytes.
const MAX_ID: usize = 255;

/// A mail provider that comanda can send through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// <https://resend.com>; base URL `https://api.resend.com`.
    Resend,
    /// <https://sendgrid.com>; base URL `https://api.sendgrid.com`.
    Sendgrid,
    /// <https://postmarkapp.com>; base URL `https://api.postmarkapp.com`.
    Postmark,
    /// <https://mailgun.com>; base URL `https://api.mailgun.net/v3/` and the sending domain.
    Mailgun,
    /// <https://mailpit.axllent.org>, for tests: it shows mails and delivers none.
    Mailpit,
    /// `comanda sandbox mailbox`, which does the same and speaks Resend's API.
    Sandbox,
}

impl Provider {
    /// Name in settings, notification events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Resend => "resend",
            Provider::Sendgrid => "sendgrid",
            Provider::Postmark => "postmark",
            Provider::Mailgun => "mailgun",
            Provider::Mailpit => "mailpit",
            Provider::Sandbox => "sandbox",
        }
    }

    /// Base URL of its public API; `None` for those that run on a machine of one's own.
    pub fn public_url(self) -> Option<&'static str> {
        match self {
            Provider::Resend => Some("https://api.resend.com"),
            Provider::Sendgrid => Some("https://api.sendgrid.com"),
            Provider::Postmark => Some("https://api.postmarkapp.com"),
            Provider::Mailgun => Some("https://api.mailgun.net/v3/DOMAIN"),
            Provider::Mailpit | Provider::Sandbox => None,
        }
    }

    pub(super) fn api(self) -> &'static dyn Api {
        match self {
            Provider::Resend | Provider::Sandbox => &resend::Resend,
            Provider::Sendgrid => &sendgrid::SendGrid,
            Provider::Postmark => &postmark::Postmark,
            Provider::Mailgun => &mailgun::Mailgun,
            Provider::Mailpit => &mailpit::Mailpit,
        }
    }
}

/// A mail as it is handed to a provider. It has one recipient, by address alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// The same for every try of one mail, different for every other mail.
    pub key: &'a str,
    /// `Message-ID` as it stands in the header; follows from the key.
    pub message_id: &'a str,
    pub from: &'a Sender,
    pub reply_to: Option<&'a Sender>,
    pub to: &'a Recipient,
    pub subject: &'a str,
    pub text: &'a str,
    pub html: &'a str,
    /// Name of the mail's template, to tell mails apart in the provider's statistics.
    pub template: &'a str,
    /// To find an order's mails at the provider.
    pub order_id: &'a str,
}

/// One provider's API.
pub(super) trait Api: fmt::Debug + Send + Sync {
    /// How requests carry the key.
    fn auth<'a>(&self, key: &'a SecretString) -> Auth<'a>;

    /// The request that sends `mail`.
    fn request(&self, http: &Http, mail: &Outgoing<'_>) -> RequestBuilder;

    /// What a success says of a mail; `None` where the answer is not the provider's.
    fn taken(&self, answer: &Answer) -> Option<Taken>;

    /// Why it did not take one.
    fn complaint(&self, status: u16, body: &[u8]) -> Complaint;
}

/// A mail that a provider took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// The provider's id of it; `None` where that is not one that can be passed on.
    pub message_id: Option<String>,
}

impl Taken {
    fn with_id(id: Option<&str>) -> Self {
        Self { message_id: id_of(id) }
    }
}

/// Why a provider did not take a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The provider's code for it, without personal data; `None` where it gave none.
    pub code: Option<String>,
    pub about: About,
}

/// What a complaint is about, which decides what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// This mail or its recipient: it will never be taken.
    Mail,
    /// Our key, sender, URL or account: an operator has to act.
    Us,
    /// The provider has no time now.
    Time,
    /// A mail under the same key was taken before, and it was another one.
    Key,
    /// Nothing: something else answered in the provider's place, as a proxy, a firewall or a server
    /// at a wrong URL does.
    Foreign,
}

impl Complaint {
    /// What an answer says that is not in the form of the provider's errors.
    fn foreign(status: u16) -> Self {
        let about = match status {
            408 | 425 | 429 | 500..=599 => About::Time,
            _ => About::Foreign,
        };
        Self { code: None, about }
    }
}

impl About {
    /// What an error of the provider's is about as far as its status tells.
    fn of(status: u16) -> Self {
        match status {
            408 | 425 | 429 | 500..=599 => About::Time,
            // Our key, our account, our URL.
            401..=405 | 407 => About::Us,
            400..=499 => About::Mail,
            _ => About::Us,
        }
    }
}

/// An id of a mail, without the angle brackets of a `Message-ID`; `None` for what does not look
/// like one.
fn id_of(text: Option<&str>) -> Option<String> {
    let id = text?.trim().trim_start_matches('<').trim_end_matches('>');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.@+=".contains(&b);
    let fits = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain);
    fits.then(|| id.to_owned())
}
