//! What an HTTP answer means that is not a success, and whether the registry itself gave it.
//!
//! A proxy, an ingress or another server at the same address answers too: with a 404 for a path
//! that it does not route, or with a page of its own. Only the registry's error codes say something
//! about a schema. They are in the body: `{"error_code": 40403, "message": "Schema not found"}`.

use std::error::Error;

use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::RawError;
use serde::Deserialize;

use super::Cause;

/// The registry's codes for "no such thing": the status and two digits of its own.
const NOT_FOUND: std::ops::RangeInclusive<u32> = 40_401..=40_499;

/// What an unsuccessful answer means.
#[derive(Debug)]
pub(super) enum Answer {
    /// The registry has no such subject, version or id.
    NotFound,
    /// The schema is incompatible; the registry's words.
    Incompatible(String),
    /// The registry, or what stands before it, refuses the request as it is.
    Refused(Cause),
    /// It can't answer now, or the answer is not a registry's.
    Unavailable(Cause),
}

/// An answer came, but not from a schema registry.
#[derive(Debug, thiserror::Error)]
#[error(
    "the answer (status {status}) is not a schema registry's: either registry.url names another \
     server or path, or a proxy in between can't reach the registry"
)]
pub(super) struct NotTheRegistry {
    pub status: u16,
}

/// A refusal in the registry's own words.
#[derive(Debug, thiserror::Error)]
#[error("status {status}, error code {code}: {message}")]
struct Refusal {
    status: u16,
    code: u32,
    message: String,
}

/// A refusal by status alone, as proxies give it.
#[derive(Debug, thiserror::Error)]
#[error("status {0}; are registry.username and registry.password right?")]
struct NotAllowed(u16);

impl Answer {
    /// The answer that `error` of the client carries, if one came.
    pub fn of(error: &SRCError) -> Option<Self> {
        let status = status_in(&error.error)?;
        let told = error.source().and_then(|source| source.downcast_ref::<RawError>());
        // The client puts 0 for a body that it can't read.
        let told = told.filter(|told| told.error_code != 0);
        Some(Self::read(status, told.map(|told| (told.error_code, told.message.clone()))))
    }

    /// From the status, and the code and words in the body where it has the registry's form.
    pub fn read(status: u16, told: Option<(u32, String)>) -> Self {
        let Some((code, message)) = told else {
            return match status {
                401 | 403 => Self::Refused(NotAllowed(status).into()),
                _ => Self::Unavailable(NotTheRegistry { status }.into()),
            };
        };
        match status {
            404 if NOT_FOUND.contains(&code) => Self::NotFound,
            404 => Self::Unavailable(NotTheRegistry { status }.into()),
            409 => Self::Incompatible(message),
            429 | 500.. => Self::Unavailable(Refusal { status, code, message }.into()),
            _ => Self::Refused(Refusal { status, code, message }.into()),
        }
    }
}

/// Code and words of a body that has the form of the registry's errors.
pub(super) fn error_in(body: &[u8]) -> Option<(u32, String)> {
    let told: RawError = serde_json::from_slice(body).ok()?;
    Some((told.error_code, told.message))
}

/// Whether a body confirms that the compatibility level is set.
pub(super) fn confirms_level(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Level {
        compatibility: String,
    }
    serde_json::from_slice::<Level>(body).is_ok_and(|l| l.compatibility == "FULL_TRANSITIVE")
}

/// The HTTP status, which the client tells only as words: "… failed with status 404 Not Found".
fn status_in(words: &str) -> Option<u16> {
    let (_, status) = words.split_once("with status ")?;
    status.get(..3)?.parse().ok()
}
