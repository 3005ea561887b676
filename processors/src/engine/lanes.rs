//! One lane a key: its records run one after another, different lanes at the same time.

use std::collections::{HashMap, VecDeque};

/// Names a lane: the partition and the record's key; a record without a key has a lane of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub partition: i32,
    pub key: LaneKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum LaneKey {
    Key(Box<[u8]>),
    Keyless(i64),
}

/// The lanes in which something runs, each with what waits behind it.
#[derive(Debug)]
pub(super) struct Lanes<J> {
    busy: HashMap<Lane, VecDeque<J>>,
}

impl<J> Lanes<J> {
    pub fn new() -> Self {
        Self { busy: HashMap::new() }
    }

    /// The job back, to be run now, when its lane is free; else it waits its turn.
    pub fn enter(&mut self, lane: &Lane, job: J) -> Option<J> {
        if let Some(waiting) = self.busy.get_mut(lane) {
            waiting.push_back(job);
            return None;
        }
        self.busy.insert(lane.clone(), VecDeque::new());
        Some(job)
    }

    /// The job that ran in `lane` is over; the next one to run there.
    pub fn leave(&mut self, lane: &Lane) -> Option<J> {
        let next = self.busy.get_mut(lane)?.pop_front();
        if next.is_none() {
            self.busy.remove(lane);
        }
        next
    }

    /// Drops what waits in the lanes of `partition`; what runs there goes on. The dropped jobs.
    pub fn clear(&mut self, partition: i32) -> Vec<J> {
        let lanes = self.busy.iter_mut().filter(|(lane, _)| lane.partition == partition);
        lanes.flat_map(|(_, waiting)| waiting.drain(..)).collect()
    }

    /// Drops the lanes of `partition` whole; a new assignment of it starts with free lanes.
    pub fn forget(&mut self, partition: i32) {
        self.busy.retain(|lane, _| lane.partition != partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(partition: i32, key: &str) -> Lane {
        Lane { partition, key: LaneKey::Key(key.as_bytes().into()) }
    }

    #[test]
    fn one_key_runs_in_order_and_others_go_on() {
        let mut lanes = Lanes::new();
        assert_eq!(lanes.enter(&lane(0, "a"), 1), Some(1));
        assert_eq!(lanes.enter(&lane(0, "a"), 2), None);
        assert_eq!(lanes.enter(&lane(0, "a"), 3), None);
        assert_eq!(lanes.enter(&lane(0, "b"), 4), Some(4));
        assert_eq!(lanes.leave(&lane(0, "a")), Some(2));
        assert_eq!(lanes.leave(&lane(0, "a")), Some(3));
        assert_eq!(lanes.leave(&lane(0, "a")), None);
        assert_eq!(lanes.enter(&lane(0, "a"), 5), Some(5));
    }

    #[test]
    fn a_partition_that_goes_takes_its_waiting_jobs_along() {
        let mut lanes = Lanes::new();
        lanes.enter(&lane(0, "a"), 1);
        lanes.enter(&lane(0, "a"), 2);
        lanes.enter(&lane(1, "a"), 3);
        lanes.enter(&lane(1, "a"), 4);
        assert_eq!(lanes.clear(0), [2]);
        assert_eq!(lanes.leave(&lane(0, "a")), None);
        assert_eq!(lanes.leave(&lane(1, "a")), Some(4));
        lanes.forget(1);
        assert_eq!(lanes.leave(&lane(1, "a")), None);
        assert_eq!(lanes.enter(&lane(1, "a"), 5), Some(5));
    }
}
