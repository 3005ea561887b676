//! The tokens that are accepted: keys that change, and what was verified with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use metrics::counter;
use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tracing::{debug, info};

use super::claims::Mapping;
use super::load::{Intake, LoadError};
use super::options::JwtOptions;
use super::source::Source;
use super::token::{KeySet, Refused, Rules, now};
use super::{Denial, Grant, Proof};
use crate::Error;
use crate::config::millis;
use crate::failure::{Code, Failure};
use crate::metrics::TOKENS_TOTAL;

/// The tokens that are accepted.
pub(super) struct Tokens {
    source: Source,
    rules: Rules,
    refresh: Duration,
    cooldown: Duration,
    max_cached: usize,
    state: ArcSwap<State>,
    /// Held while the keys are being loaded, so that nobody else does it at the same time.
    loading: Mutex<Loading>,
    /// Whether the last load failed.
    is_failing: AtomicBool,
}

/// Keys, and the tokens that were verified with them; these are forgotten with the keys.
struct State {
    keys: KeySet,
    verified: Cache<[u8; 32], Grant>,
}

impl State {
    fn new(keys: KeySet, max_cached: usize) -> Self {
        Self { keys, verified: Cache::new(max_cached) }
    }
}

struct Loading {
    intake: Intake,
    /// End of the last load.
    ended: Option<Instant>,
    /// Begin of the last load that a token caused.
    asked: Option<Instant>,
}

impl Tokens {
    /// `None` where tokens are not accepted. A file has to be there; another host may be away.
    pub async fn open(options: &JwtOptions) -> Result<Option<Arc<Self>>, Error> {
        if !options.is_enabled() {
            return Ok(None);
        }
        let source = Source::new(options)?;
        let max_cached = options.max_cached_tokens as usize;
        let intake = Intake::new(source.name());
        let tokens = Self {
            rules: Rules {
                issuer: options.issuer.clone(),
                audience: options.audience.clone(),
                leeway: options.leeway_seconds,
                mapping: Mapping {
                    role_claim: options.role_claim.clone(),
                    operator_role: options.operator_role.clone(),
                    customer_role: options.customer_role.clone(),
                    customer_claim: options.customer_claim.clone(),
                },
            },
            refresh: millis(options.jwks_refresh_ms),
            cooldown: millis(options.jwks_cooldown_ms),
            max_cached,
            state: ArcSwap::from_pointee(State::new(KeySet::Published(Vec::new()), max_cached)),
            loading: Mutex::new(Loading { intake, ended: None, asked: None }),
            is_failing: AtomicBool::new(false),
            source,
        };
        if !tokens.source.is_remote() {
            let loaded = tokens.load(&mut *tokens.loading.lock().await).await;
            loaded.map_err(|error| error.into_options(tokens.source.name()))?;
        }
        Ok(Some(Arc::new(tokens)))
    }

    /// What a token gives. `hash` is its own: what was verified once is known by it.
    pub async fn grant(self: &Arc<Self>, token: &str, hash: &[u8; 32]) -> Result<Grant, Denial> {
        if let Some(grant) = self.state.load().verified.get(hash) {
            return match grant.proof {
                Proof::Token { until } if until <= now() => Err(Refused::Expired.into()),
                _ => Ok(grant),
            };
        }
        let mut verified = self.verify(token, hash);
        if verified == Err(Refused::UnknownKey) && self.source.can_change() {
            self.ask_for_keys().await;
            verified = self.verify(token, hash);
        }
        let outcome = verified.as_ref().map_or_else(|refused| refused.as_str(), |_| "good");
        counter!(TOKENS_TOTAL, "outcome" => outcome).increment(1);
        verified.map_err(|refused| {
            debug!(reason = refused.as_str(), "a token is refused");
            if refused == Refused::UnknownKey && self.lacks_keys() {
                away().into()
            } else {
                refused.into()
            }
        })
    }

    fn verify(&self, token: &str, hash: &[u8; 32]) -> Result<Grant, Refused> {
        let state = self.state.load();
        let grant = state.keys.verify(token, &self.rules)?;
        state.verified.insert(*hash, grant.clone());
        Ok(grant)
    }

    /// Whether a key that is not known may yet be one of the issuer's.
    fn lacks_keys(&self) -> bool {
        self.is_failing.load(Ordering::Acquire) || self.state.load().keys.is_empty()
    }

    /// Loads the keys because of a token, at most once in a while; where they are being loaded,
    /// waits for that.
    async fn ask_for_keys(self: &Arc<Self>) {
        let (this, since) = (self.clone(), Instant::now());
        let loading = async move {
            let loading = &mut *this.loading.lock().await;
            let is_fresh = loading.ended.is_some_and(|ended| ended > since);
            let is_too_soon = loading.asked.is_some_and(|asked| asked.elapsed() < this.cooldown);
            if !is_fresh && !is_too_soon {
                // The first load of all would come without the token, too: its keys may change
                // the next moment.
                loading.asked = loading.ended.is_some().then(Instant::now);
                let _ = this.load(loading).await;
            }
        };
        // On a task of its own: others may wait for it, even if this client goes.
        let _ = tokio::spawn(loading).await;
    }

    /// Follows the source for ever.
    pub async fn follow(&self) {
        if !self.source.can_change() {
            return std::future::pending().await;
        }
        let mut pause = if self.source.is_remote() { Duration::ZERO } else { self.refresh };
        loop {
            sleep(pause).await;
            let since = Instant::now();
            let loading = &mut *self.loading.lock().await;
            // A token may have caused it meanwhile.
            if loading.ended.is_none_or(|ended| ended <= since) {
                let _ = self.load(loading).await;
            }
            let is_failing = self.is_failing.load(Ordering::Acquire);
            pause = if is_failing { self.cooldown.min(self.refresh) } else { self.refresh };
        }
    }

    /// Loads the keys, and takes them where they have changed.
    async fn load(&self, loading: &mut Loading) -> Result<(), LoadError> {
        let read = self.source.read().await;
        let taken = loading.intake.take(read, |content| self.source.parse(content));
        loading.ended = Some(Instant::now());
        self.is_failing.store(taken.is_err(), Ordering::Release);
        if let Some(keys) = taken? {
            info!(source = self.source.name(), "the keys of tokens are loaded");
            self.state.store(Arc::new(State::new(keys, self.max_cached)));
        }
        Ok(())
    }
}

/// It may be a good one: the client should not throw it away.
fn away() -> Failure {
    Failure::new(Code::AuthUnavailable, "the keys that tokens are verified with can't be had now")
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use serde_json::json;
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::auth::tests::{Signer, claims, options};
    use crate::auth::token::remaining;
    use crate::digest::digest;

    const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

    #[test]
    fn a_token_is_verified_once_and_known_until_it_expires() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let signer = Signer::secret(SECRET.as_bytes());
        let options = JwtOptions { secret: SECRET.into(), ..options() };
        metrics::with_local_recorder(&recorder, || {
            runtime.block_on(async {
                let tokens = Tokens::open(&options).await.unwrap().unwrap();
                let until = now() + 3;
                let mut claims = claims();
                claims["exp"] = json!(until);
                let token = signer.sign(&claims);
                let hash = digest(&token);
                for _ in 0..3 {
                    assert!(tokens.grant(&token, &hash).await.is_ok());
                }
                sleep(remaining(until)).await;
                let refused = tokens.grant(&token, &hash).await.unwrap_err();
                assert_eq!(refused, Denial::from(Refused::Expired));
                assert!(!refused.is_wrong_key);
                let bad = format!("{token}x");
                assert!(tokens.grant(&bad, &digest(&bad)).await.is_err());
            });
        });
        let metrics = recorder.handle().render();
        let count = |outcome: &str| {
            let start = format!("{TOKENS_TOTAL}{{outcome=\"{outcome}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
        };
        assert_eq!(count("good").as_deref(), Some("1"), "{metrics}");
        assert_eq!(count("expired"), None, "it was known");
        assert_eq!(count("signature").as_deref(), Some("1"));
    }

    async fn publish(server: &MockServer, signer: &Signer) {
        server.reset().await;
        let set = ResponseTemplate::new(200).set_body_json(json!({ "keys": [signer.jwk()] }));
        let slowly = set.set_delay(Duration::from_millis(50));
        Mock::given(any()).respond_with(slowly).mount(server).await;
    }

    async fn is_good(tokens: &Arc<Tokens>, signer: &Signer) -> bool {
        let token = signer.sign(&claims());
        tokens.grant(&token, &digest(&token)).await.is_ok()
    }

    #[tokio::test]
    async fn a_token_that_is_there_before_the_first_keys_causes_no_second_load() {
        let server = MockServer::start().await;
        let [first, second] = ["1", "2"].map(Signer::ec);
        publish(&server, &first).await;
        let options = JwtOptions {
            jwks_url: server.uri(),
            jwks_refresh_ms: 60_000,
            jwks_cooldown_ms: 60_000,
            jwks_timeout_ms: 10_000,
            ..options()
        };
        let tokens = Tokens::open(&options).await.unwrap().unwrap();
        let asking = tokio::spawn({
            let tokens = tokens.clone();
            async move { is_good(&tokens, &first).await }
        });
        while tokens.loading.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        let following = tokens.follow();
        tokio::pin!(following);
        assert!(futures_util::poll!(&mut following).is_pending());
        tokio::select! {
            () = &mut following => unreachable!("it follows for ever"),
            good = asking => assert!(good.unwrap()),
        }
        tokio::select! {
            biased;
            () = &mut following => unreachable!("it follows for ever"),
            _ = tokens.loading.lock() => {}
        }
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
        publish(&server, &second).await;
        assert!(is_good(&tokens, &second).await, "no token has asked for new keys yet");
    }
}
