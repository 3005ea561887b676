//! One lane a key: its records run one after another, different lanes at the same time.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

/// Names a lane: the partition, and a hash of the record's key. Two keys with the same hash share
/// a lane, which costs them time and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub partition: i32,
    key: u64,
}

/// The lanes in which something runs, each with what waits behind it.
#[derive(Debug)]
pub(crate) struct Lanes<J> {
    busy: HashMap<Lane, VecDeque<J>>,
    waiting: usize,
    hasher: RandomState,
}

impl<J> Lanes<J> {
    pub fn new() -> Self {
        Self { busy: HashMap::new(), waiting: 0, hasher: RandomState::new() }
    }

    /// The lane of a record; one without a key has a lane of its own.
    pub fn of(&self, partition: i32, key: Option<&[u8]>, offset: i64) -> Lane {
        let key = match key {
            Some(key) => self.hasher.hash_one(key),
            None => self.hasher.hash_one(offset),
        };
        Lane { partition, key }
    }

    /// The job back, to be run now, when its lane is free; else it waits its turn.
    pub fn enter(&mut self, lane: Lane, job: J) -> Option<J> {
        match self.busy.entry(lane) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(job);
                self.waiting += 1;
                None
            }
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                Some(job)
            }
        }
    }

    /// The job that ran in `lane` is over; the next one to run there.
    pub fn leave(&mut self, lane: Lane) -> Option<J> {
        let Entry::Occupied(mut waiting) = self.busy.entry(lane) else { return None };
        let next = waiting.get_mut().pop_front();
        match next {
            Some(_) => self.waiting -= 1,
            None => drop(waiting.remove()),
        }
        next
    }

    /// Drops what waits in the lanes of `partition`; what runs there goes on. The dropped jobs.
    pub fn clear(&mut self, partition: i32) -> Vec<J> {
        let lanes = self.busy.iter_mut().filter(|(lane, _)| lane.partition == partition);
        let dropped: Vec<J> = lanes.flat_map(|(_, waiting)| waiting.drain(..)).collect();
        self.waiting -= dropped.len();
        dropped
    }

    /// How many jobs wait behind another one.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Drops the lanes of `partition` whole; a new assignment of it starts with free lanes.
    pub fn forget(&mut self, partition: i32) {
        self.clear(partition);
        self.busy.retain(|lane, _| lane.partition != partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_runs_in_order_and_others_go_on() {
        let mut lanes = Lanes::new();
        let [a, b] = [b"a", b"b"].map(|key| lanes.of(0, Some(key), 7));
        assert_eq!(lanes.enter(a, 1), Some(1));
        assert_eq!(lanes.enter(a, 2), None);
        assert_eq!(lanes.enter(a, 3), None);
        assert_eq!(lanes.enter(b, 4), Some(4));
        assert_eq!(lanes.leave(a), Some(2));
        assert_eq!(lanes.leave(a), Some(3));
        assert_eq!(lanes.leave(a), None);
        assert_eq!(lanes.enter(a, 5), Some(5));
    }

    #[test]
    fn a_lane_is_that_of_a_key_or_of_one_record_without() {
        let lanes = Lanes::<i32>::new();
        assert_eq!(lanes.of(0, Some(b"a"), 1), lanes.of(0, Some(b"a"), 2));
        assert_ne!(lanes.of(0, Some(b"a"), 1), lanes.of(1, Some(b"a"), 1));
        assert_ne!(lanes.of(0, None, 1), lanes.of(0, None, 2));
    }

    #[test]
    fn a_partition_that_goes_takes_its_waiting_jobs_along() {
        let mut lanes = Lanes::new();
        let [zero, one] = [0, 1].map(|partition| lanes.of(partition, Some(b"a"), 7));
        lanes.enter(zero, 1);
        lanes.enter(zero, 2);
        lanes.enter(one, 3);
        lanes.enter(one, 4);
        assert_eq!(lanes.waiting(), 2);
        assert_eq!(lanes.clear(0), [2]);
        assert_eq!(lanes.waiting(), 1);
        assert_eq!(lanes.leave(zero), None);
        assert_eq!(lanes.leave(one), Some(4));
        lanes.forget(1);
        assert_eq!(lanes.leave(one), None);
        assert_eq!(lanes.enter(one, 5), Some(5));
    }
}
