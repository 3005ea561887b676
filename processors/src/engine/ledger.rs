//! Which offsets of each partition are begun, finished and committed.
//!
//! Records finish in any order, and each is committed as soon as it is finished: the group's
//! offset moves up to the lowest unfinished record, and what is finished above it goes into the
//! metadata of the commit (see [`super::offsets`]). So after a crash the broker tells exactly which
//! results exist.

use std::collections::BTreeMap;

use super::offsets::{MAX_LEN, Spans};

/// The ledger of all partitions assigned to this process. `T` is what a finished record leaves to
/// be written.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    partitions: BTreeMap<i32, Partition<T>>,
    epochs: u64,
    records: usize,
    finished: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Partition<T> {
    /// Tells this assignment from earlier ones of the same partition.
    epoch: u64,
    /// What is begun and not committed. Every other offset below `next` is committed, or belongs
    /// to no record.
    entries: BTreeMap<i64, Entry<T>>,
    /// The next offset that is new.
    next: i64,
    /// What an earlier owner of the partition finished at or above `next`.
    inherited: Spans,
    running: usize,
    finished: usize,
}

#[derive(Debug)]
struct Entry<T> {
    bytes: usize,
    result: Option<T>,
}

/// What a record is to the ledger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// New; its epoch.
    New(u64),
    /// An earlier owner of the partition finished it.
    Inherited,
    /// Read before, or of a partition that is not ours.
    Known,
}

/// What can be committed now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    pub commits: Vec<Commit>,
    /// Records in all commits.
    pub records: usize,
}

/// What can be committed of one partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Commit {
    pub partition: i32,
    /// The next offset to read after it.
    pub next: i64,
    /// What is finished above `next`.
    pub metadata: String,
    /// The records.
    pub offsets: Vec<i64>,
}

impl<T> Partition<T> {
    /// The commit of the finished records, at most `max`.
    fn commit(&self, partition: i32, max: usize) -> Option<Commit> {
        if self.finished == 0 || max == 0 {
            return None;
        }
        let finished = self.entries.iter().filter(|(_, e)| e.result.is_some());
        let all: Vec<i64> = finished.map(|(offset, _)| *offset).take(max).collect();
        let commit = self.after(partition, all);
        if commit.metadata.len() <= MAX_LEN {
            return Some(commit);
        }
        // What has nothing unfinished below it only takes away from metadata that fitted before.
        let prefix = self.entries.iter().take(max).take_while(|(_, e)| e.result.is_some());
        let prefix: Vec<i64> = prefix.map(|(offset, _)| *offset).collect();
        (!prefix.is_empty()).then(|| self.after(partition, prefix))
    }

    /// How things stand once the records at `offsets`, ascending, are committed.
    fn after(&self, partition: i32, offsets: Vec<i64>) -> Commit {
        let mut gone = offsets.iter().peekable();
        let left = self.entries.keys().filter(|offset| {
            let is_gone = gone.peek() == Some(offset);
            if is_gone {
                gone.next();
            }
            !is_gone
        });
        let mut next = None;
        let mut spans = Spans::default();
        let mut at = 0;
        for offset in left {
            match next {
                None => next = Some(*offset),
                Some(_) => spans.push(at, *offset),
            }
            at = offset + 1;
        }
        if next.is_some() {
            spans.push(at, self.next);
        }
        for (from, to) in self.inherited.from(self.next) {
            spans.push(from, to);
        }
        let next = next.unwrap_or_else(|| spans.end_of(self.next));
        Commit { partition, next, metadata: spans.encode(next), offsets }
    }
}

impl<T> Ledger<T> {
    pub fn new() -> Self {
        Self { partitions: BTreeMap::new(), epochs: 0, records: 0, finished: 0, bytes: 0 }
    }

    /// Starts a partition afresh. `inherited` is what its earlier owner finished above the
    /// committed offset.
    pub fn assign(&mut self, partition: i32, inherited: Spans) -> u64 {
        self.forget(partition);
        self.epochs += 1;
        let epoch = self.epochs;
        let fresh = Partition {
            epoch,
            entries: BTreeMap::new(),
            next: 0,
            inherited,
            running: 0,
            finished: 0,
        };
        self.partitions.insert(partition, fresh);
        epoch
    }

    /// Drops a partition with all that is not committed.
    pub fn forget(&mut self, partition: i32) {
        if let Some(gone) = self.partitions.remove(&partition) {
            self.records -= gone.entries.len();
            self.finished -= gone.finished;
            self.bytes -= gone.entries.values().map(|e| e.bytes).sum::<usize>();
        }
    }

    /// Notes a record read.
    pub fn begin(&mut self, partition: i32, offset: i64, bytes: usize) -> Begun {
        let Some(of) = self.partitions.get_mut(&partition) else { return Begun::Known };
        if offset < of.next {
            return Begun::Known;
        }
        of.next = offset + 1;
        if of.inherited.contains(offset) {
            return Begun::Inherited;
        }
        of.running += 1;
        of.entries.insert(offset, Entry { bytes, result: None });
        self.records += 1;
        self.bytes += bytes;
        Begun::New(of.epoch)
    }

    /// Notes what a record left; `None` when it was dropped undone. `false` when its partition has
    /// gone or come anew since.
    pub fn finish(&mut self, partition: i32, epoch: u64, offset: i64, result: Option<T>) -> bool {
        let Some(of) = self.partitions.get_mut(&partition).filter(|p| p.epoch == epoch) else {
            return false;
        };
        of.running -= 1;
        if let (Some(entry), Some(result)) = (of.entries.get_mut(&offset), result) {
            entry.result = Some(result);
            of.finished += 1;
            self.finished += 1;
        }
        true
    }

    /// What can be committed now, at most `max` records.
    pub fn ready(&self, max: usize) -> Ready {
        let mut ready = Ready::default();
        for (partition, of) in &self.partitions {
            if let Some(commit) = of.commit(*partition, max - ready.records) {
                ready.records += commit.offsets.len();
                ready.commits.push(commit);
            }
        }
        ready
    }

    /// The results of `ready`, in log order per partition.
    pub fn results<'a>(&'a self, ready: &'a Ready) -> impl Iterator<Item = &'a T> {
        ready.commits.iter().flat_map(|commit| {
            let of = self.partitions.get(&commit.partition);
            let entries = of.map(|of| &of.entries);
            commit.offsets.iter().filter_map(move |o| entries?.get(o)?.result.as_ref())
        })
    }

    /// Drops what `commit` committed; its results.
    pub fn committed(&mut self, commit: &Commit) -> Vec<T> {
        self.drop_entries(commit.partition, commit.offsets.iter().copied())
    }

    /// Drops what the broker says is committed: all below `next`, and what is in `above`.
    pub fn reconcile(&mut self, partition: i32, next: i64, above: &Spans) -> Vec<T> {
        let Some(of) = self.partitions.get(&partition) else { return Vec::new() };
        let done = of.entries.keys().copied().filter(|o| *o < next || above.contains(*o));
        let done: Vec<i64> = done.collect();
        self.drop_entries(partition, done.into_iter())
    }

    fn drop_entries(&mut self, partition: i32, offsets: impl Iterator<Item = i64>) -> Vec<T> {
        let Some(of) = self.partitions.get_mut(&partition) else { return Vec::new() };
        let mut results = Vec::new();
        for offset in offsets {
            if let Some(entry) = of.entries.remove(&offset) {
                self.records -= 1;
                self.bytes -= entry.bytes;
                let finished = usize::from(entry.result.is_some());
                of.finished -= finished;
                self.finished -= finished;
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

    /// Those of them that are finished.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// The bytes of all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
