//! One allowance for each of many keys, after GCRA.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use http::HeaderValue;
use metrics::counter;

use super::Allowance;
use super::store::Bounded;
use crate::metrics::RATE_LIMITED_TOTAL;

/// What each key may take: `burst` at once, and one more after each `refill`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub name: &'static str,
    pub refill: Duration,
    pub burst: NonZeroU32,
}

impl Policy {
    /// `None` where `rate` is 0.
    pub fn per(name: &'static str, period: Duration, rate: u32, burst: u32) -> Option<Self> {
        let refill = period.checked_div(rate)?;
        Some(Self { name, refill, burst: NonZeroU32::new(burst)? })
    }

    /// The time in which all of it comes back.
    fn window(&self) -> Duration {
        self.refill * self.burst.get()
    }

    fn quota(&self) -> Quota {
        let quota = Quota::with_period(self.refill).expect("a rate of at most one a nanosecond");
        quota.allow_burst(self.burst)
    }

    fn field(&self) -> HeaderValue {
        let (q, w) = (self.burst, whole_seconds(self.window()));
        let text = format!("\"{}\";q={q};w={w}", self.name);
        text.try_into().expect("names of policies are plain")
    }
}

/// Seconds as HTTP has them: rounded up, at least 1.
fn whole_seconds(time: Duration) -> u64 {
    (time + Duration::from_nanos(999_999_999)).as_secs().max(1)
}

/// Keeps every key to a policy.
pub(super) struct Limiter<K, C = MonotonicClock>
where
    K: Eq + Hash + Clone,
    C: Clock,
{
    states: RateLimiter<K, Bounded<K>, C, StateInformationMiddleware>,
    policy: Policy,
    field: HeaderValue,
}

impl<K, C> Limiter<K, C>
where
    K: Eq + Hash + Clone,
    C: Clock,
{
    pub fn new(policy: Policy, max_keys: usize, clock: C) -> Self {
        let states = RateLimiter::new(policy.quota(), Bounded::new(max_keys), clock);
        Self { states, policy, field: policy.field() }
    }

    /// Takes `n`. Says what is left where that is little, and where it is too little.
    pub fn take(&self, key: K, n: NonZeroU32) -> Result<Option<Allowance>, Allowance> {
        self.take_again(key, n, 0)
    }

    /// The same, where the next try has to take `first` as well before it takes `n`.
    pub fn take_again(
        &self,
        key: K,
        n: NonZeroU32,
        first: u32,
    ) -> Result<Option<Allowance>, Allowance> {
        let wait = match self.states.check_key_n(&key, n) {
            Ok(Ok(state)) => {
                let remaining = state.remaining_burst_capacity();
                let is_little = remaining < self.policy.burst.get() / 4;
                return Ok(is_little.then(|| self.allowance(remaining, self.policy.refill)));
            }
            Ok(Err(not_until)) => not_until.wait_time_from(self.states.clock().now()),
            // More than there ever is.
            Err(_) => self.policy.window(),
        };
        counter!(RATE_LIMITED_TOTAL, "policy" => self.policy.name).increment(1);
        Err(self.allowance(0, wait + self.policy.refill * first))
    }

    /// The most that a key can take at once.
    pub fn burst(&self) -> u32 {
        self.policy.burst.get()
    }

    fn allowance(&self, remaining: u32, wait: Duration) -> Allowance {
        Allowance {
            policy: self.policy.name,
            field: self.field.clone(),
            remaining,
            wait: whole_seconds(wait),
        }
    }

    /// Forgets the keys whose allowance is whole again.
    pub fn sweep(&self) {
        self.states.retain_recent();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.states.len()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn limiter(max_keys: usize) -> (Limiter<u32, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let policy = Policy::per("test", Duration::from_secs(1), 2, 8).unwrap();
        (Limiter::new(policy, max_keys, clock.clone()), clock)
    }

    #[test]
    fn a_key_has_its_burst_and_then_its_rate() {
        let (limiter, clock) = limiter(100);
        let taken = (0..100).take_while(|_| limiter.take(1, ONE).is_ok()).count();
        assert_eq!(taken, 8);
        assert!(limiter.take(2, ONE).is_ok(), "another key has its own");
        let refused = limiter.take(1, ONE).unwrap_err();
        assert_eq!((refused.remaining, refused.wait), (0, 1));
        clock.advance(Duration::from_millis(499));
        assert!(limiter.take(1, ONE).is_err());
        clock.advance(Duration::from_millis(1));
        assert!(limiter.take(1, ONE).is_ok());
        assert!(limiter.take(1, ONE).is_err());
    }

    #[test]
    fn what_is_left_is_told_once_it_is_little() {
        let (limiter, _clock) = limiter(100);
        let told: Vec<Option<u32>> =
            (0..8).map(|_| limiter.take(1, ONE).unwrap().map(|left| left.remaining)).collect();
        assert_eq!(told, [None, None, None, None, None, None, Some(1), Some(0)]);
    }

    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let (limiter, _clock) = limiter(100);
        let n = |n: u32| NonZeroU32::new(n).unwrap();
        assert!(limiter.take(1, n(6)).is_ok());
        assert_eq!(limiter.take(1, n(6)).unwrap_err().wait, 2);
        assert!(limiter.take(1, n(2)).is_ok(), "nothing was taken in vain");
        assert_eq!(limiter.take(1, n(9)).unwrap_err().wait, 4, "more than there ever is");
    }

    #[test]
    fn who_waits_as_long_as_told_can_take_it_all() {
        let (limiter, clock) = limiter(100);
        let n = |n: u32| NonZeroU32::new(n).unwrap();
        limiter.take(1, n(8)).unwrap();
        for weight in [2, 5, 8] {
            clock.advance(Duration::from_secs(4));
            limiter.take(1, n(8)).unwrap();
            clock.advance(Duration::from_millis(500));
            limiter.take(1, ONE).unwrap();
            let refused = limiter.take_again(1, n(weight - 1), 1).unwrap_err();
            clock.advance(Duration::from_secs(refused.wait));
            limiter.take(1, ONE).unwrap();
            limiter.take_again(1, n(weight - 1), 1).unwrap();
        }
    }

    #[test]
    fn beyond_the_room_there_is_one_allowance_for_all() {
        let (limiter, clock) = limiter(160);
        let taken = (0..10_000).filter(|key| limiter.take(*key, ONE).is_ok()).count();
        assert!(limiter.len() <= 160);
        assert_eq!(taken, limiter.len() + 8);
        let known = (0..10_000).filter(|key| limiter.take(*key, ONE).is_ok()).count();
        assert_eq!(known, limiter.len(), "those who came first still have theirs");
        clock.advance(Duration::from_secs(5));
        limiter.sweep();
        assert_eq!(limiter.len(), 0, "those who are idle are forgotten");
        assert!(limiter.take(20_000, ONE).is_ok());
    }

    #[test]
    fn a_sweep_forgets_nobody_who_has_taken() {
        let (limiter, clock) = limiter(100);
        limiter.take(1, NonZeroU32::new(8).unwrap()).unwrap();
        clock.advance(Duration::from_secs(1));
        limiter.sweep();
        assert!(limiter.take(1, NonZeroU32::new(3).unwrap()).is_err());
    }

    #[test]
    fn a_policy_reads_as_the_draft_has_it() {
        let policy = Policy::per("test", Duration::from_secs(60), 10, 20).unwrap();
        assert_eq!(policy.field(), r#""test";q=20;w=120"#);
        assert!(Policy::per("off", Duration::from_secs(1), 0, 20).is_none());
    }
}
