//! Exponential back-off with full jitter.

use std::time::Duration;

use metrics::counter;
use tokio::time::sleep;

use super::metrics::RETRIES_TOTAL;

/// A provider that asks for a longer pause gets this one. Whoever waits has bounds of its own.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How long to wait before a try: anything from zero to a ceiling that doubles with each try.
///
/// The jitter is full, so that the clients of a provider that comes back don't do so together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    provider: String,
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// `initial_ms` is the ceiling of the first wait, `max_ms` that of every wait, in milliseconds.
    pub fn new(provider: &str, initial_ms: u64, max_ms: u64) -> Self {
        Self {
            provider: provider.to_owned(),
            initial: Duration::from_millis(initial_ms),
            max: Duration::from_millis(max_ms),
        }
    }

    /// The wait after `failures` failed tries (from 1). What the provider asked for is waited in
    /// full, up to a day, and the jitter added to it.
    pub fn delay(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let ceiling = self.ceiling(failures).as_nanos().try_into().unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(rand::random_range(0..=ceiling));
        jitter + retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)
    }

    /// Waits for [`Backoff::delay`].
    pub async fn wait(&self, failures: u32, retry_after: Option<Duration>) {
        self.count_retry();
        sleep(self.delay(failures, retry_after)).await;
    }

    /// Counts a retry for which somebody else does the waiting.
    pub fn count_retry(&self) {
        counter!(RETRIES_TOTAL, "provider" => self.provider.clone()).increment(1);
    }

    fn ceiling(&self, failures: u32) -> Duration {
        let factor = 2u32.saturating_pow(failures.saturating_sub(1));
        self.initial.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn backoff() -> Backoff {
        Backoff::new("p", 200, 1_000)
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let ceilings = [1, 2, 3, 4, 5, 64, u32::MAX].map(|n| backoff().ceiling(n).as_millis());
        assert_eq!(ceilings, [200, 400, 800, 1_000, 1_000, 1_000, 1_000]);
    }

    #[test]
    fn the_jitter_spans_everything_below_the_ceiling() {
        let delays: Vec<_> = (0..2_000).map(|_| backoff().delay(2, None).as_millis()).collect();
        assert!(delays.iter().all(|d| *d <= 400));
        assert!(delays.iter().any(|d| *d < 50), "no short delay among {}", delays.len());
        assert!(delays.iter().any(|d| *d > 350), "no long delay among {}", delays.len());
    }

    #[test]
    fn what_the_provider_asks_for_is_the_least_and_is_bounded() {
        let asked = Duration::from_secs(7);
        let delay = backoff().delay(1, Some(asked));
        assert!(delay >= asked && delay <= asked + Duration::from_millis(200), "{delay:?}");
        let delay = backoff().delay(1, Some(Duration::MAX));
        assert!(delay <= MAX_RETRY_AFTER + Duration::from_millis(200), "{delay:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_takes_as_long_as_the_provider_asked() {
        let begun = Instant::now();
        backoff().wait(1, Some(Duration::from_secs(3))).await;
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_secs(3) && waited <= Duration::from_millis(3_201));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_initial_wait_there_is_none() {
        let begun = Instant::now();
        Backoff::new("p", 0, 0).wait(9, None).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
