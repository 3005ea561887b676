//! Why the registry can't be reached, in an operator's words.

use std::error::Error;

use super::Cause;

/// No answer came.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Unreachable {
    words: &'static str,
    #[source]
    source: Cause,
}

impl Unreachable {
    /// What the failure of a request means.
    pub fn of(source: impl Into<Cause>) -> Self {
        let source = source.into();
        let words = words(&chain(source.as_ref()));
        Self { words, source }
    }
}

/// The words of an error and its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut all = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        all.push_str(": ");
        all.push_str(&error.to_string());
        cause = error.source();
    }
    all
}

/// What the HTTP client says, in words that name the setting.
fn words(said: &str) -> &'static str {
    let any = |all: &[&str]| all.iter().any(|words| said.contains(words));
    if any(&["dns error"]) {
        "the host's name is not known (registry.url)"
    } else if any(&["Connection refused"]) {
        "nothing listens there (registry.url)"
    } else if any(&["No route to host", "Network is unreachable", "Host is unreachable"]) {
        "no network leads there (registry.url)"
    } else if any(&["certificate"]) {
        "its certificate is not trusted"
    } else if any(&["unexpected EOF", "wrong version number", "corrupt message", "InvalidMessage"])
    {
        "the TLS handshake fails; probably the port speaks no TLS (https in registry.url)"
    } else if any(&["timed out"]) {
        "no answer in time (registry.timeout_ms)"
    } else if any(&["invalid HTTP", "IncompleteMessage", "connection closed before message"]) {
        "the answer is no HTTP; the port may speak TLS (https in registry.url)"
    } else {
        "the request failed"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_says_names_the_setting() {
        for (said, has) in [
            ("client error (Connect): dns error: error resolving DNS", "name is not known"),
            ("tcp connect error: Connection refused (os error 111)", "nothing listens"),
            ("invalid peer certificate: UnknownIssuer", "not trusted"),
            ("client error (Connect): unexpected EOF", "no TLS"),
            ("operation timed out", "registry.timeout_ms"),
            ("something", "failed"),
        ] {
            assert!(Unreachable::of(said).to_string().contains(has), "{said}");
        }
    }
}
