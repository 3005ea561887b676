//! Which offsets of each partition are begun, finished and committed.
//!
//! Records finish in any order, and each is committed as soon as it is finished: the group's
//! offset moves up to the lowest unfinished record, and what is finished above it goes into the
//! metadata of the commit (see [`crate::offset_metadata`]). So after a crash the broker tells exactly which
//! results exist.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::offset_metadata::{MAX_LEN, Spans};

/// The ledger of all partitions assigned to this process. `T` is what a finished record leaves to
/// be written.
#[derive(Debug)]
pub(crate) struct Ledger<T> {
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
    suspects: Suspects,
    running: usize,
    finished: usize,
    /// In the transaction under way.
    committing: usize,
    /// What is finished and can't be committed, because the metadata would be too large for it.
    is_overfull: bool,
}

#[derive(Debug)]
struct Entry<T> {
    read_at: Instant,
    bytes: usize,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    /// Being worked on, or waiting for its turn, or dropped undone.
    Begun,
    /// What it left waits for a transaction.
    Finished(T),
    /// What it left is in the transaction under way.
    Committing,
}

impl<T> Entry<T> {
    fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished(_))
    }
}

/// Which of a partition's records an earlier owner may have begun and not committed: those that
/// were in the log when the partition was taken over, and of them the first, as many as one may
/// have in hand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Suspects {
    /// The end of the log at that time.
    pub below: i64,
    /// How many may be left.
    pub left: usize,
}

impl Suspects {
    fn take(&mut self, offset: i64) -> bool {
        let is_suspect = offset < self.below && self.left > 0;
        self.left -= usize::from(is_suspect);
        is_suspect
    }
}

/// What a record is to the ledger.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// New here. An earlier owner of the partition may have begun it where it is `suspect`.
    New { epoch: u64, suspect: bool },
    /// An earlier owner of the partition finished it.
    Inherited,
    /// Read before, or of a partition that is not ours.
    Known,
}

/// What goes into one transaction. It comes back to the ledger, as [`Ledger::committed`] or with
/// [`Ledger::put_back`], before the next one is taken.
#[derive(Debug, Default, Clone)]
pub(crate) struct Batch<T> {
    pub commits: Vec<Commit<T>>,
    /// Records in all commits.
    pub records: usize,
}

/// What is committed of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Commit<T> {
    pub partition: i32,
    epoch: u64,
    /// The next offset to read after it.
    pub next: i64,
    /// What is finished above `next`.
    pub metadata: String,
    /// The records' offsets, ascending, and what each left.
    pub results: Vec<(i64, T)>,
}

impl<T> Partition<T> {
    /// Takes out the finished records that can be committed now, at most `max`.
    fn take(&mut self, partition: i32, max: usize) -> Option<Commit<T>> {
        if self.finished == 0 || max == 0 {
            return None;
        }
        let finished = self.entries.iter().filter(|(_, e)| e.is_finished());
        let mut offsets: Vec<i64> = finished.map(|(offset, _)| *offset).take(max).collect();
        let (mut next, mut metadata) = self.after(&offsets);
        self.is_overfull = metadata.len() > MAX_LEN;
        if self.is_overfull {
            // What has nothing unfinished below it takes away from the metadata.
            let prefix = self.entries.iter().take(max).take_while(|(_, e)| e.is_finished());
            offsets = prefix.map(|(offset, _)| *offset).collect();
            if offsets.is_empty() {
                return None;
            }
            (next, metadata) = self.after(&offsets);
            if metadata.len() > MAX_LEN {
                return None;
            }
        }
        self.finished -= offsets.len();
        self.committing = offsets.len();
        let results = offsets.into_iter().filter_map(|offset| {
            let state = &mut self.entries.get_mut(&offset)?.state;
            match std::mem::replace(state, State::Committing) {
                State::Finished(result) => Some((offset, result)),
                State::Begun | State::Committing => None,
            }
        });
        let results = results.collect();
        Some(Commit { partition, epoch: self.epoch, next, metadata, results })
    }

    /// How things stand once the records at `offsets`, ascending, are committed: the next offset
    /// to read, and the metadata that goes with it.
    fn after(&self, offsets: &[i64]) -> (i64, String) {
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
        (next, spans.encode(next))
    }
}

impl<T> Ledger<T> {
    pub fn new() -> Self {
        Self { partitions: BTreeMap::new(), epochs: 0, records: 0, finished: 0, bytes: 0 }
    }

    /// Starts a partition afresh. `inherited` is what its earlier owner finished above the
    /// committed offset.
    pub fn assign(&mut self, partition: i32, inherited: Spans, suspects: Suspects) -> u64 {
        self.forget(partition);
        self.epochs += 1;
        let epoch = self.epochs;
        let fresh = Partition {
            epoch,
            entries: BTreeMap::new(),
            next: 0,
            inherited,
            suspects,
            running: 0,
            finished: 0,
            committing: 0,
            is_overfull: false,
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

    /// Notes a record read at `now`.
    pub fn begin(&mut self, partition: i32, offset: i64, bytes: usize, now: Instant) -> Begun {
        let Some(of) = self.partitions.get_mut(&partition) else { return Begun::Known };
        if offset < of.next {
            return Begun::Known;
        }
        of.next = offset + 1;
        if of.inherited.contains(offset) {
            return Begun::Inherited;
        }
        of.running += 1;
        of.entries.insert(offset, Entry { read_at: now, bytes, state: State::Begun });
        self.records += 1;
        self.bytes += bytes;
        Begun::New { epoch: of.epoch, suspect: of.suspects.take(offset) }
    }

    /// Notes that a record that is begun holds so many bytes from now on.
    pub fn weigh(&mut self, partition: i32, epoch: u64, offset: i64, bytes: usize) {
        let of = self.partitions.get_mut(&partition).filter(|p| p.epoch == epoch);
        if let Some(entry) = of.and_then(|of| of.entries.get_mut(&offset)) {
            self.bytes = self.bytes - entry.bytes + bytes;
            entry.bytes = bytes;
        }
    }

    /// Notes what a record left; `None` when it was dropped undone. `false` when its partition has
    /// gone or come anew since.
    pub fn finish(&mut self, partition: i32, epoch: u64, offset: i64, result: Option<T>) -> bool {
        let Some(of) = self.partitions.get_mut(&partition).filter(|p| p.epoch == epoch) else {
            return false;
        };
        of.running -= 1;
        if let (Some(entry), Some(result)) = (of.entries.get_mut(&offset), result) {
            entry.state = State::Finished(result);
            of.finished += 1;
            self.finished += 1;
        }
        true
    }

    /// Takes out what can be committed now, at most `max` records; `None` when there is nothing.
    pub fn take(&mut self, max: usize) -> Option<Batch<T>> {
        if self.finished == 0 {
            return None;
        }
        let mut batch = Batch { commits: Vec::new(), records: 0 };
        for (partition, of) in &mut self.partitions {
            if let Some(commit) = of.take(*partition, max - batch.records) {
                batch.records += commit.results.len();
                batch.commits.push(commit);
            }
        }
        self.finished -= batch.records;
        (batch.records > 0).then_some(batch)
    }

    /// Notes that what was taken is committed; tells `each` when each record of it was read.
    pub fn committed(&mut self, batch: &Batch<T>, mut each: impl FnMut(Instant)) {
        for commit in &batch.commits {
            let Some(of) = self.partitions.get_mut(&commit.partition) else { continue };
            if of.epoch != commit.epoch {
                continue;
            }
            of.committing = 0;
            for (offset, _) in &commit.results {
                if let Some(entry) = of.entries.remove(offset) {
                    self.records -= 1;
                    self.bytes -= entry.bytes;
                    each(entry.read_at);
                }
            }
        }
    }

    /// Takes back what was not committed; what belongs to a partition that has gone, or come anew
    /// since, is dropped.
    pub fn put_back(&mut self, batch: Batch<T>) {
        for commit in batch.commits {
            let Some(of) = self.partitions.get_mut(&commit.partition) else { continue };
            if of.epoch != commit.epoch {
                continue;
            }
            of.committing = 0;
            for (offset, result) in commit.results {
                if let Some(entry) = of.entries.get_mut(&offset) {
                    entry.state = State::Finished(result);
                    of.finished += 1;
                    self.finished += 1;
                }
            }
        }
    }

    /// Drops what the broker says is committed: all below `next`, and what is in `above`. For when
    /// no transaction is under way.
    pub fn reconcile(&mut self, partition: i32, next: i64, above: &Spans) {
        let Some(of) = self.partitions.get_mut(&partition) else { return };
        let done = of.entries.keys().copied().filter(|o| *o < next || above.contains(*o));
        let done: Vec<i64> = done.collect();
        for offset in done {
            if let Some(entry) = of.entries.remove(&offset) {
                let finished = usize::from(entry.is_finished());
                of.finished -= finished;
                self.finished -= finished;
                self.records -= 1;
                self.bytes -= entry.bytes;
            }
        }
    }

    /// The partitions assigned.
    pub fn partitions(&self) -> impl Iterator<Item = i32> + '_ {
        self.partitions.keys().copied()
    }

    /// Records of `partition` that are being worked on or wait for their turn.
    pub fn running(&self, partition: i32) -> usize {
        self.partitions.get(&partition).map_or(0, |p| p.running)
    }

    /// Records of `partition` that are finished and not known to be committed.
    pub fn uncommitted(&self, partition: i32) -> usize {
        self.partitions.get(&partition).map_or(0, |p| p.finished + p.committing)
    }

    /// Whether the metadata of `partition` had no room for all that was finished. Nothing more
    /// should be read from it until it has.
    pub fn is_overfull(&self, partition: i32) -> bool {
        self.partitions.get(&partition).is_some_and(|p| p.is_overfull)
    }

    /// When the oldest record was read that is not committed.
    pub fn oldest(&self) -> Option<Instant> {
        let first = |of: &Partition<T>| of.entries.first_key_value().map(|(_, e)| e.read_at);
        self.partitions.values().filter_map(first).min()
    }

    /// Records begun and not committed.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Those of them that are finished and wait for a transaction.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Those of the finished ones that a transaction can take now.
    pub fn ready(&self) -> usize {
        let overfull = self.partitions.values().filter(|p| p.is_overfull);
        self.finished - overfull.map(|p| p.finished).sum::<usize>()
    }

    /// Records begun and not finished.
    pub fn unfinished(&self) -> usize {
        self.partitions.values().map(|p| p.running).sum()
    }

    /// The bytes of all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
