//! Where the states of many keys are kept, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// Parts that are locked one by one: a sweep holds up few.
const SHARDS: usize = 16;

/// A store of governor's with a limited number of keys. Those that come when it is full share one
/// state: whoever has many addresses gains nothing by filling it.
#[derive(Debug)]
pub(super) struct Bounded<K> {
    shards: [Mutex<HashMap<K, Nanos>>; SHARDS],
    hasher: RandomState,
    /// Keys of one shard.
    room: usize,
    rest: Mutex<Option<Nanos>>,
}

impl<K: Eq + Hash> Bounded<K> {
    /// Has room for `max` keys, or up to 15 more.
    pub fn new(max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            room: max.div_ceil(SHARDS),
            rest: Mutex::default(),
        }
    }

    fn shard(&self, key: &K) -> &Mutex<HashMap<K, Nanos>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl<K: Eq + Hash + Clone> StateStore for Bounded<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = lock(self.shard(key));
        if let Some(state) = shard.get_mut(key) {
            let (outcome, next) = measure(Some(*state))?;
            *state = next;
            return Ok(outcome);
        }
        if shard.len() < self.room {
            let (outcome, next) = measure(None)?;
            shard.insert(key.clone(), next);
            return Ok(outcome);
        }
        drop(shard);
        let mut rest = lock(&self.rest);
        let (outcome, next) = measure(*rest)?;
        *rest = Some(next);
        Ok(outcome)
    }
}

impl<K: Eq + Hash + Clone> ShrinkableKeyedStateStore<K> for Bounded<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.shards {
            lock(shard).retain(|_, state| *state >= drop_below);
        }
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
