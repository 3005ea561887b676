//! Mails customers what became of their payment, through an HTTP mail provider.
//!
//! - [`Notifier`]: the processor, from payment events to notification events
//! - `kind`, `words`, `templates`, `mail`: which mails there are, what they say in each language and
//!   how they look
//! - [`preview`]: mails for bundled samples
//! - `text`, `recipient`, `sender`: what customers and operators wrote, made harmless
//! - `api`: the mail providers, one file each; `client`: the call, the same for all
//!
//! The key of each mail is the payment event's id. Where the provider takes idempotency keys, a mail
//! that is sent again after a crash or a missing answer goes out once, as long as the provider
//! remembers the key (Resend: 24 hours). Where it takes none, a second one goes out, under the same
//! `Message-ID`.

mod api;
mod client;
mod error;
mod kind;
mod mail;
mod options;
mod preview;
mod recipient;
mod samples;
mod sender;
mod templates;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::time::Duration;

use comanda_schemas::{NotificationEvent, NotificationEventType, PaymentEvent, Stage, Timestamp};
use tracing::error;

use crate::provider::{self, Backoff, Presence};
use crate::{HandlerError, Input, Outcome, Processor};
pub use api::Provider;
use client::{Client, Failure};
pub use error::Error;
use kind::Kind;
use mail::Writer;
pub use options::Options;
pub use preview::{Preview, preview};
use recipient::Recipient;
pub use words::Language;

/// How customers are told.
const CHANNEL: &str = "email";

/// Kinds of errors, by which dead letters are sorted: a mail that was not taken, a provider that refuses
/// us or is not itself, one that is away.
const NOT_SENT: &str = "mail_not_sent";
const REFUSES: &str = "mail_provider_refuses";
const AWAY: &str = "mail_provider_away";

/// The notifier.
#[derive(Debug)]
pub struct Notifier {
    provider: Provider,
    writer: Writer,
    client: Client,
    backoff: Backoff,
    max_attempts: u32,
    retry_refused: Duration,
}

/// What became of a mail.
struct Told {
    template: &'static str,
    result: Result<Option<String>, String>,
}

impl Notifier {
    /// A notifier after `options`, whose templates are tried with every sample. Nothing is sent yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        if options.max_attempts == 0 {
            return Err(Error::Provider(provider::Error::Setting {
                provider: options.provider.name().to_owned(),
                setting: "max_attempts",
                problem: "must be at least 1",
            }));
        }
        let client = Client::new(&options)?;
        Ok(Self {
            writer: Writer::new(&options, client.can_reply())?,
            client,
            backoff: Backoff::new(
                options.provider.name(),
                options.backoff_initial_ms,
                options.backoff_max_ms,
            ),
            max_attempts: options.max_attempts,
            retry_refused: Duration::from_millis(options.retry_refused_ms),
            provider: options.provider,
        })
    }

    /// Whether the provider counts as away.
    pub fn presence(&self) -> Presence {
        self.client.circuit.presence()
    }

    fn result(&self, input: &Input<PaymentEvent>, told: Told) -> NotificationEvent {
        let cause = &input.event;
        let (r#type, message_id, detail) = match told.result {
            Ok(message_id) => (NotificationEventType::Sent, message_id, None),
            Err(detail) => (NotificationEventType::Failed, None, Some(detail)),
        };
        NotificationEvent {
            event_id: NotificationEvent::derive_id(cause.event_id),
            r#type,
            order_id: cause.order_id,
            occurred_at: Timestamp::now(),
            payment_event_id: cause.event_id,
            channel: CHANNEL.into(),
            template: told.template.into(),
            provider: self.provider.name().into(),
            message_id,
            detail,
            source: input.source.clone(),
        }
    }

    fn failed(
        &self,
        input: &Input<PaymentEvent>,
        template: &'static str,
        failure: Failure,
    ) -> Outcome<NotificationEvent> {
        let told = |detail: &str| self.result(input, Told { template, result: Err(detail.into()) });
        let given_up = |detail: &str| Outcome::DeadLetter {
            error: HandlerError::new(NOT_SENT, &failure),
            result: Some(told(detail)),
        };
        // What counts against the mail: with what detail, where others are taken meanwhile.
        let its_own = match &failure {
            Failure::Rejected(code) => return Outcome::Emit(told(code)),
            // Which of the two mails went out is for a person to find out.
            Failure::KeyReused => return given_up("idempotency_key_reused"),
            Failure::Refused(_) | Failure::Foreign(_) => {
                error!(
                    order_id = %input.event.order_id, error = %failure,
                    "the mail provider refuses our requests"
                );
                self.backoff.count_retry();
                return Outcome::Retry {
                    after: self.retry_refused,
                    error: HandlerError::new(REFUSES, &failure),
                };
            }
            Failure::Busy { .. } | Failure::NotSent(_) => None,
            Failure::Trouble { code, is_alone, .. } => is_alone.then_some(code.as_str()),
            Failure::Lost { is_alone, .. } => is_alone.then_some("no_answer"),
        };
        if let Some(detail) = its_own
            && input.attempt >= self.max_attempts
        {
            return given_up(detail);
        }
        self.backoff.count_retry();
        Outcome::Retry {
            after: self.backoff.delay(input.attempt, failure.retry_after()),
            error: HandlerError::new(NOT_SENT, &failure),
        }
    }
}

impl Processor for Notifier {
    type In = PaymentEvent;
    type Out = NotificationEvent;
    type Note = NotificationEvent;
    const STAGE: Stage = Stage::Notifier;

    fn is_neighbours_fault(error: &HandlerError) -> bool {
        [NOT_SENT, REFUSES, AWAY].contains(&error.kind)
    }

    async fn handle(&self, input: &Input<PaymentEvent>) -> Outcome<NotificationEvent> {
        let event = &input.event;
        let Some(kind) = Kind::of(event.r#type) else {
            return Outcome::DeadLetter {
                error: HandlerError {
                    kind: "unknown_event_type",
                    chain: "a payment event of a type that this build does not know".into(),
                },
                result: None,
            };
        };
        let template = kind.name();
        let Some(to) = Recipient::parse(&event.order.contact.email) else {
            let result = Err("invalid_recipient".into());
            return Outcome::Emit(self.result(input, Told { template, result }));
        };
        if let Err(wait) = self.client.circuit.admit() {
            let chain = "the mail provider is away".into();
            let error = HandlerError { kind: AWAY, chain };
            return Outcome::Wait { after: self.backoff.delay(1, Some(wait)), error };
        }
        let mail = match self.writer.write(kind, event) {
            Ok(mail) => mail,
            Err(error) => {
                return Outcome::DeadLetter {
                    error: HandlerError::new("mail_not_rendered", &error),
                    result: None,
                };
            }
        };
        let request = self.client.request(event, template, &to, &mail);
        match self.client.send(request).await {
            Ok(message_id) => {
                Outcome::Emit(self.result(input, Told { template, result: Ok(message_id) }))
            }
            Err(failure) => self.failed(input, template, failure),
        }
    }
}
