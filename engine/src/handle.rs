//! A view of a running engine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// What others may know of a running engine.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub joined: AtomicBool,
    pub commits: AtomicBool,
    pub paused: AtomicBool,
    /// Grows with each record that ends and each batch that is committed.
    pub progress: AtomicU64,
    /// Records begun and not committed.
    pub in_hand: AtomicUsize,
    /// Calls under way, but for those that wait for a known reason.
    pub calls: AtomicUsize,
    /// Results that wait for a transaction.
    pub finished: AtomicUsize,
    /// Partitions that came to this process and wait to be started, and since when.
    pub waiting: Mutex<BTreeMap<i32, SystemTime>>,
    /// What stands still.
    standstill: Mutex<Option<Standstill>>,
}

/// That an engine stands still, though it has work to do.
#[derive(Debug, Clone)]
pub struct Standstill {
    /// What is wrong.
    pub reason: String,
    /// When it was found.
    pub since: SystemTime,
}

impl State {
    pub fn waiting(&self) -> MutexGuard<'_, BTreeMap<i32, SystemTime>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn standstill(&self) -> MutexGuard<'_, Option<Standstill>> {
        self.standstill.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A view of a running engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) state: Arc<State>,
}

impl Handle {
    /// Whether it has joined its group and can commit, and does not stand still.
    pub fn is_ready(&self) -> bool {
        self.state.joined.load(Ordering::Acquire)
            && self.state.commits.load(Ordering::Acquire)
            && self.state.standstill().is_none()
    }

    /// Why it stands still, where the watchdog found that it does; until work goes on.
    pub fn standstill(&self) -> Option<Standstill> {
        self.state.standstill().clone()
    }

    /// Partitions that came to this process and can't be read yet, because their leader or the
    /// group's coordinator does not answer; and since when.
    pub fn waiting_partitions(&self) -> BTreeMap<i32, SystemTime> {
        self.state.waiting().clone()
    }

    /// Records begun and not committed, as of the last quarter of a second.
    pub fn in_hand(&self) -> usize {
        self.state.in_hand.load(Ordering::Acquire)
    }

    /// Whether it has stopped fetching, because its window stays full.
    pub fn is_paused(&self) -> bool {
        self.state.paused.load(Ordering::Acquire)
    }
}
