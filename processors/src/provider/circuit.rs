//! A circuit breaker: a provider that is away as a whole is left alone, but for a probe now and
//! then.
//!
//! Records that wait for it hold their places in the engine's window, so that intake stops with the
//! window full, and none of them fails meanwhile.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use comanda_schemas::{Stage, Timestamp};
use metrics::{Gauge, gauge};
use tokio::time::Instant;
use tracing::{info, warn};

use super::metrics::AWAY_SINCE_SECONDS;

/// How long failures in a row, two at the least, may last before they open it, however few they are:
/// where little is to be done, many of them would take hours.
const ROW_MAX: Duration = Duration::from_secs(30);
/// A provider that answered within such a time is there, though it turns requests away for their
/// number.
const QUIET: Duration = Duration::from_secs(30);
/// A provider can ask for a longer pause between probes, up to this one.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The breaker of one provider; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Circuit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stage: Stage,
    provider: String,
    /// Failures in a row that open it; 0 for never.
    limit: u32,
    /// How long it stays open before each probe.
    pause: Duration,
    state: Mutex<State>,
    open: Gauge,
    since: Gauge,
}

#[derive(Debug, Default)]
struct State {
    /// When the provider last answered as it should.
    answered_at: Option<Instant>,
    /// Failures in a row, and when the first of them was.
    row: Option<(u32, Instant)>,
    /// What is known of a provider that is away, and when it is tried next.
    away: Option<(Absence, Instant)>,
}

/// That a provider counts as away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// Since when nothing but failures came.
    pub since: Timestamp,
    /// The last of them, fit for logs.
    pub reason: String,
}

/// Whether a provider counts as away, for those who tell it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Presence(Circuit);

impl Presence {
    /// Since when and why it counts as away; `None` while it answers.
    pub fn absence(&self) -> Option<Absence> {
        self.0.state().away.as_ref().map(|(absence, _)| absence.clone())
    }
}

impl Circuit {
    /// Of the provider that `stage` calls. `open` names the metric of its state.
    pub fn new(
        stage: Stage,
        open: &'static str,
        provider: &str,
        limit: u32,
        pause: Duration,
    ) -> Self {
        let provider = provider.to_owned();
        let open = gauge!(open, "provider" => provider.clone());
        let since =
            gauge!(AWAY_SINCE_SECONDS, "provider" => provider.clone(), "stage" => stage.as_str());
        open.set(0.0);
        since.set(0.0);
        let state = Mutex::default();
        Self(Arc::new(Shared { stage, provider, limit, pause, state, open, since }))
    }

    /// A view for those who tell others.
    pub fn presence(&self) -> Presence {
        Presence(self.clone())
    }

    /// Whether a call may begin, perhaps as a probe; if not, how long to wait.
    pub fn admit(&self) -> Result<(), Duration> {
        let mut state = self.state();
        let Some((_, probe_at)) = &mut state.away else { return Ok(()) };
        let now = Instant::now();
        if now < *probe_at {
            return Err(*probe_at - now);
        }
        // Were the probe's end waited for, one that is cut off would be the last.
        *probe_at = now + self.0.pause;
        Ok(())
    }

    /// The provider answered as it should, if only to refuse this one request for what is in it.
    pub fn answered(&self) {
        let mut state = self.state();
        state.answered_at = Some(Instant::now());
        state.row = None;
        if state.away.take().is_some() {
            self.0.open.set(0.0);
            self.0.since.set(0.0);
            let (stage, provider) = (self.0.stage.as_str(), &self.0.provider);
            info!(stage, provider, "the provider answers again: what waited for it goes on");
        }
    }

    /// No answer, or one that tells nothing of the request: the provider's own failure, a refusal of
    /// our key, or the answer of another server. Says whether the call before it was answered as it
    /// should be.
    pub fn failed(&self, why: &dyn ToString, retry_after: Option<Duration>) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let is_first = state.row.is_none();
        let is_alone = is_first && state.answered_at.is_some();
        let (failures, since) = state.row.get_or_insert((0, now));
        *failures = failures.saturating_add(1);
        let (failures, lasting) = (*failures, now.duration_since(*since));
        let asked = retry_after.unwrap_or_default().min(PAUSE_MAX);
        if let Some((absence, probe_at)) = &mut state.away {
            absence.reason = why.to_string();
            *probe_at = (*probe_at).max(now + asked);
            return false;
        }
        let is_long = failures > 1 && lasting >= ROW_MAX;
        if self.0.limit > 0 && (failures >= self.0.limit || is_long) {
            let began = Timestamp::now().as_micros() - lasting.as_micros() as i64;
            let since = Timestamp::from_micros(began);
            let reason = why.to_string();
            let (stage, provider) = (self.0.stage.as_str(), &self.0.provider);
            warn!(
                stage,
                provider,
                failures,
                reason,
                "the provider is away: what needs it waits, one call at a time is tried"
            );
            state.away = Some((Absence { since, reason }, now + self.0.pause.max(asked)));
            self.0.open.set(1.0);
            self.0.since.set(began as f64 / 1e6);
        }
        is_alone
    }

    /// Turned away for the number of requests. That is a failure where nothing else comes.
    pub fn busy(&self, why: &dyn ToString, retry_after: Option<Duration>) {
        let answered_at = self.state().answered_at;
        if answered_at.is_none_or(|at| at.elapsed() > QUIET) {
            self.failed(why, retry_after);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn circuit(limit: u32) -> Circuit {
        Circuit::new(Stage::Payment, "test_open", "p", limit, PAUSE)
    }

    fn fail(circuit: &Circuit) -> bool {
        circuit.failed(&"no answer", None)
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_an_answer_closes_it() {
        let circuit = circuit(3);
        fail(&circuit);
        fail(&circuit);
        circuit.answered();
        fail(&circuit);
        fail(&circuit);
        assert_eq!(circuit.admit(), Ok(()), "not in a row");
        fail(&circuit);
        assert_eq!(circuit.admit(), Err(PAUSE));
        circuit.answered();
        assert_eq!(circuit.admit(), Ok(()));
        fail(&circuit);
        assert_eq!(circuit.admit(), Ok(()), "counted from the beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_one_lets_a_probe_through_after_each_pause() {
        let circuit = circuit(1);
        fail(&circuit);
        tokio::time::advance(PAUSE / 5).await;
        assert_eq!(circuit.admit(), Err(PAUSE * 4 / 5));
        tokio::time::advance(PAUSE).await;
        assert_eq!(circuit.admit(), Ok(()));
        assert_eq!(circuit.admit(), Err(PAUSE), "one alone");
        fail(&circuit);
        tokio::time::advance(PAUSE).await;
        assert_eq!(circuit.admit(), Ok(()), "the next one");
        circuit.answered();
        assert_eq!(circuit.admit(), Ok(()));
        assert_eq!(circuit.admit(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_never_opens() {
        let circuit = circuit(0);
        for _ in 0..1_000 {
            fail(&circuit);
            tokio::time::advance(PAUSE).await;
        }
        assert_eq!(circuit.admit(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_failures_open_it_where_nothing_else_comes_for_long() {
        let circuit = circuit(50);
        fail(&circuit);
        tokio::time::advance(ROW_MAX / 2).await;
        fail(&circuit);
        assert_eq!(circuit.admit(), Ok(()));
        tokio::time::advance(ROW_MAX / 2).await;
        circuit.failed(&"no connection", None);
        assert_eq!(circuit.admit(), Err(PAUSE));
        let absence = circuit.presence().absence().expect("it is away");
        assert_eq!(absence.reason, "no connection");
        let lasting = Timestamp::now().since(absence.since);
        assert!(lasting >= ROW_MAX && lasting < ROW_MAX + PAUSE, "{lasting:?}");
        circuit.answered();
        assert_eq!(circuit.presence().absence(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_requests_are_an_absence_only_where_none_is_taken() {
        let circuit = circuit(3);
        circuit.answered();
        (0..100).for_each(|_| circuit.busy(&"busy", None));
        assert_eq!(circuit.admit(), Ok(()), "it took one just now");
        tokio::time::advance(QUIET * 2).await;
        (0..3).for_each(|_| circuit.busy(&"quota", Some(Duration::from_secs(4_000))));
        assert_eq!(circuit.admit(), Err(PAUSE_MAX), "the pause that it asks for, within bounds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_between_answers_is_known_as_one() {
        let circuit = circuit(50);
        assert!(!fail(&circuit), "nothing was answered yet");
        circuit.answered();
        assert!(fail(&circuit));
        assert!(!fail(&circuit));
    }
}
