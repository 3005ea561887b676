//! How far the order store has come, and waiting for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use comanda_schemas::headers::error_chain;
use comanda_store::{Position, Store};
use metrics::histogram;
use tokio::sync::watch;
use tokio::time::timeout_at;
use tracing::warn;

use crate::metrics::STORE_WAIT_SECONDS;

/// First pause between two looks at the store while somebody waits; it doubles while nothing
/// moves.
const LOOK_AGAIN: Duration = Duration::from_millis(4);
/// Longest such pause.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(64);

/// What the store was seen to have applied: next offsets by topic and partition.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen(HashMap<String, HashMap<i32, i64>>);

impl Seen {
    fn has_passed(&self, wanted: &[Position]) -> bool {
        wanted.iter().all(|w| {
            let next = self.0.get(&w.topic).and_then(|partitions| partitions.get(&w.partition));
            next.copied().unwrap_or(0) >= w.next_offset
        })
    }
}

/// Watches the store while somebody waits for it. Clones share one watch.
#[derive(Clone)]
pub(crate) struct Progress {
    store: Store,
    seen: watch::Sender<Arc<Seen>>,
    is_watching: Arc<Mutex<bool>>,
}

impl Progress {
    pub fn new(store: Store) -> Self {
        Self { store, seen: watch::Sender::default(), is_watching: Arc::default() }
    }

    /// Waits until the store has applied everything below `wanted`, at most `wait`; whether it
    /// came to that.
    pub async fn passed(&self, wanted: &[Position], wait: Duration) -> bool {
        let began = Instant::now();
        let mut seen = self.seen.subscribe();
        self.watch();
        let passing = seen.wait_for(|seen| seen.has_passed(wanted));
        let passed = timeout_at((began + wait).into(), passing).await.is_ok_and(|p| p.is_ok());
        let outcome = if passed { "passed" } else { "timeout" };
        histogram!(STORE_WAIT_SECONDS, "outcome" => outcome).record(began.elapsed());
        passed
    }

    /// Whether the store was seen to have applied the record at `offset`, as far as is known
    /// without asking it.
    pub fn is_known_passed(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let seen = self.seen.borrow();
        let next = seen.0.get(topic).and_then(|partitions| partitions.get(&partition));
        next.is_some_and(|next| *next > offset)
    }

    /// Looks at the store once.
    pub async fn look(&self) {
        match self.store.positions().await {
            Ok(positions) => self.saw(positions),
            Err(error) => warn!(error = error_chain(&error), "the order store did not answer"),
        }
    }

    /// Whether anything moved is told to those who wait.
    fn saw(&self, positions: Vec<Position>) {
        let mut seen = Seen::default();
        for position in positions {
            let partitions = seen.0.entry(position.topic).or_default();
            partitions.insert(position.partition, position.next_offset);
        }
        self.seen.send_if_modified(|current| {
            let moved = **current != seen;
            if moved {
                *current = Arc::new(seen);
            }
            moved
        });
    }

    /// Sees to it that somebody looks as long as somebody waits.
    fn watch(&self) {
        let mut is_watching = self.is_watching.lock().unwrap_or_else(|e| e.into_inner());
        if !*is_watching {
            *is_watching = true;
            tokio::spawn(self.clone().keep_looking());
        }
    }

    async fn keep_looking(self) {
        let mut pause = LOOK_AGAIN;
        loop {
            let before = self.seen.borrow().clone();
            self.look().await;
            let moved = !Arc::ptr_eq(&before, &self.seen.borrow());
            {
                let mut is_watching = self.is_watching.lock().unwrap_or_else(|e| e.into_inner());
                if self.seen.receiver_count() == 0 {
                    *is_watching = false;
                    return;
                }
            }
            pause = if moved { LOOK_AGAIN } else { (pause * 2).min(LOOK_AGAIN_MAX) };
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str, partition: i32, next_offset: i64) -> Position {
        Position { topic: topic.into(), partition, next_offset }
    }

    #[test]
    fn all_that_is_wanted_has_to_be_passed() {
        let mut seen = Seen::default();
        seen.0.entry("orders".into()).or_default().insert(1, 10);
        assert!(seen.has_passed(&[]));
        assert!(seen.has_passed(&[at("orders", 1, 10)]));
        assert!(!seen.has_passed(&[at("orders", 1, 11)]));
        assert!(!seen.has_passed(&[at("orders", 1, 10), at("orders", 2, 1)]));
        assert!(seen.has_passed(&[at("payments", 0, 0)]), "nothing is wanted of it");
    }
}
