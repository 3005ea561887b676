//! What the payment provider reports of its own accord, put on the log.

mod notice;
mod signature;

use comanda_producer::{self as producer, Producer};
use comanda_schemas::headers::error_chain;
use comanda_schemas::{Event, PaymentReport, Timestamp, TraceContext};
use comanda_store::{Contents, Store};
use metrics::counter;
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::sync::Arc;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::Error;
use crate::metrics::WEBHOOKS_TOTAL;
use signature::Untrusted;

/// Reports that are remembered until the order store has them.
const REMEMBERED: usize = 10_000;

/// Settings of the webhook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookOptions {
    /// Secrets that Stripe signs with, any of which is good; none for no webhook.
    pub stripe_secrets: Vec<SecretString>,
    /// How far the time of a signature may be off, in seconds, both ways. At least 1.
    pub tolerance_seconds: u64,
    /// Deliveries a second from one address, in the long run; 0 for no limit.
    pub rate: u32,
    /// Deliveries from one address at once.
    pub burst: u32,
}

impl WebhookOptions {
    /// Whether there is a webhook at all.
    pub fn is_on(&self) -> bool {
        !self.stripe_secrets.is_empty()
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let refuse = |key, problem: &str| Err(Error::Options { key, problem: problem.into() });
        if !self.stripe_secrets.iter().all(|secret| is_signing_secret(secret.expose_secret())) {
            let problem = "must be signing secrets as Stripe shows them: whsec_, then letters and \
                           digits, without quotes or line breaks";
            return refuse("webhook.stripe_secrets", problem);
        }
        if !(1..=86_400).contains(&self.tolerance_seconds) {
            return refuse("webhook.tolerance_seconds", "must be 1 to 86400");
        }
        Ok(())
    }
}

/// Whether it can be a signing secret. What comes with a secret when it is copied (a line break,
/// quotes), or an API key in its place, would refuse every delivery.
fn is_signing_secret(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    text.strip_prefix("whsec_").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_plain))
}

/// What became of a delivery that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is on the log by this delivery.
    Stored,
    /// It was there before.
    Known,
    /// It is about nothing of ours.
    Ignored,
}

/// Why a delivery was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It can't be shown to be Stripe's.
    Untrusted,
    /// It is signed and no event.
    Malformed,
    /// It can't be stored now.
    Unavailable,
}

/// The webhook. Clones share what is remembered.
#[derive(Clone)]
pub(crate) struct Webhook {
    options: Arc<WebhookOptions>,
    producer: Producer<PaymentReport>,
    store: Store,
    /// Reports that are on the log; one that is on its way is waited for.
    recent: Arc<Cache<Uuid, ()>>,
}

impl Webhook {
    pub fn new(
        options: WebhookOptions,
        producer: Producer<PaymentReport>,
        store: Store,
    ) -> Option<Self> {
        let recent = Arc::new(Cache::new(REMEMBERED));
        options.is_on().then(|| Self { options: Arc::new(options), producer, store, recent })
    }

    /// Takes one delivery: `signature` is the header, `body` as it came.
    pub async fn take(
        &self,
        signature: Option<&[u8]>,
        body: &[u8],
        trace: TraceContext,
    ) -> Result<Taken, Refused> {
        let (label, outcome) = self.settle(signature, body, trace).await;
        counter!(WEBHOOKS_TOTAL, "outcome" => label).increment(1);
        outcome
    }

    async fn settle(
        &self,
        signature: Option<&[u8]>,
        body: &[u8],
        trace: TraceContext,
    ) -> (&'static str, Result<Taken, Refused>) {
        let WebhookOptions { stripe_secrets, tolerance_seconds, .. } = &*self.options;
        let now = Timestamp::now().as_millis() / 1000;
        match signature::verify(signature, body, stripe_secrets, *tolerance_seconds, now) {
            Ok(()) => {}
            Err(Untrusted::OutOfTime) => return ("out_of_time", Err(Refused::Untrusted)),
            Err(Untrusted::Forged | Untrusted::Malformed) => {
                return ("bad_signature", Err(Refused::Untrusted));
            }
        }
        let report = match notice::report(body) {
            Ok(Some(report)) => report,
            Ok(None) => return ("ignored", Ok(Taken::Ignored)),
            Err(_) => return ("malformed", Err(Refused::Malformed)),
        };
        // On a task of its own: it goes on where Stripe hangs up, and others may wait for it.
        let recording = tokio::spawn(self.clone().record(report, trace));
        match recording.await {
            Ok(Ok(Taken::Stored)) => ("stored", Ok(Taken::Stored)),
            Ok(Ok(taken)) => ("known", Ok(taken)),
            Ok(Err(_)) | Err(_) => ("unavailable", Err(Refused::Unavailable)),
        }
    }

    async fn record(
        self,
        report: PaymentReport,
        trace: TraceContext,
    ) -> Result<Taken, producer::Error> {
        let mut taken = Taken::Known;
        let record = async {
            if self.is_known(&report).await {
                return Ok::<_, producer::Error>(());
            }
            self.producer.publish(&report, &trace).await?;
            debug!(order_id = %report.order_id, "payment reported");
            taken = Taken::Stored;
            Ok(())
        };
        self.recent.get_or_insert_async(&report.event_id(), record).await?;
        Ok(taken)
    }

    /// Whether the order store shows that the log has it. A store that does not answer shows
    /// nothing: a report that is there twice does no harm.
    async fn is_known(&self, report: &PaymentReport) -> bool {
        match self.store.facts(report.order_id, Contents::None).await {
            Ok(facts) => notice::is_known(report, &facts),
            Err(error) => {
                warn!(error = error_chain(&error), "a report is stored without asking the store");
                false
            }
        }
    }
}
