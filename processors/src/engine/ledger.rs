//! Which offsets of each partition are begun, finished and committed.
//!
//! Records finish in any order; results and offsets are committed in log order, as far as
//! everything below is finished. So after a crash the group's offset tells exactly which results
//! exist, and nothing above it was written.

use std::collections::{BTreeMap, VecDeque};

/// The ledger of all partitions assigned to this process. `T` is what a finished record leaves to
/// be written.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    partitions: BTreeMap<i32, Partition<T>>,
    epochs: u64,
    records: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Partition<T> {
    /// Tells this assignment from earlier ones of the same partition.
    epoch: u64,
    entries: VecDeque<Entry<T>>,
    /// The next offset that is new.
    next: i64,
    running: usize,
}

#[derive(Debug)]
struct Entry<T> {
    offset: i64,
    bytes: usize,
    result: Option<T>,
}

/// The finished entries that can be committed now: per partition how many, and the next offset to
/// read after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    pub offsets: Vec<(i32, i64)>,
    pub records: usize,
}

impl<T> Ledger<T> {
    pub fn new() -> Self {
        Self { partitions: BTreeMap::new(), epochs: 0, records: 0, bytes: 0 }
    }

    /// Starts a partition afresh; the epoch that its records carry.
    pub fn assign(&mut self, partition: i32) -> u64 {
        self.forget(partition);
        self.epochs += 1;
        let epoch = self.epochs;
        let fresh = Partition { epoch, entries: VecDeque::new(), next: 0, running: 0 };
        self.partitions.insert(partition, fresh);
        epoch
    }

    /// Drops a partition with all that is not committed.
    pub fn forget(&mut self, partition: i32) {
        if let Some(gone) = self.partitions.remove(&partition) {
            self.records -= gone.entries.len();
            self.bytes -= gone.entries.iter().map(|e| e.bytes).sum::<usize>();
        }
    }

    /// Notes a record read; its epoch, or `None` when it was read before or its partition is not
    /// ours.
    pub fn begin(&mut self, partition: i32, offset: i64, bytes: usize) -> Option<u64> {
        let of = self.partitions.get_mut(&partition)?;
        if offset < of.next {
            return None;
        }
        of.next = offset + 1;
        of.running += 1;
        of.entries.push_back(Entry { offset, bytes, result: None });
        self.records += 1;
        self.bytes += bytes;
        Some(of.epoch)
    }

    /// Notes what a record left; `false` when its partition has gone or come anew since.
    pub fn finish(&mut self, partition: i32, epoch: u64, offset: i64, result: Option<T>) -> bool {
        let Some(of) = self.partitions.get_mut(&partition).filter(|p| p.epoch == epoch) else {
            return false;
        };
        of.running -= 1;
        if let Ok(at) = of.entries.binary_search_by_key(&offset, |e| e.offset) {
            of.entries[at].result = result;
        }
        true
    }

    /// What can be committed now, at most `max` records.
    pub fn ready(&self, max: usize) -> Ready {
        let mut ready = Ready::default();
        for (partition, of) in &self.partitions {
            let room = max - ready.records;
            let finished = of.entries.iter().take(room).take_while(|e| e.result.is_some());
            let (count, last) = finished.fold((0, None), |(n, _), e| (n + 1, Some(e.offset)));
            if let Some(last) = last {
                ready.records += count;
                ready.offsets.push((*partition, last + 1));
            }
        }
        ready
    }

    /// The results below the offsets of `ready`, in log order per partition.
    pub fn results<'a>(&'a self, ready: &'a Ready) -> impl Iterator<Item = &'a T> {
        ready.offsets.iter().flat_map(|(partition, next)| {
            let of = self.partitions.get(partition);
            of.into_iter().flat_map(move |of| {
                of.entries.iter().take_while(|e| e.offset < *next).filter_map(|e| e.result.as_ref())
            })
        })
    }

    /// Drops what is below `next`: it is committed. The results that were dropped.
    pub fn committed(&mut self, partition: i32, next: i64) -> Vec<T> {
        let Some(of) = self.partitions.get_mut(&partition) else { return Vec::new() };
        let mut results = Vec::new();
        while of.entries.front().is_some_and(|e| e.offset < next) {
            if let Some(entry) = of.entries.pop_front() {
                self.records -= 1;
                self.bytes -= entry.bytes;
                results.extend(entry.result);
            }
        }
        results
    }

    /// The partitions assigned.
    pub fn partitions(&self) -> impl Iterator<Item = i32> + '_ {
        self.partitions.keys().copied()
    }

    /// Records of `partition` that are being worked on or wait for their turn.
    pub fn running(&self, partition: i32) -> usize {
        self.partitions.get(&partition).map_or(0, |p| p.running)
    }

    /// Records begun and not committed.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_has_nothing_unfinished_below_it_is_committed() {
        let mut ledger = Ledger::new();
        let epoch = ledger.assign(0);
        for offset in [3, 4, 7] {
            assert_eq!(ledger.begin(0, offset, 10), Some(epoch));
        }
        assert!(ledger.finish(0, epoch, 4, Some("b")));
        assert_eq!(ledger.ready(9), Ready::default());
        assert!(ledger.finish(0, epoch, 3, Some("a")));
        let ready = ledger.ready(9);
        assert_eq!(ready, Ready { offsets: vec![(0, 5)], records: 2 });
        assert_eq!(ledger.results(&ready).collect::<Vec<_>>(), [&"a", &"b"]);
        assert_eq!(ledger.ready(1).offsets, [(0, 4)]);
        assert_eq!(ledger.committed(0, 5), ["a", "b"]);
        assert_eq!((ledger.records(), ledger.bytes(), ledger.running(0)), (1, 10, 1));
    }

    #[test]
    fn a_repeated_offset_and_a_late_completion_are_ignored() {
        let mut ledger = Ledger::new();
        let old = ledger.assign(0);
        assert!(ledger.begin(0, 5, 1).is_some());
        assert_eq!(ledger.begin(0, 5, 1), None);
        assert_eq!(ledger.begin(1, 5, 1), None);
        let new = ledger.assign(0);
        assert!(ledger.begin(0, 5, 1).is_some());
        assert!(!ledger.finish(0, old, 5, Some(())));
        assert_eq!(ledger.ready(9), Ready::default());
        assert!(ledger.finish(0, new, 5, Some(())));
        assert_eq!(ledger.ready(9).records, 1);
        ledger.forget(0);
        assert_eq!((ledger.records(), ledger.bytes()), (0, 0));
    }

    proptest! {
        /// Whatever the order of completion, each result is committed once and in log order.
        #[test]
        fn every_result_is_committed_once_in_log_order(
            order in Just((0..40i64).collect::<Vec<_>>()).prop_shuffle(),
            max in 1usize..50,
        ) {
            let mut ledger = Ledger::new();
            let epoch = ledger.assign(0);
            for offset in 0..40 {
                ledger.begin(0, offset, 1);
            }
            let mut committed = Vec::new();
            for offset in order {
                ledger.finish(0, epoch, offset, Some(offset));
                let ready = ledger.ready(max);
                for (partition, next) in &ready.offsets {
                    committed.extend(ledger.committed(*partition, *next));
                }
            }
            while ledger.ready(max).records > 0 {
                for (partition, next) in ledger.ready(max).offsets {
                    committed.extend(ledger.committed(partition, next));
                }
            }
            prop_assert_eq!(committed, (0..40).collect::<Vec<_>>());
            prop_assert_eq!(ledger.records(), 0);
        }
    }
}
