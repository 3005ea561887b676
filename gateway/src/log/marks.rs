//! How far each partition of the orders topic is known: all records below a mark were written by
//! this gateway or read by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;

/// Records of ours, above a mark, that are kept in mind for one partition. Beyond that the mark
/// waits for the reader.
const MAX_AHEAD: usize = 10_000;

/// The marks of all partitions.
#[derive(Default)]
pub(super) struct Marks(Mutex<HashMap<i32, Mark>>);

/// One partition.
#[derive(Default)]
struct Mark {
    /// Where the reader began; `None` until it has.
    begin: Option<i64>,
    /// All below is known, from `begin` on.
    next: i64,
    /// Records of ours further on.
    ahead: BTreeSet<i64>,
    /// Who waits for which record to be below `next`.
    waiting: BTreeMap<i64, oneshot::Sender<()>>,
}

impl Marks {
    /// The reader begins at `offset`, where it has not begun before; from where it goes on.
    pub fn begin(&self, partition: i32, offset: i64) -> i64 {
        let mut marks = self.marks();
        let mark = marks.entry(partition).or_default();
        if mark.begin.is_none() {
            mark.begin = Some(offset);
            mark.advance(offset);
        }
        mark.next
    }

    /// Where the reader began.
    pub fn begun_at(&self, partition: i32) -> Option<i64> {
        self.marks().get(&partition)?.begin
    }

    /// All below is known; `None` until the reader has begun.
    pub fn next(&self, partition: i32) -> Option<i64> {
        self.marks().get(&partition).filter(|mark| mark.begin.is_some()).map(|mark| mark.next)
    }

    /// The reader has read the record at `offset`, and so all before it.
    pub fn read(&self, partition: i32, offset: i64) {
        self.marks().entry(partition).or_default().advance(offset.saturating_add(1));
    }

    /// The broker has acknowledged the record at `offset` as ours. Where all records since the
    /// mark are ours, nobody else wrote in between, and there is nothing to wait for.
    pub fn wrote(&self, partition: i32, offset: i64) {
        let mut marks = self.marks();
        let mark = marks.entry(partition).or_default();
        if mark.begin.is_some() && offset == mark.next {
            mark.advance(offset.saturating_add(1));
        } else if offset >= mark.next && mark.ahead.len() < MAX_AHEAD {
            mark.ahead.insert(offset);
        }
    }

    /// Resolves once all records up to `offset` are known; `None` where they are.
    pub fn passing(&self, partition: i32, offset: i64) -> Option<oneshot::Receiver<()>> {
        let mut marks = self.marks();
        let mark = marks.entry(partition).or_default();
        if mark.begin.is_some() && offset < mark.next {
            return None;
        }
        let (passed, passing) = oneshot::channel();
        mark.waiting.insert(offset, passed);
        Some(passing)
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<i32, Mark>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Mark {
    fn advance(&mut self, next: i64) {
        if next < self.next {
            return;
        }
        self.next = next;
        while let Some(first) = self.ahead.first().copied().filter(|first| *first <= self.next) {
            self.ahead.pop_first();
            self.next = self.next.max(first.saturating_add(1));
        }
        while let Some(waiting) = self.waiting.first_entry().filter(|w| *w.key() < self.next) {
            // Who does not wait any more does not mind.
            let _ = waiting.remove().send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether all up to `offset` is known.
    fn passed(marks: &Marks, offset: i64) -> bool {
        marks.passing(0, offset).is_none()
    }

    #[test]
    fn records_of_ours_in_a_row_need_no_reader() {
        let marks = Marks::default();
        assert_eq!(marks.begin(0, 7), 7);
        marks.wrote(0, 7);
        assert!(passed(&marks, 7) && !passed(&marks, 8));
        // Answers come in any order.
        marks.wrote(0, 9);
        assert!(!passed(&marks, 9));
        marks.wrote(0, 8);
        assert!(passed(&marks, 9));
    }

    #[test]
    fn a_record_between_ours_waits_for_the_reader() {
        let marks = Marks::default();
        marks.begin(0, 7);
        marks.wrote(0, 8);
        let mut passing = marks.passing(0, 8).unwrap();
        assert!(passing.try_recv().is_err());
        marks.read(0, 7);
        assert_eq!(passing.try_recv(), Ok(()));
        assert!(marks.passing(1, 0).is_some(), "another partition");
    }

    #[test]
    fn nothing_is_known_before_the_reader_has_begun() {
        let marks = Marks::default();
        marks.wrote(0, 0);
        let mut passing = marks.passing(0, 0).unwrap();
        assert_eq!(marks.begin(0, 1), 1);
        assert_eq!(passing.try_recv(), Ok(()));
        assert_eq!(marks.begun_at(0), Some(1));
        marks.wrote(0, 1);
        assert_eq!(marks.begin(0, 0), 2, "it goes on where it was");
        assert_eq!(marks.begun_at(0), Some(1));
        marks.wrote(1, 5);
        assert!(marks.passing(1, 5).is_some());
        marks.begin(1, 5);
        assert!(marks.passing(1, 5).is_none(), "ours from the beginning");
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let marks = Marks::default();
        marks.begin(0, 0);
        let many = 1 + MAX_AHEAD as i64 + 5;
        (1..=many).for_each(|offset| marks.wrote(0, offset));
        marks.read(0, 0);
        assert!(passed(&marks, MAX_AHEAD as i64) && !passed(&marks, many));
        marks.read(0, many);
        assert!(passed(&marks, many));
    }
}
