//! The call to the mail provider: sending one mail.

use std::time::Duration;

use comanda_schemas::{PaymentEvent, Stage};
use reqwest::RequestBuilder;

use super::Options;
use super::api::{About, Api, Outgoing};
use super::mail::Mail;
use super::recipient::Recipient;
use super::sender::Sender;
use crate::provider::{self, Circuit, Endpoint, Http, Lost};

/// Whether the circuit to a provider is open, by `provider` (gauge).
const CIRCUIT_OPEN: &str = "comanda_notifier_circuit_open";

/// A client of the mail provider.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    api: &'static dyn Api,
    from: Sender,
    reply_to: Option<Sender>,
    pub circuit: Circuit,
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
    /// The provider refuses us: settings are wrong, not the mail.
    #[error("the provider refuses our requests: {0}; check its URL, key, sender and quota")]
    Refused(String),
    /// Something else answered in the provider's place, which tells nothing of the mail.
    #[error("the answer is not the provider's: {0}; check its URL, and what is in between")]
    Foreign(String),
    /// Not now: there are too many.
    #[error("the provider does not take the mail now: {code}")]
    Busy { code: String, retry_after: Option<Duration> },
    /// Not now: the provider has trouble of its own. It `is_alone` where the call before it, for
    /// another mail, was answered as it should be.
    #[error("the provider fails: {code}")]
    Trouble { code: String, retry_after: Option<Duration>, is_alone: bool },
    /// No connection.
    #[error(transparent)]
    NotSent(Lost),
    /// Sent, and no answer: the mail may have been taken.
    #[error("{lost}")]
    Lost { lost: Lost, is_alone: bool },
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
        let circuit = Circuit::new(
            Stage::Notifier,
            CIRCUIT_OPEN,
            options.provider.name(),
            options.circuit_failures,
            Duration::from_millis(options.circuit_pause_ms),
        );
        Ok(Self { http, api, from, reply_to, circuit })
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
    /// one. The circuit breaker sees what comes of it.
    pub async fn send(&self, request: RequestBuilder) -> Result<Option<String>, Failure> {
        let mut sent = self.ask(request).await;
        let circuit = &self.circuit;
        match &mut sent {
            Ok(_) | Err(Failure::Rejected(_) | Failure::KeyReused) => circuit.answered(),
            Err(failure @ (Failure::Refused(_) | Failure::Foreign(_) | Failure::NotSent(_))) => {
                circuit.failed(failure, None);
            }
            Err(failure @ Failure::Busy { .. }) => {
                circuit.busy(failure, failure.retry_after());
            }
            Err(failure @ (Failure::Trouble { .. } | Failure::Lost { .. })) => {
                let was_alone = circuit.failed(failure, failure.retry_after());
                if let Failure::Trouble { is_alone, .. } | Failure::Lost { is_alone, .. } = failure
                {
                    *is_alone = was_alone;
                }
            }
        }
        sent
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Option<String>, Failure> {
        let answer = match self.http.send("send", request).await {
            Ok(answer) => answer,
            Err(lost @ Lost::NotSent(_)) => return Err(Failure::NotSent(lost)),
            Err(lost) => return Err(Failure::Lost { lost, is_alone: false }),
        };
        let (status, retry_after) = (answer.status.as_u16(), answer.retry_after);
        if answer.status.is_success() {
            return match self.api.taken(&answer) {
                Some(taken) => Ok(taken.message_id),
                None => Err(Failure::Foreign(format!("http_{status}"))),
            };
        }
        let complaint = self.api.complaint(status, &answer.body);
        let code = complaint.code.unwrap_or_else(|| format!("http_{status}"));
        Err(match (complaint.about, status) {
            (About::Mail, _) => Failure::Rejected(code),
            (About::Us, _) => Failure::Refused(code),
            (About::Foreign, _) => Failure::Foreign(code),
            (About::Time, 408 | 500..=599) => {
                Failure::Trouble { code, retry_after, is_alone: false }
            }
            (About::Time, _) => Failure::Busy { code, retry_after },
            (About::Key, _) => Failure::KeyReused,
        })
    }
}

impl Failure {
    /// How long the provider asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Busy { retry_after, .. } | Failure::Trouble { retry_after, .. } => {
                *retry_after
            }
            Failure::Rejected(_)
            | Failure::KeyReused
            | Failure::Refused(_)
            | Failure::Foreign(_)
            | Failure::NotSent(_)
            | Failure::Lost { .. } => None,
        }
    }
}
