//! The call to the mail provider: sending one mail.

use std::time::Duration;

use comanda_schemas::PaymentEvent;
use reqwest::RequestBuilder;

use super::Options;
use super::api::{About, Api, Outgoing};
use super::mail::Mail;
use super::recipient::Recipient;
use super::sender::Sender;
use crate::provider::{self, Endpoint, Http, Lost};

/// A client of the mail provider.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    api: &'static dyn Api,
    from: Sender,
    reply_to: Option<Sender>,
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
    /// No answer. The mail may have been taken.
    #[error(transparent)]
    Lost(Lost),
}

impl Client {
    pub fn new(options: &Options) -> Result<Self, provider::Error> {
        let unusable = |setting, problem| {
            let provider = options.provider.name().to_owned();
            Err(provider::Error::Setting { provider, setting, problem })
        };
        let Some(from) = Sender::parse(&options.from) else {
            return unusable("from", "must be one address, or a name and <address>, on one line");
        };
        let reply_to = Sender::parse(&options.reply_to);
        if reply_to.is_none() && !options.reply_to.is_empty() {
            return unusable("reply_to", "must be like `from`, or empty");
        }
        let api = options.provider.api();
        let auth = api.auth(&options.api_key);
        if auth.lacks_key() {
            return unusable("api_key", "must not be empty");
        }
        let http = Http::new(&Endpoint {
            provider: options.provider.name(),
            url: &options.provider_url,
            auth,
            connect_timeout: Duration::from_millis(options.connect_timeout_ms),
            request_timeout: Duration::from_millis(options.request_timeout_ms),
        })?;
        Ok(Self { http, api, from, reply_to })
    }

    /// Whether an answer to a mail goes anywhere.
    pub fn can_reply(&self) -> bool {
        self.reply_to.is_some()
    }

    /// Asks for the mail for `event`; nothing is sent yet.
    pub fn request(
        &self,
        event: &PaymentEvent,
        template: &str,
        to: &Recipient,
        mail: &Mail,
    ) -> RequestBuilder {
        let key = event.event_id.to_string();
        self.api.request(
            &self.http,
            &Outgoing {
                key: &key,
                message_id: &format!("<{key}@{}>", self.from.domain()),
                from: &self.from,
                reply_to: self.reply_to.as_ref(),
                to,
                subject: &mail.subject,
                text: &mail.text,
                html: &mail.html,
                template,
                order_id: &event.order_id.to_string(),
            },
        )
    }

    /// Sends what [`Client::request`] gave and returns the provider's id of the mail, where it gives
    /// one.
    pub async fn send(&self, request: RequestBuilder) -> Result<Option<String>, Failure> {
        let answer = self.http.send("send", request).await.map_err(Failure::Lost)?;
        if answer.status.is_success() {
            return Ok(self.api.message_id(&answer));
        }
        let status = answer.status.as_u16();
        let complaint = self.api.complaint(status, &answer.body);
        let code = complaint.code.unwrap_or_else(|| format!("http_{status}"));
        Err(match complaint.about {
            About::Mail => Failure::Rejected(code),
            About::Us => Failure::Refused(code),
            About::Time => Failure::Busy { code, retry_after: answer.retry_after },
            About::Key => Failure::KeyReused,
        })
    }
}
