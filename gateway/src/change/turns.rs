//! One change of an order after another.
//!
//! A gateway that has just written a change lets the next one wait until the store has it, so that
//! its own clients never race each other. Between gateways, and for orders that find no room here,
//! the log decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use comanda_schemas::OrderId;
use comanda_store::Recorded;
use tokio::sync::Mutex as Lock;

/// The orders that are being changed, bounded by number and age.
pub(super) struct Turns {
    max: usize,
    max_age: Duration,
    table: Mutex<HashMap<OrderId, Arc<Lock<Turn>>>>,
}

/// What is known of the last change of an order.
#[derive(Default)]
pub(super) struct Turn(Option<(Arc<Recorded>, Instant)>);

impl Turn {
    pub fn last(&self) -> Option<&Arc<Recorded>> {
        self.0.as_ref().map(|(at, _)| at)
    }

    pub fn remember(&mut self, at: Arc<Recorded>) {
        self.0 = Some((at, Instant::now()));
    }
}

impl Turns {
    pub fn new(max: usize, max_age: Duration) -> Self {
        Self { max, max_age, table: Mutex::default() }
    }

    /// The turn of an order, to be locked; one that nobody shares where there is no room.
    pub fn of(&self, id: OrderId) -> Arc<Lock<Turn>> {
        let mut table = self.table();
        if table.len() >= self.max && !table.contains_key(&id) {
            return Arc::default();
        }
        table.entry(id).or_default().clone()
    }

    /// Whether there is a turn of the order.
    #[cfg(test)]
    pub fn has(&self, id: OrderId) -> bool {
        self.table().contains_key(&id)
    }

    pub fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    /// Forgets those that nobody waits for, once they are too old or the store `has_passed` them.
    pub fn sweep(&self, has_passed: impl Fn(&Recorded) -> bool) {
        let matters = |(at, since): &(Arc<Recorded>, Instant)| {
            since.elapsed() <= self.max_age && !has_passed(at)
        };
        self.table().retain(|_, turn| {
            // Others only get at it through the table, which is ours.
            let is_shared = Arc::strong_count(turn) > 1;
            is_shared || turn.try_lock().map_or(true, |turn| turn.0.as_ref().is_some_and(matters))
        });
    }

    fn table(&self) -> MutexGuard<'_, HashMap<OrderId, Arc<Lock<Turn>>>> {
        self.table.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use comanda_schemas::Timestamp;

    use super::*;

    fn id(n: usize) -> OrderId {
        OrderId::derive("c", &n.to_string())
    }

    fn at(offset: i64) -> Arc<Recorded> {
        let timestamp = Timestamp::from_millis(0);
        Arc::new(Recorded { topic: "orders".into(), partition: 0, offset, timestamp })
    }

    fn turns(max: usize, max_age: Duration) -> Turns {
        Turns::new(max, max_age)
    }

    #[tokio::test]
    async fn the_next_one_has_to_wait_and_learns_of_the_last() {
        let turns = turns(10, Duration::from_secs(3600));
        let first = turns.of(id(1));
        let mut held = first.lock().await;
        assert!(turns.of(id(1)).try_lock().is_err());
        assert!(turns.of(id(2)).try_lock().is_ok());
        held.remember(at(7));
        drop(held);
        assert_eq!(turns.of(id(1)).lock().await.last().unwrap().offset, 7);
    }

    #[tokio::test]
    async fn only_what_nobody_needs_is_forgotten() {
        let turns = turns(10, Duration::from_secs(3600));
        turns.of(id(1)).lock().await.remember(at(1));
        turns.of(id(2)).lock().await.remember(at(2));
        drop(turns.of(id(3)));
        let waiting = turns.of(id(4));
        turns.sweep(|at| at.offset <= 1);
        assert_eq!(turns.table().len(), 2, "the second and the one that is waited for");
        assert!(turns.of(id(2)).lock().await.last().is_some());
        drop(waiting);
        turns.sweep(|_| true);
        assert!(turns.is_empty());
    }

    #[tokio::test]
    async fn age_ends_what_the_store_never_passes() {
        let turns = turns(10, Duration::ZERO);
        turns.of(id(1)).lock().await.remember(at(1));
        turns.sweep(|_| false);
        assert!(turns.is_empty());
    }

    #[tokio::test]
    async fn without_room_nobody_waits() {
        let turns = turns(1, Duration::from_secs(3600));
        let held = turns.of(id(1));
        let _held = held.lock().await;
        let other = turns.of(id(2));
        let _other = other.lock().await;
        assert!(turns.of(id(2)).try_lock().is_ok());
        assert!(turns.of(id(1)).try_lock().is_err());
    }
}
