//! Who asks: API keys and tokens.
//!
//! [`Credential`] is what a client shows, [`Grant`] what that gives. API keys come from the
//! settings and a file ([`KeyRing`](key_ring::KeyRing)), tokens are verified with keys of the
//! settings, a file or the issuer's host ([`Tokens`](tokens::Tokens)). All of that can change while
//! the gateway runs; a request never waits for it, but for keys that were not known before.

mod claims;
mod credential;
mod jwks;
mod key_ring;
mod keys;
mod load;
mod options;
mod principal;
mod secret;
mod source;
mod token;
mod tokens;

use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::millis;
use crate::digest::digest;
use crate::failure::{Code, Failure};
use crate::{Error, Options};
pub(crate) use credential::Credential;
use key_ring::KeyRing;
pub(crate) use keys::Keys;
pub use keys::{ApiKey, Role, hash_key};
pub use options::JwtOptions;
pub(crate) use principal::{Caller, Denial, Grant, Principal, Proof};
use tokens::Tokens;

/// What is told of a credential beyond [`token::MAX_TOKEN_BYTES`].
const TOO_LONG: &str = "the key or token is longer than 8 KiB, which is the most that is taken";

/// Knows who asks.
pub(crate) struct Auth {
    keys: KeyRing,
    tokens: Option<Arc<Tokens>>,
}

impl Auth {
    /// Fails where keys in the settings or in a file can't be used.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let (inline, file) = (options.api_keys.clone(), &options.api_keys_file);
        let keys = KeyRing::open(inline, file, millis(options.api_keys_refresh_ms)).await?;
        Ok(Self { keys, tokens: Tokens::open(&options.jwt).await? })
    }

    /// What a credential gives.
    pub async fn grant(&self, shown: Option<Credential<'_>>) -> Result<Option<Grant>, Denial> {
        let Some(shown) = shown else { return Ok(None) };
        let (Credential::Bearer(text) | Credential::Key(text)) = shown;
        if text.len() > token::MAX_TOKEN_BYTES {
            return Err(Denial::harmless(Failure::new(Code::Unauthenticated, TOO_LONG)));
        }
        let hash = digest(text);
        if let Some(principal) = self.keys.keys().find(&hash) {
            let principal = principal.clone();
            return Ok(Some(Grant { principal, proof: Proof::Key(hash) }));
        }
        match (shown, &self.tokens) {
            (Credential::Bearer(token), Some(tokens)) if token::is_token(token) => {
                tokens.grant(token, &hash).await.map(Some)
            }
            (Credential::Bearer(_), Some(_)) => {
                Err(Failure::new(Code::Unauthenticated, "the key or token is not valid").into())
            }
            _ => Err(Failure::new(Code::Unauthenticated, "the API key is not valid").into()),
        }
    }

    /// Comes back when the grant holds no longer: the token has expired, the key is not one of
    /// those accepted any more or is another's.
    pub async fn end_of(&self, grant: &Grant) {
        match grant.proof {
            Proof::Token { until } => {
                // Again, because a clock can be set in the meantime.
                while let left = token::remaining(until)
                    && !left.is_zero()
                {
                    sleep(left).await;
                }
            }
            Proof::Key(hash) => {
                let mut changes = self.keys.changes();
                while self.keys.keys().find(&hash) == Some(&grant.principal) {
                    if changes.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                }
            }
        }
    }

    /// Follows whatever can change, until `shutdown`.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let tokens = async {
            match &self.tokens {
                Some(tokens) => tokens.follow().await,
                None => std::future::pending().await,
            }
        };
        let following = async { tokio::join!(self.keys.follow(), tokens) };
        shutdown.run_until_cancelled(following).await;
    }
}

#[cfg(test)]
mod tests;
