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
    /// Requests for one mail before it is given up, at least 1; only failures count that come while
    /// the provider takes other mails.
    pub max_attempts: u32,
    /// Requests in a row without an answer of the provider's, or with an error of its own or about our
    /// key, sender or quota, after which it counts as away: mails wait and one at a time is tried; 0
    /// for never.
    pub circuit_failures: u32,
    /// Pause before each such try, in milliseconds.
    pub circuit_pause_ms: u64,
    /// Longest pause after the first failed request, in milliseconds; doubles with each.
    pub backoff_initial_ms: u64,
    /// Longest pause after any failed request, in milliseconds.
    pub backoff_max_ms: u64,
    /// Pause before the next try when the provider refuses our key, sender or URL, in
    /// milliseconds.
    pub retry_refused_ms: u64,
}
