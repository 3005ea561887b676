//! Verifying one token: a JSON Web Token (RFC 7519) with a signature (RFC 7515), after the best
//! current practices of RFC 8725.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};

use super::claims::{Claims, Mapping};
use super::{Denial, Grant, Proof};
use crate::failure::{Code, Failure};

/// Most bytes of a key or token.
pub(super) const MAX_TOKEN_BYTES: usize = 8 << 10;
/// The end of the year 9999, in seconds since the Unix epoch: no token lives longer.
const END_OF_TIME: u64 = 253_402_300_799;

/// A key, and the one algorithm that it is for: what a token's header says never changes that.
pub(super) struct Key {
    pub id: Option<String>,
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
}

/// Keys to verify tokens with.
pub(super) enum KeySet {
    /// A shared secret; it has no id.
    Secret(Key),
    /// What the issuer publishes; nothing before it was loaded.
    Published(Vec<Key>),
}

/// What a token has to say.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub issuer: String,
    pub audience: String,
    /// In seconds.
    pub leeway: u64,
    pub mapping: Mapping,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Malformed,
    UnknownKey,
    Algorithm,
    Signature,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
    Claims,
    Role,
}

impl Refused {
    /// The reason in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Role => "role",
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Expired => Self::new(Code::Unauthenticated, "the token has expired"),
            Refused::Role => {
                Self::new(Code::Forbidden, "the token gives no role, or no customer, known here")
            }
            _ => Self::new(Code::Unauthenticated, "the key or token is not valid"),
        }
    }
}

impl From<Refused> for Denial {
    fn from(refused: Refused) -> Self {
        match refused {
            // The signature was good: it is looked at before the times.
            Refused::Expired | Refused::NotYetValid => Self::harmless(refused.into()),
            _ => Failure::from(refused).into(),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Self::Claims,
            ErrorKind::InvalidAlgorithm => Self::Algorithm,
            _ => Self::Malformed,
        }
    }
}

/// Whether a bearer token can be one of ours, rather than an API key: three parts with dots
/// between them (RFC 7515 §7.1).
pub(super) fn is_token(shown: &str) -> bool {
    shown.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long until then; nothing where it has passed.
pub(super) fn remaining(until: u64) -> Duration {
    let until = UNIX_EPOCH + Duration::from_secs(until.min(END_OF_TIME));
    until.duration_since(SystemTime::now()).unwrap_or_default()
}

impl KeySet {
    /// What a token gives, or why it gives nothing.
    pub fn verify(&self, token: &str, rules: &Rules) -> Result<Grant, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Malformed)?;
        // RFC 7515 §4.1.11: whoever does not understand what is critical has to refuse.
        if header.crit.is_some() {
            return Err(Refused::Malformed);
        }
        let key = self.key(&header)?;
        let validation = rules.validation(key.algorithm);
        let claims = decode::<Claims>(token, &key.decoding, &validation)?.claims;
        let until = rules.until(&claims).ok_or(Refused::Claims)?;
        if until <= now() {
            return Err(Refused::Expired);
        }
        let principal = rules.mapping.principal(&claims).ok_or(Refused::Role)?;
        Ok(Grant { principal, proof: Proof::Token { until } })
    }

    /// The key that a token names. Keys of different kinds may share an id (RFC 7517 §4.5).
    fn key(&self, header: &Header) -> Result<&Key, Refused> {
        let keys = match self {
            Self::Secret(key) => std::slice::from_ref(key),
            Self::Published(keys) => keys.as_slice(),
        };
        let is_named = |key: &&Key| match (self, &header.kid) {
            (Self::Secret(_), _) => true,
            (Self::Published(_), Some(id)) => key.id.as_ref() == Some(id),
            // Without an id it can only be meant where there is no other.
            (Self::Published(all), None) => all.len() == 1,
        };
        let mut named = keys.iter().filter(is_named).peekable();
        if named.peek().is_none() {
            return Err(Refused::UnknownKey);
        }
        named.find(|key| key.algorithm == header.alg).ok_or(Refused::Algorithm)
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Published(keys) if keys.is_empty())
    }
}

impl Rules {
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.validate_nbf = true;
        validation.leeway = self.leeway;
        validation
    }

    /// Until when a token holds: before `exp` (RFC 7519 §4.1.4) and the leeway.
    fn until(&self, claims: &Claims) -> Option<u64> {
        let expires = claims.get("exp")?.as_f64()?;
        Some((expires as u64).saturating_add(self.leeway).min(END_OF_TIME))
    }
}

#[cfg(test)]
mod tests;
