//! What the loop has committed, and what it makes of what becomes of it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Run;
use crate::committer::{Committer, Report};
use crate::transaction::Batch;
use crate::{Error, Processor, generation};
use tracing::warn;

/// Pause after an aborted transaction, doubled up to the maximum.
const COMMIT_RETRY: Duration = Duration::from_millis(100);
const COMMIT_RETRY_MAX: Duration = Duration::from_secs(5);

/// What the committer is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committing {
    /// It has no producer yet.
    Opening,
    /// It waits for a batch.
    Idle,
    /// It has one.
    Busy,
}

impl<P: Processor> Run<P> {
    /// Has all committed that is finished, unless a transaction is under way: while that lasts the
    /// next batch gathers, so that batches grow with the load.
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        if self.committing != Committing::Idle {
            return Ok(());
        }
        if self.commit_after.is_some_and(|(at, _)| Instant::now() < at) {
            return Ok(());
        }
        if self.ledger.finished() == 0 && self.notes.is_empty() {
            return Ok(());
        }
        // Here, and not when the offsets are sent: by then the partitions may be somebody else's.
        let Some(group) = generation::current(&self.consumer) else { return Ok(()) };
        let finished = self.ledger.take(self.shared.options.max_transaction_records);
        if finished.is_some() || !self.notes.is_empty() {
            let finished = finished.unwrap_or_default();
            let batch = Batch { finished, notes: std::mem::take(&mut self.notes) };
            self.committing = Committing::Busy;
            self.committer.as_mut().ok_or(Error::Thread)?.commit(batch, group)?;
        }
        Ok(())
    }

    /// Takes the batch back that the committer had.
    ///
    /// Notes have nothing that would tell whether they were written, and may be written twice.
    fn put_back(&mut self) {
        let Some(mut batch) = self.take_batch() else { return };
        batch.notes.append(&mut self.notes);
        self.notes = batch.notes;
        self.ledger.put_back(batch.finished);
    }

    fn take_batch(&mut self) -> Option<Batch> {
        self.committer.as_mut().and_then(Committer::take_batch)
    }

    /// Gives the committer up when its call does not return: the next one finds out what became of
    /// its batch.
    pub(crate) fn watch_committer(&mut self) -> Result<(), Error> {
        let Some(committer) = &mut self.committer else { return Ok(()) };
        if committer.stuck_for() < self.shared.options.committer_limit() {
            return Ok(());
        }
        let next = committer.number + 1;
        warn!(
            stage = self.shared.name(),
            "a call of the transactional producer does not return; the producer is given up and \
             replaced"
        );
        self.shared.meters.producers_abandoned.increment(1);
        self.committers.abandoned.fetch_add(1, Ordering::AcqRel);
        self.put_back();
        self.committing = Committing::Opening;
        self.state.commits.store(false, Ordering::Release);
        self.committer = Some(Committer::spawn(self.committers.clone(), next)?);
        Ok(())
    }

    pub(crate) fn committer_says(&mut self, number: u64, report: Report) -> Result<(), Error> {
        if self.committer.as_ref().map(|committer| committer.number) != Some(number) {
            // One that was given up.
            return Ok(());
        }
        match report {
            Report::Opened(standings) => {
                for standing in standings {
                    if let Some((next, above)) = standing.at {
                        self.ledger.reconcile(standing.partition, next, &above);
                    }
                }
                self.committing = Committing::Idle;
                self.state.commits.store(true, Ordering::Release);
            }
            Report::Committed => {
                let Some(batch) = self.take_batch() else { return Ok(()) };
                self.state.progress.fetch_add(1, Ordering::AcqRel);
                let meters = &self.shared.meters;
                let now = Instant::now();
                self.ledger.committed(&batch.finished, |read_at| {
                    meters.record_seconds.record(now.saturating_duration_since(read_at));
                });
                for commit in &batch.finished.commits {
                    meters.metadata_bytes.record(commit.metadata.len() as f64);
                }
                self.committing = Committing::Idle;
                self.commit_after = None;
                self.state.commits.store(true, Ordering::Release);
            }
            Report::Aborted => {
                self.put_back();
                // Once is not worth a word: a rebalance does it.
                let again = self.commit_after.is_some();
                self.state.commits.store(!again, Ordering::Release);
                self.committing = Committing::Idle;
                let pause = self.commit_after.map_or(COMMIT_RETRY, |(_, last)| last * 2);
                let pause = pause.min(COMMIT_RETRY_MAX);
                self.commit_after = Some((Instant::now() + pause, pause));
            }
            Report::InDoubt => {
                self.put_back();
                self.committing = Committing::Opening;
                self.state.commits.store(false, Ordering::Release);
            }
            Report::Failed(error) => return Err(error),
            Report::Ended => return Err(Error::Thread),
        }
        Ok(())
    }
}
