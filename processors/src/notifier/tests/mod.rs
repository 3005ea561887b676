//! The notifier against a provider that answers as told, over real HTTP, and the mails it renders.

mod absence;
mod mails;
mod providers;
mod sending;
mod templates;

use std::path::PathBuf;

use comanda_schemas::{
    Currency, FailureReason, NotificationEvent, PaymentEvent, PaymentEventType, Source, Timestamp,
};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::samples::failed;
use super::{Language, Notifier, Options, Provider, samples};
use crate::{HandlerError, Input, Outcome, Processor};

pub(super) fn options(url: &str) -> Options {
    Options {
        provider: Provider::Resend,
        provider_url: url.into(),
        api_key: "re_hidden".to_owned().into(),
        from: "Trattoria Comanda <orders@comanda.example>".into(),
        reply_to: "kitchen@comanda.example".into(),
        restaurant_name: "Trattoria Comanda".into(),
        language: Language::En,
        templates: PathBuf::new(),
        connect_timeout_ms: 1_000,
        request_timeout_ms: 300,
        max_attempts: 3,
        circuit_failures: 50,
        circuit_pause_ms: 5_000,
        backoff_initial_ms: 1_000,
        backoff_max_ms: 8_000,
        retry_refused_ms: 60_000,
    }
}

/// An event of the samples, without a note.
fn event(r#type: PaymentEventType) -> PaymentEvent {
    let mut event = samples::event(r#type);
    event.order.note = None;
    event
}
