//! Partitions that come and go.

use std::sync::atomic::Ordering;
use std::time::Instant;

use metrics::counter;
use rdkafka::consumer::Consumer;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::consumer::{Rebalance, answer};
use super::metrics::REBALANCED_TOTAL;
use super::run::{Owned, Run, stage};
use super::{Error, Processor};

impl<P: Processor> Run<P> {
    pub(super) fn rebalance(&mut self, decision: Rebalance) -> Result<(), Error> {
        match decision {
            Rebalance::Assigned(partitions) => self.take(&partitions)?,
            Rebalance::Revoked { partitions, lost } => {
                if !lost {
                    self.drain(&partitions);
                    self.commit_after = None;
                    self.commit()?;
                }
                self.forget(&partitions);
                self.give_back(&partitions)?;
                if lost {
                    self.state.joined.store(false, Ordering::Release);
                }
                self.report(if lost { "lost" } else { "revoked" }, &partitions);
            }
        }
        Ok(())
    }

    /// Takes over partitions: from the committed offset on, without what is finished above it.
    fn take(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let stands = loop {
            match self.committed(partitions) {
                Ok(stands) => break stands,
                // Without the group's coordinator nothing could be committed either.
                Err(error) => {
                    warn!(stage = stage::<P>(), %error, "the committed offsets are not known yet");
                }
            }
            if self.shutdown.is_cancelled() {
                return Ok(());
            }
        };
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let failed = |source| Self::failed("taking over partitions", source);
        for (partition, stands) in stands {
            let mut element = list.add_partition(&self.topic, partition);
            let inherited = stands
                .map(|(next, above)| element.set_offset(Offset::Offset(next)).map(|()| above));
            self.ledger
                .assign(partition, inherited.transpose().map_err(failed)?.unwrap_or_default());
            let owned =
                Owned { winding_down: CancellationToken::new(), gone: CancellationToken::new() };
            self.owned.insert(partition, owned);
        }
        answer(&self.consumer, &list, true).map_err(failed)?;
        // librdkafka keeps a partition's pause over its unassignment: one that was paused when it
        // was given away would come back paused, and one that comes while we are paused would not
        // be.
        let set = if self.paused { Consumer::pause } else { Consumer::resume };
        set(&self.consumer, &list).map_err(failed)?;
        self.report("assigned", partitions);
        self.state.joined.store(true, Ordering::Release);
        Ok(())
    }

    fn give_back(&self, partitions: &[i32]) -> Result<(), Error> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        answer(&self.consumer, &list, false)
            .map_err(|source| Self::failed("giving partitions back", source))
    }

    fn report(&self, change: &'static str, partitions: &[i32]) {
        counter!(REBALANCED_TOTAL, "stage" => stage::<P>(), "change" => change)
            .increment(partitions.len() as u64);
        info!(stage = stage::<P>(), change, ?partitions, "partitions");
    }

    /// Lets what runs in `partitions` end, up to the deadline; what waits there is not begun.
    pub(super) fn drain(&mut self, partitions: &[i32]) {
        let deadline = Instant::now() + self.shared.options.drain();
        for partition in partitions {
            if let Some(owned) = self.owned.get(partition) {
                owned.winding_down.cancel();
            }
            for job in self.lanes.clear(*partition) {
                self.ledger.finish(*partition, job.epoch, job.record.offset(), None);
            }
        }
        while partitions.iter().any(|p| self.ledger.running(*p) > 0) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.completions.recv_timeout(left) {
                Ok(completion) => self.complete(completion),
                Err(_) => {
                    warn!(stage = stage::<P>(), "calls were cut off at the drain deadline");
                    break;
                }
            }
        }
    }

    pub(super) fn forget(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(owned) = self.owned.remove(partition) {
                owned.gone.cancel();
            }
            self.lanes.forget(*partition);
            self.ledger.forget(*partition);
        }
    }
}
