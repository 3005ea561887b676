//! Settings of the notifier.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::api::Provider;
use super::words::Language;

/// Settings of the notifier.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Which API to send through.
    pub provider: Provider,
    /// Base URL of the provider's API.
    pub provider_url: String,
    /// API key, sent as the provider wants it.
    pub api_key: SecretString,
    /// Sender, `address` or `Name <address>`; the provider must know its domain.
    pub from: String,
    /// Where answers go, like `from`; empty for nowhere.
    pub reply_to: String,
    /// Who writes, in subjects and mails.
    pub restaurant_name: String,
    /// What mails are written in.
    pub language: Language,
    /// Folder of templates that take the place of the built-in ones; empty for none.
    pub templates: PathBuf,
    /// Time to connect, TLS included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Time for a request and its whole answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// Requests for one mail before it is given up, at least 1.
    pub max_attempts: u32,
    /// Longest pause after the first failed request, in milliseconds; doubles with each.
    pub backoff_initial_ms: u64,
    /// Longest pause after any failed request, in milliseconds.
    pub backoff_max_ms: u64,
    /// Pause before the next try when the provider refuses our key, sender or URL, in
    /// milliseconds.
    pub retry_refused_ms: u64,
}
