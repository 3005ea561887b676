//! Tells that a thread is stuck in a call.
//!
//! No call into librdkafka is trusted to return: some ignore their time-out while a broker is away.
//! A thread that makes such calls keeps a [`Pulse`], and another thread looks at it with a [`Watch`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The most that one look adds. While the machine is suspended, or this process stopped, no time
/// counts against a call that could not go on either.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// The sign of life of a thread: an odd number while it is in a call, another one for each call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// A call begins; it ends when the result is dropped.
    pub fn enter(&self) -> Call<'_> {
        self.0.fetch_add(1, Ordering::AcqRel);
        Call(self)
    }

    /// One call of a chain is over, the next one begins.
    pub fn beat(&self) {
        self.0.fetch_add(2, Ordering::AcqRel);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A call under way.
pub(crate) struct Call<'p>(&'p Pulse);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// A view of a [`Pulse`] from another thread, to be looked at often.
#[derive(Debug)]
pub(crate) struct Watch {
    pulse: Pulse,
    seen: u64,
    stuck: Duration,
    looked: Instant,
}

impl Watch {
    pub fn new(pulse: Pulse) -> Self {
        Self { seen: pulse.count(), pulse, stuck: Duration::ZERO, looked: Instant::now() }
    }

    /// How long the call has lasted in which the thread is now; zero when it is in none.
    pub fn stuck_for(&mut self) -> Duration {
        let (now, count) = (Instant::now(), self.pulse.count());
        let since = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        let is_same = count == std::mem::replace(&mut self.seen, count) && count % 2 == 1;
        self.stuck = if is_same { self.stuck + since.min(LOOK_MAX) } else { Duration::ZERO };
        self.stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_goes_on_counts() {
        let pulse = Pulse::default();
        let mut watch = Watch::new(pulse.clone());
        let grows = |watch: &mut Watch| {
            let until = Instant::now() + Duration::from_secs(10);
            while watch.stuck_for().is_zero() && Instant::now() < until {}
            !watch.stuck_for().is_zero()
        };
        assert_eq!(watch.stuck_for(), Duration::ZERO, "no call yet");
        let call = pulse.enter();
        assert!(grows(&mut watch));
        pulse.beat();
        assert_eq!(watch.stuck_for(), Duration::ZERO, "another call");
        assert!(grows(&mut watch));
        drop(call);
        assert_eq!(watch.stuck_for(), Duration::ZERO, "the call is over");
    }
}
