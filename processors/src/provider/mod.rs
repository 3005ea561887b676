//! What the processors that call an HTTP provider share: the client, its answers, back-off, and the
//! circuit breaker for a provider that is away.

mod backoff;
mod circuit;
mod http;
mod metrics;

pub(crate) use backoff::Backoff;
pub(crate) use circuit::Circuit;
pub use circuit::{Absence, Presence};
pub(crate) use http::{Answer, Auth, Endpoint, Http, Lost, code_of};

/// Why a processor could not be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base URL is no `http` or `https` URL.
    #[error("{provider}: the provider's URL must be an absolute http or https URL")]
    Url {
        /// Name of the provider, from the settings.
        provider: String,
    },
    /// A setting can't be used.
    #[error("{provider}: `{setting}` {problem}")]
    Setting {
        /// Name of the provider, from the settings.
        provider: String,
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong with it; never the value.
        problem: &'static str,
    },
    /// The HTTP client could not be set up, e.g. for want of CA certificates.
    #[error("{provider}: the HTTP client could not be set up")]
    Client {
        /// Name of the provider, from the settings.
        provider: String,
        /// What the client says.
        #[source]
        source: reqwest::Error,
    },
}
