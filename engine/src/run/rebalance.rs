//! Partitions that come and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use comanda_kafka::group::{self, Rebalance};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use tracing::{info, warn};

use super::Run;
use crate::committed_offsets::{Standing, committed, end};
use crate::ledger::Suspects;
use crate::task::Owned;
use crate::{Error, Processor};

/// Partitions on their way out. What runs in them may end and be committed, up to a deadline;
/// what only waits there is dropped. Calls and commits of the others go on; new records do not
/// come, because librdkafka pauses all partitions until it has its answer.
#[derive(Debug)]
pub(crate) struct Leaving {
    partitions: Vec<i32>,
    deadline: Instant,
}

impl<P: Processor> Run<P> {
    /// Acts on what the group decided, one decision after another.
    pub(crate) fn rebalance(&mut self) -> Result<(), Error> {
        loop {
            if let Some(leaving) = self.leaving.take() {
                if self.goes_on(&leaving) {
                    self.leaving = Some(leaving);
                    return Ok(());
                }
                self.give_back(&leaving.partitions, "revoked")?;
            }
            match self.consumer.context().decision() {
                None => return Ok(()),
                Some(Rebalance::Assigned(partitions)) => {
                    if !self.take(&partitions)? {
                        return Ok(());
                    }
                }
                Some(Rebalance::Revoked { partitions, lost: false }) => {
                    self.leaving = Some(self.wind_down(partitions));
                }
                Some(Rebalance::Revoked { partitions, lost: true }) => {
                    self.give_back(&partitions, "lost")?;
                    self.state.joined.store(false, Ordering::Release);
                }
            }
        }
    }

    /// Lets go of all partitions. What the group still waits for is answered when the consumer is
    /// closed.
    pub(crate) fn give_up(&mut self) {
        let partitions: Vec<i32> = self.ledger.partitions().collect();
        self.forget(&partitions);
        self.state.joined.store(false, Ordering::Release);
        self.leaving = None;
    }

    /// Begins nothing more in `partitions`, and ends what waits there.
    pub(crate) fn wind_down(&mut self, partitions: Vec<i32>) -> Leaving {
        for partition in &partitions {
            if let Some(owned) = self.owned.get(partition) {
                owned.winding_down.cancel();
            }
            for job in self.lanes.clear(*partition) {
                self.drop_undone(&job);
            }
        }
        Leaving { partitions, deadline: Instant::now() + self.shared.options.drain() }
    }

    /// Whether something in the partitions is worth waiting for.
    pub(crate) fn goes_on(&self, leaving: &Leaving) -> bool {
        let busy = |p: &i32| self.ledger.running(*p) > 0 || self.ledger.uncommitted(*p) > 0;
        if !leaving.partitions.iter().any(busy) {
            return false;
        }
        let in_time = Instant::now() < leaving.deadline;
        if !in_time {
            warn!(
                stage = self.shared.name(),
                "what was not committed by the drain deadline is dropped"
            );
        }
        in_time
    }

    /// Takes over partitions: from the committed offset on, without what is finished above it.
    /// `false` while the group does not tell that: without its coordinator, or behind a
    /// transaction of the one who had them before.
    fn take(&mut self, partitions: &[i32]) -> Result<bool, Error> {
        let standings = match self.standings(partitions) {
            Ok(standings) => standings,
            Err(error) => {
                warn!(stage = self.shared.name(), %error, "the committed offsets are not known yet");
                return Ok(false);
            }
        };
        if !partitions.is_empty() {
            // What the one who had them has written is committed, or never will be.
            self.shared.processor.on_assigned(partitions);
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let stage = self.shared.name();
        let failed = |source| Error::Kafka { stage, doing: "taking over partitions", source };
        for (standing, below) in standings {
            let mut element = list.add_partition(&self.shared.input, standing.partition);
            let inherited = match standing.at {
                Some((next, above)) => {
                    element.set_offset(rdkafka::Offset::Offset(next)).map_err(failed)?;
                    above
                }
                None => Default::default(),
            };
            let suspects = Suspects { below, left: self.shared.options.in_hand() };
            self.ledger.assign(standing.partition, inherited, suspects);
            self.owned.insert(standing.partition, Arc::new(Owned::until(&self.gone)));
        }
        group::take_over(&self.consumer, &list, self.paused).map_err(failed)?;
        self.report_change("assigned", partitions);
        self.state.joined.store(true, Ordering::Release);
        Ok(true)
    }

    /// Where the group stands in each of `partitions`, and where the log ends.
    fn standings(&self, partitions: &[i32]) -> Result<Vec<(Standing, i64)>, KafkaError> {
        let topic = &self.shared.input;
        let standings = committed(&self.consumer, self.shared.name(), topic, partitions)?;
        let with_end = |standing: Standing| {
            let end = end(&self.consumer, topic, standing.partition)?;
            Ok((standing, end))
        };
        standings.into_iter().map(with_end).collect()
    }

    fn give_back(&mut self, partitions: &[i32], change: &'static str) -> Result<(), Error> {
        self.forget(partitions);
        group::give_back(&self.consumer, &self.shared.input, partitions)
            .map_err(|source| self.failed("giving partitions back", source))?;
        self.report_change(change, partitions);
        Ok(())
    }

    fn report_change(&self, change: &'static str, partitions: &[i32]) {
        self.state.progress.fetch_add(1, Ordering::AcqRel);
        let meters = &self.shared.meters;
        let counter = match change {
            "assigned" => &meters.assigned,
            "revoked" => &meters.revoked,
            _ => &meters.lost,
        };
        counter.increment(partitions.len() as u64);
        info!(stage = self.shared.name(), change, ?partitions, "partitions");
    }

    pub(crate) fn forget(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(owned) = self.owned.remove(partition) {
                owned.gone.cancel();
            }
            self.lanes.forget(*partition);
            self.ledger.forget(*partition);
        }
    }
}
