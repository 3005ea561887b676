//! Settings of the tokens.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::secret;
use crate::Error;

/// Most seconds that clocks may be apart.
const MAX_LEEWAY_SECONDS: u64 = 300;

/// Settings of the JSON Web Tokens that are accepted as bearer tokens (RFC 7519). Without any of
/// the four sources of keys there are none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtOptions {
    /// Shared secret of HS256 tokens.
    pub secret: SecretString,
    /// File with such a secret, which may change.
    pub secret_file: String,
    /// File with a JSON Web Key Set (RFC 7517) for RS256 and ES256 tokens, which may change.
    pub jwks_file: String,
    /// URL of such a set.
    pub jwks_url: String,
    /// Who has to have issued a token: its `iss`.
    pub issuer: String,
    /// Whom a token has to be for: one of its `aud`.
    pub audience: String,
    /// How far the issuer's clock may be off, in seconds.
    pub leeway_seconds: u64,
    /// Claim with the role or roles.
    pub role_claim: String,
    /// Value that makes an operator.
    pub operator_role: String,
    /// Value that makes a customer.
    pub customer_role: String,
    /// Claim with a customer's id.
    pub customer_claim: String,
    /// How often the keys are loaded again, in milliseconds.
    pub jwks_refresh_ms: u64,
    /// Least time between two loads that tokens with unknown key ids cause, and longest time until
    /// a load that failed is tried again, in milliseconds.
    pub jwks_cooldown_ms: u64,
    /// How long fetching the keys may take, in milliseconds.
    pub jwks_timeout_ms: u64,
    /// Verified tokens that are remembered, at least 1.
    pub max_cached_tokens: u32,
}

impl JwtOptions {
    /// Whether tokens are accepted at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.sources().into_iter().any(|(_, is_set)| is_set)
    }

    fn sources(&self) -> [(&'static str, bool); 4] {
        [
            ("jwt.secret", !self.secret.expose_secret().is_empty()),
            ("jwt.secret_file", !self.secret_file.is_empty()),
            ("jwt.jwks_file", !self.jwks_file.is_empty()),
            ("jwt.jwks_url", !self.jwks_url.is_empty()),
        ]
    }

    /// What no single type can check; nothing of it matters where no tokens are accepted.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let refuse = |key, problem: &str| Err(Error::Options { key, problem: problem.into() });
        let set: Vec<_> = self.sources().into_iter().filter(|(_, is_set)| *is_set).collect();
        match set[..] {
            [] => return Ok(()),
            [_] => {}
            [_, (key, _), ..] => return refuse(key, "is a second source of keys; give one"),
        }
        if !self.secret.expose_secret().is_empty()
            && let Err(problem) = secret::check(self.secret.expose_secret())
        {
            return refuse("jwt.secret", problem);
        }
        let needed = [
            ("jwt.issuer", &self.issuer),
            ("jwt.audience", &self.audience),
            ("jwt.role_claim", &self.role_claim),
            ("jwt.operator_role", &self.operator_role),
            ("jwt.customer_role", &self.customer_role),
            ("jwt.customer_claim", &self.customer_claim),
        ];
        for (key, value) in needed {
            if value.is_empty() {
                return refuse(key, "must not be empty where tokens are accepted");
            }
        }
        if self.operator_role == self.customer_role {
            return refuse("jwt.customer_role", "must differ from jwt.operator_role");
        }
        let url = self.jwks_url.parse::<reqwest::Url>().ok();
        let is_http = |url: reqwest::Url| matches!(url.scheme(), "http" | "https");
        if !self.jwks_url.is_empty() && !url.is_some_and(is_http) {
            return refuse("jwt.jwks_url", "must be an https or http URL");
        }
        if self.leeway_seconds > MAX_LEEWAY_SECONDS {
            let problem = format!("must be at most {MAX_LEEWAY_SECONDS}");
            return refuse("jwt.leeway_seconds", &problem);
        }
        let positive = [
            ("jwt.jwks_refresh_ms", self.jwks_refresh_ms),
            ("jwt.jwks_cooldown_ms", self.jwks_cooldown_ms),
            ("jwt.jwks_timeout_ms", self.jwks_timeout_ms),
            ("jwt.max_cached_tokens", self.max_cached_tokens.into()),
        ];
        for (key, value) in positive {
            if value == 0 {
                return refuse(key, "must be above 0");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::options;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let validate = |edit: &dyn Fn(&mut JwtOptions)| {
            let jwks_url = "https://issuer.example/jwks".into();
            let mut options = JwtOptions { jwks_url, ..options() };
            edit(&mut options);
            options.validate().map_err(|error| error.to_string())
        };
        assert_eq!(validate(&|_| {}), Ok(()));
        let refused = |key: &str, edit: &dyn Fn(&mut JwtOptions)| {
            let problem = validate(edit).unwrap_err();
            assert!(problem.starts_with(&format!("gateway.jwt.{key} ")), "{problem}");
        };
        refused("issuer", &|o| o.issuer.clear());
        refused("audience", &|o| o.audience.clear());
        refused("role_claim", &|o| o.role_claim.clear());
        refused("customer_role", &|o| o.customer_role = "operator".into());
        refused("jwks_url", &|o| o.jwks_url = "ftp://issuer.example/".into());
        refused("jwks_url", &|o| o.jwks_url = "issuer".into());
        refused("jwks_url", &|o| o.secret = "x".repeat(32).into());
        refused("secret", &|o| {
            o.jwks_url.clear();
            o.secret = "too short".into();
        });
        refused("leeway_seconds", &|o| o.leeway_seconds = 301);
        refused("jwks_cooldown_ms", &|o| o.jwks_cooldown_ms = 0);
        refused("max_cached_tokens", &|o| o.max_cached_tokens = 0);
        let off = validate(&|o| {
            o.jwks_url.clear();
            o.issuer.clear();
        });
        assert_eq!(off, Ok(()), "without keys there are no tokens");
    }
}
