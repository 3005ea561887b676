//! Watches an engine from outside of its loop: a loop that does not return from librdkafka, and
//! records that stay where they are for no known reason.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::handle::State;
use super::watch::{Pulse, Watch};

/// How long one turn of the loop may last. Each of its calls is bounded by seconds, or should be.
const TURN_MAX: Duration = Duration::from_secs(60);
/// The most that one look adds, for the sake of suspended machines.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The loop has been in one turn for too long.
    Stuck,
    /// Records are in hand, and nothing ends and nothing is committed.
    Stalled { calls: usize, finished: usize },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck => f.write_str("a call into librdkafka does not return"),
            Self::Stalled { calls, finished } => write!(
                f,
                "no record ends and none is committed: {calls} calls under way, {finished} results \
                 wait for a transaction"
            ),
        }
    }
}

/// Looks at one run of a loop.
pub(crate) struct Watchdog {
    state: Arc<State>,
    turn: Watch,
    /// How long records may stay where they are; zero for ever.
    limit: Duration,
    progress: u64,
    still: Duration,
    looked: Instant,
}

impl Watchdog {
    /// On the loop that has `pulse` and tells `state`.
    pub fn new(state: Arc<State>, pulse: Pulse, limit: Duration) -> Self {
        let (progress, looked) = (state.progress.load(Ordering::Acquire), Instant::now());
        Self { state, turn: Watch::new(pulse), limit, progress, still: Duration::ZERO, looked }
    }

    /// To be called often; what is wrong, if anything is.
    pub fn look(&mut self) -> Option<Trouble> {
        if self.turn.stuck_for() > TURN_MAX {
            return Some(Trouble::Stuck);
        }
        let now = Instant::now();
        let since = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        let progress = self.state.progress.load(Ordering::Acquire);
        let moved = progress != std::mem::replace(&mut self.progress, progress);
        let calls = self.state.calls.load(Ordering::Acquire);
        let finished = self.state.finished.load(Ordering::Acquire);
        // Without a producer results wait for the broker, and the log says so.
        let waits = finished > 0 && self.state.commits.load(Ordering::Acquire);
        if moved || (calls == 0 && !waits) {
            self.still = Duration::ZERO;
            return None;
        }
        self.still += since.min(LOOK_MAX);
        let is_over = !self.limit.is_zero() && self.still > self.limit;
        is_over.then_some(Trouble::Stalled { calls, finished })
    }

    /// How long turns may last at the end, when the group is left.
    pub fn turn_lasts_beyond(&mut self, limit: Duration) -> bool {
        self.turn.stuck_for() > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(dog: &mut Watchdog) -> Option<Trouble> {
        let until = Instant::now() + Duration::from_millis(50);
        let mut seen = None;
        while seen.is_none() && Instant::now() < until {
            seen = dog.look();
        }
        seen
    }

    #[test]
    fn records_that_stay_are_trouble_unless_they_move_or_wait_for_a_reason() {
        let state = Arc::new(State::default());
        let limit = Duration::from_millis(5);
        let mut dog = Watchdog::new(state.clone(), Pulse::default(), limit);
        assert_eq!(looks(&mut dog), None, "nothing in hand");
        state.calls.store(2, Ordering::Release);
        assert_eq!(looks(&mut dog), Some(Trouble::Stalled { calls: 2, finished: 0 }));
        state.progress.fetch_add(1, Ordering::AcqRel);
        assert_eq!(dog.look(), None, "it moved");
        state.calls.store(0, Ordering::Release);
        state.finished.store(3, Ordering::Release);
        assert_eq!(looks(&mut dog), None, "results wait for a producer");
        state.commits.store(true, Ordering::Release);
        assert_eq!(looks(&mut dog), Some(Trouble::Stalled { calls: 0, finished: 3 }));
        let mut off = Watchdog::new(state, Pulse::default(), Duration::ZERO);
        assert_eq!(looks(&mut off), None, "switched off");
    }
}
