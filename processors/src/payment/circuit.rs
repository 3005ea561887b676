//! A circuit breaker: a provider that is away as a whole is left alone, but for a probe now and
//! then.
//!
//! Orders that wait for it hold their places in the engine's window, so that intake stops with the
//! window full, and none of them fails meanwhile.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use metrics::{Gauge, gauge};
use tokio::time::Instant;
use tracing::{info, warn};

/// Whether the circuit to a provider is open, by `provider` (gauge).
const OPEN: &str = "comanda_payment_circuit_open";

/// The breaker of one provider.
#[derive(Debug)]
pub(super) struct Circuit {
    provider: String,
    /// Failures in a row that open it; 0 for never.
    limit: u32,
    /// How long it stays open before each probe.
    pause: Duration,
    state: Mutex<State>,
    open: Gauge,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { probe_at: Instant },
}

impl Circuit {
    pub fn new(provider: &str, limit: u32, pause: Duration) -> Self {
        Self {
            provider: provider.to_owned(),
            limit,
            pause,
            state: Mutex::new(State::Closed { failures: 0 }),
            open: gauge!(OPEN, "provider" => provider.to_owned()),
        }
    }

    /// Whether a call may begin, perhaps as a probe; if not, how long to wait.
    pub fn admit(&self) -> Result<(), Duration> {
        let mut state = self.state();
        let State::Open { probe_at } = &mut *state else { return Ok(()) };
        let now = Instant::now();
        if now < *probe_at {
            return Err(*probe_at - now);
        }
        // Were the probe's end waited for, one that is cut off would be the last.
        *probe_at = now + self.pause;
        Ok(())
    }

    /// The provider answered, whatever it said.
    pub fn answered(&self) {
        let mut state = self.state();
        match &mut *state {
            State::Closed { failures } => *failures = 0,
            State::Open { .. } => {
                *state = State::Closed { failures: 0 };
                self.open.set(0.0);
                info!(provider = self.provider, "the payment provider answers again");
            }
        }
    }

    /// No answer, or one that tells of the provider's own failure.
    pub fn failed(&self) {
        let mut state = self.state();
        let State::Closed { failures } = &mut *state else { return };
        *failures += 1;
        if self.limit > 0 && *failures >= self.limit {
            *state = State::Open { probe_at: Instant::now() + self.pause };
            self.open.set(1.0);
            warn!(
                provider = self.provider,
                failures = self.limit,
                "the payment provider is away: orders wait, one at a time is tried"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_an_answer_closes_it() {
        let circuit = Circuit::new("p", 3, PAUSE);
        circuit.failed();
        circuit.failed();
        circuit.answered();
        circuit.failed();
        circuit.failed();
        assert_eq!(circuit.admit(), Ok(()), "not in a row");
        circuit.failed();
        assert_eq!(circuit.admit(), Err(PAUSE));
        circuit.answered();
        assert_eq!(circuit.admit(), Ok(()));
        circuit.failed();
        assert_eq!(circuit.admit(), Ok(()), "counted from the beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_one_lets_a_probe_through_after_each_pause() {
        let circuit = Circuit::new("p", 1, PAUSE);
        circuit.failed();
        tokio::time::advance(PAUSE / 5).await;
        assert_eq!(circuit.admit(), Err(PAUSE * 4 / 5));
        tokio::time::advance(PAUSE).await;
        assert_eq!(circuit.admit(), Ok(()));
        assert_eq!(circuit.admit(), Err(PAUSE), "one alone");
        circuit.failed();
        tokio::time::advance(PAUSE).await;
        assert_eq!(circuit.admit(), Ok(()), "the next one");
        circuit.answered();
        assert_eq!(circuit.admit(), Ok(()));
        assert_eq!(circuit.admit(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_never_opens() {
        let circuit = Circuit::new("p", 0, PAUSE);
        (0..1_000).for_each(|_| circuit.failed());
        assert_eq!(circuit.admit(), Ok(()));
    }
}
