//! One lane a key: its records run one after another, different lanes at the same time.
//!
//! What waits behind a record does not take the window from other keys. A few records a lane wait in
//! memory, within a bound for all lanes; of those beyond it only the offsets wait, and the records
//! are read again when it is their turn.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

/// Records of one lane that wait in memory at the most, and are read again at one time.
pub(crate) const PARKED_PER_LANE: usize = 16;

/// Names a lane: the partition, and a hash of the record's key. Two keys with the same hash share
/// a lane, which costs them time and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub partition: i32,
    key: u64,
}

/// A record that waits as its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parked {
    pub offset: i64,
    pub epoch: u64,
    pub is_suspect: bool,
}

/// What waits in a lane, in order: records, then records that are being read, then offsets.
#[derive(Debug)]
struct Behind<J> {
    /// Each with its bytes.
    records: VecDeque<(J, usize)>,
    /// Offsets whose records are being read, and the number of that reading.
    reading: Option<(u64, Vec<Parked>)>,
    offsets: VecDeque<Parked>,
}

impl<J> Default for Behind<J> {
    fn default() -> Self {
        Self { records: VecDeque::new(), reading: None, offsets: VecDeque::new() }
    }
}

/// What becomes of a record that enters a lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entered<J> {
    /// It runs now.
    Run(J),
    /// It waits its turn in memory.
    Waits,
    /// Its offset waits its turn.
    Parked,
}

/// What comes next in a lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<J> {
    /// This job runs.
    Run(J),
    /// Nothing runs until these are read; the reading has this number.
    Read(u64, Vec<Parked>),
    /// Nothing waits.
    Free,
}

/// The lanes in which something runs, each with what waits behind it.
#[derive(Debug)]
pub(crate) struct Lanes<J> {
    busy: HashMap<Lane, Behind<J>>,
    /// Of each partition, how many wait.
    waiting: HashMap<i32, usize>,
    /// Records that wait in memory, and their bytes.
    records: usize,
    bytes: usize,
    /// Bounds of both.
    max_records: usize,
    max_bytes: usize,
    readings: u64,
    hasher: RandomState,
}

impl<J> Lanes<J> {
    /// Lanes in which so many records, and bytes, wait in memory at the most.
    pub fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            busy: HashMap::new(),
            waiting: HashMap::new(),
            records: 0,
            bytes: 0,
            max_records,
            max_bytes,
            readings: 0,
            hasher: RandomState::new(),
        }
    }

    /// The lane of a record; one without a key has a lane of its own.
    pub fn of(&self, partition: i32, key: Option<&[u8]>, offset: i64) -> Lane {
        let key = match key {
            Some(key) => self.hasher.hash_one(key),
            None => self.hasher.hash_one(offset),
        };
        Lane { partition, key }
    }

    /// The job back, to be run now, when its lane is free; else it waits its turn, as `parked` where
    /// the lane or all lanes have enough in memory.
    pub fn enter(&mut self, lane: Lane, job: J, bytes: usize, parked: Parked) -> Entered<J> {
        match self.busy.entry(lane) {
            Entry::Vacant(free) => {
                free.insert(Behind::default());
                Entered::Run(job)
            }
            Entry::Occupied(mut behind) => {
                let behind = behind.get_mut();
                *self.waiting.entry(lane.partition).or_default() += 1;
                // Offsets come after records in a lane.
                let is_enough = behind.records.len() >= PARKED_PER_LANE
                    || behind.reading.is_some()
                    || !behind.offsets.is_empty()
                    || self.records >= self.max_records
                    || self.bytes + bytes > self.max_bytes;
                if is_enough {
                    behind.offsets.push_back(parked);
                    return Entered::Parked;
                }
                behind.records.push_back((job, bytes));
                self.records += 1;
                self.bytes += bytes;
                Entered::Waits
            }
        }
    }

    /// The job that ran in `lane` is over; what comes next there.
    pub fn leave(&mut self, lane: Lane) -> Next<J> {
        let Entry::Occupied(mut entry) = self.busy.entry(lane) else { return Next::Free };
        let behind = entry.get_mut();
        if let Some((job, bytes)) = behind.records.pop_front() {
            self.records -= 1;
            self.bytes -= bytes;
            fewer(&mut self.waiting, lane.partition, 1);
            return Next::Run(job);
        }
        if behind.offsets.is_empty() {
            entry.remove();
            return Next::Free;
        }
        self.readings += 1;
        let count = behind.offsets.len().min(PARKED_PER_LANE);
        let parked: Vec<Parked> = behind.offsets.drain(..count).collect();
        behind.reading = Some((self.readings, parked.clone()));
        Next::Read(self.readings, parked)
    }

    /// Whether the lane still waits for this reading.
    pub fn awaits(&self, lane: Lane, reading: u64) -> bool {
        let behind = self.busy.get(&lane);
        behind.is_some_and(|b| b.reading.as_ref().is_some_and(|(number, _)| *number == reading))
    }

    /// The records of a reading that the lane waits for, those that are still there; what comes next.
    pub fn refill(&mut self, lane: Lane, jobs: Vec<(J, usize)>) -> Next<J> {
        let Some(behind) = self.busy.get_mut(&lane) else { return Next::Free };
        let read = behind.reading.take().map_or(0, |(_, parked)| parked.len());
        fewer(&mut self.waiting, lane.partition, read.saturating_sub(jobs.len()));
        for (job, bytes) in jobs {
            self.records += 1;
            self.bytes += bytes;
            behind.records.push_back((job, bytes));
        }
        self.leave(lane)
    }

    /// Drops what waits in the lanes of `partition`; what runs there goes on. Offset and epoch of
    /// what was dropped; `of` tells them of a job.
    pub fn clear(&mut self, partition: i32, of: impl Fn(&J) -> (i64, u64)) -> Vec<(i64, u64)> {
        let mut dropped = Vec::new();
        for (_, behind) in self.busy.iter_mut().filter(|(lane, _)| lane.partition == partition) {
            for (job, bytes) in behind.records.drain(..) {
                self.records -= 1;
                self.bytes -= bytes;
                dropped.push(of(&job));
            }
            let reading = behind.reading.take().map(|(_, parked)| parked).unwrap_or_default();
            let parked = reading.into_iter().chain(behind.offsets.drain(..));
            dropped.extend(parked.map(|parked| (parked.offset, parked.epoch)));
        }
        self.waiting.remove(&partition);
        dropped
    }

    /// How many records wait behind another one, in memory or as offsets.
    pub fn waiting(&self) -> usize {
        self.waiting.values().sum()
    }

    /// How many of them are of `partition`.
    pub fn waiting_in(&self, partition: i32) -> usize {
        self.waiting.get(&partition).copied().unwrap_or_default()
    }

    /// The bytes of those that wait in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the lanes of `partition` whole; a new assignment of it starts with free lanes.
    pub fn forget(&mut self, partition: i32) {
        self.clear(partition, |_| (0, 0));
        self.busy.retain(|lane, _| lane.partition != partition);
    }
}

fn fewer(waiting: &mut HashMap<i32, usize>, partition: i32, by: usize) {
    if let Some(count) = waiting.get_mut(&partition) {
        *count = count.saturating_sub(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(offset: i64) -> Parked {
        Parked { offset, epoch: 1, is_suspect: false }
    }

    fn lanes() -> Lanes<i64> {
        Lanes::new(100, 1_000)
    }

    fn enter(lanes: &mut Lanes<i64>, lane: Lane, job: i64) -> Entered<i64> {
        lanes.enter(lane, job, 10, parked(job))
    }

    #[test]
    fn one_key_runs_in_order_and_others_go_on() {
        let mut lanes = lanes();
        let [a, b] = [b"a", b"b"].map(|key| lanes.of(0, Some(key), 7));
        assert_eq!(enter(&mut lanes, a, 1), Entered::Run(1));
        assert_eq!(enter(&mut lanes, a, 2), Entered::Waits);
        assert_eq!(enter(&mut lanes, a, 3), Entered::Waits);
        assert_eq!(enter(&mut lanes, b, 4), Entered::Run(4));
        assert_eq!(lanes.leave(a), Next::Run(2));
        assert_eq!(lanes.leave(a), Next::Run(3));
        assert_eq!(lanes.leave(a), Next::Free);
        assert_eq!(enter(&mut lanes, a, 5), Entered::Run(5));
    }

    #[test]
    fn beyond_its_bound_a_lane_keeps_offsets_and_their_order() {
        let mut lanes = lanes();
        let a = lanes.of(0, Some(b"a"), 7);
        let count = 2 * PARKED_PER_LANE as i64 + 5;
        for job in 0..count {
            let entered = enter(&mut lanes, a, job);
            assert_eq!(entered == Entered::Parked, job > PARKED_PER_LANE as i64, "{job}");
        }
        assert_eq!(lanes.waiting_in(0), count as usize - 1);
        assert_eq!(lanes.bytes(), 10 * PARKED_PER_LANE);
        let mut ran = vec![0];
        loop {
            match lanes.leave(a) {
                Next::Run(job) => ran.push(job),
                Next::Free => break,
                Next::Read(reading, offsets) => {
                    assert!(lanes.awaits(a, reading));
                    // What comes meanwhile stays behind.
                    if ran.len() < 20 {
                        assert_eq!(enter(&mut lanes, a, count), Entered::Parked);
                    }
                    let jobs = offsets.iter().map(|p| (p.offset, 10)).collect();
                    match lanes.refill(a, jobs) {
                        Next::Run(job) => ran.push(job),
                        other => panic!("{other:?}"),
                    }
                    assert!(!lanes.awaits(a, reading));
                }
            }
        }
        assert_eq!(ran, (0..=count).collect::<Vec<_>>());
        assert_eq!((lanes.waiting(), lanes.bytes()), (0, 0));
    }

    #[test]
    fn what_cannot_be_read_again_leaves_its_lane_free() {
        let mut lanes = Lanes::new(0, 0);
        let a = lanes.of(0, Some(b"a"), 7);
        enter(&mut lanes, a, 1);
        assert_eq!(enter(&mut lanes, a, 2), Entered::Parked, "no room in memory at all");
        assert_eq!(lanes.leave(a), Next::Read(1, vec![parked(2)]));
        assert_eq!(lanes.refill(a, Vec::new()), Next::Free);
        assert_eq!(lanes.waiting(), 0);
    }

    #[test]
    fn a_lane_is_that_of_a_key_or_of_one_record_without() {
        let lanes = lanes();
        assert_eq!(lanes.of(0, Some(b"a"), 1), lanes.of(0, Some(b"a"), 2));
        assert_ne!(lanes.of(0, Some(b"a"), 1), lanes.of(1, Some(b"a"), 1));
        assert_ne!(lanes.of(0, None, 1), lanes.of(0, None, 2));
    }

    #[test]
    fn a_partition_that_goes_takes_its_waiting_jobs_along() {
        let mut lanes = lanes();
        let [zero, one] = [0, 1].map(|partition| lanes.of(partition, Some(b"a"), 7));
        enter(&mut lanes, zero, 1);
        enter(&mut lanes, zero, 2);
        enter(&mut lanes, one, 3);
        enter(&mut lanes, one, 4);
        assert_eq!(lanes.waiting(), 2);
        assert_eq!(lanes.clear(0, |job| (*job, 1)), [(2, 1)]);
        assert_eq!(lanes.waiting(), 1);
        assert_eq!(lanes.leave(zero), Next::Free);
        assert_eq!(lanes.leave(one), Next::Run(4));
        lanes.forget(1);
        assert_eq!(lanes.leave(one), Next::Free);
        assert_eq!(enter(&mut lanes, one, 5), Entered::Run(5));
        for job in 6..30 {
            enter(&mut lanes, one, job);
        }
        let dropped = lanes.clear(1, |job| (*job, 1));
        assert_eq!(dropped, (6..30).map(|offset| (offset, 1)).collect::<Vec<_>>());
        assert_eq!((lanes.waiting(), lanes.bytes()), (0, 0));
    }
}
