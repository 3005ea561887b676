//! Partitions that come and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use comanda_kafka::group::{self, Rebalance};
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{error, info, warn};

use super::Run;
use crate::ledger::Suspects;
use crate::offset_metadata::Spans;
use crate::partition_start::{PartitionStarter, Start};
use crate::task::{Job, Owned};
use crate::{Error, Processor};

/// How long one question for offsets may last; each has a time-out of a second.
const START_MAX: Duration = Duration::from_secs(30);

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
                    self.take(&partitions)?;
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
        let mut partitions: Vec<i32> = self.ledger.partitions().collect();
        partitions.extend(self.waiting.keys());
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
            let of = |job: &Job| (job.record.offset(), job.epoch);
            for (offset, epoch) in self.lanes.clear(*partition, of) {
                self.ledger.finish(*partition, epoch, offset, None);
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

    /// Takes over partitions. Each begins once it is known where: from the committed offset on,
    /// without what is finished above it. That can take as long as the group's coordinator or the
    /// partition's leader is away, or a transaction of the one who had it before is open.
    fn take(&mut self, partitions: &[i32]) -> Result<(), Error> {
        group::take_over_later(&self.consumer)
            .map_err(|source| self.failed("taking over partitions", source))?;
        let now = SystemTime::now();
        for partition in partitions {
            self.tickets += 1;
            self.waiting.insert(*partition, self.tickets);
            self.state.waiting().insert(*partition, now);
        }
        self.ask_for_starts(partitions);
        self.report_change("assigned", partitions);
        if self.waiting.is_empty() {
            self.state.joined.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn ask_for_starts(&self, partitions: &[i32]) {
        let ticket = |partition: &i32| Some((*partition, *self.waiting.get(partition)?));
        self.starter.ask(partitions.iter().filter_map(ticket).collect());
    }

    /// Starts the partitions of which it is known where they begin; not while the group waits for
    /// an answer, because that can be about them.
    pub(super) fn start_partitions(&mut self) -> Result<(), Error> {
        if self.starter.stuck_for() > START_MAX {
            warn!(
                stage = self.shared.name(),
                "asking where partitions begin does not return; asked anew"
            );
            self.starter = PartitionStarter::spawn(self.starters.clone())?;
            let waiting: Vec<i32> = self.waiting.keys().copied().collect();
            self.ask_for_starts(&waiting);
        }
        if self.starts.is_empty()
            || self.leaving.is_some()
            || self.consumer.context().decision().is_some()
        {
            return Ok(());
        }
        let starts: Vec<Start> = self.starts.drain(..).collect();
        let is_asked =
            |start: &Start| self.waiting.get(&start.standing.partition) == Some(&start.ticket);
        let mut starts: Vec<Start> = starts.into_iter().filter(is_asked).collect();
        if starts.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(starts.len());
        let stage = self.shared.name();
        let failed = |source| Error::Kafka { stage, doing: "starting partitions", source };
        for start in &mut starts {
            if let Some((next, above)) = &mut start.standing.at
                && *next > start.end
            {
                error!(
                    stage,
                    topic = &*self.shared.input,
                    partition = start.standing.partition,
                    committed = *next,
                    end = start.end,
                    "the topic ends before the committed offset: it was made anew or has lost records"
                );
                // Of a log that is not there any more.
                *above = Spans::default();
            }
            let at = start.standing.at.as_ref();
            let offset = at.map_or(Offset::Beginning, |(next, _)| Offset::Offset(*next));
            let mut element = list.add_partition(&self.shared.input, start.standing.partition);
            element.set_offset(offset).map_err(failed)?;
        }
        let partitions: Vec<i32> = starts.iter().map(|start| start.standing.partition).collect();
        // What the one who had them has written is committed, or never will be.
        self.shared.processor.on_assigned(&partitions);
        for Start { standing, end, .. } in starts {
            let inherited = standing.at.map(|(_, above)| above).unwrap_or_default();
            let suspects = Suspects { below: end, left: self.shared.options.in_hand() };
            self.ledger.assign(standing.partition, inherited, suspects);
            self.owned.insert(standing.partition, Arc::new(Owned::until(&self.gone)));
            self.waiting.remove(&standing.partition);
            self.state.waiting().remove(&standing.partition);
        }
        if let Err(error) = group::start(&self.consumer, &list, self.paused) {
            // The group has decided otherwise meanwhile, or will: they begin again from the start.
            warn!(stage, ?partitions, %error, "partitions can't be started, retrying");
            self.forget(&partitions);
            let now = SystemTime::now();
            for partition in &partitions {
                self.tickets += 1;
                self.waiting.insert(*partition, self.tickets);
                self.state.waiting().insert(*partition, now);
            }
            self.ask_for_starts(&partitions);
            return Ok(());
        }
        info!(stage, ?partitions, "partitions started");
        self.state.progress.fetch_add(1, Ordering::AcqRel);
        self.state.joined.store(true, Ordering::Release);
        Ok(())
    }

    fn give_back(&mut self, partitions: &[i32], change: &'static str) -> Result<(), Error> {
        // Those that wait to be started are not assigned yet, as librdkafka sees it.
        let started: Vec<i32> =
            partitions.iter().filter(|p| self.owned.contains_key(*p)).copied().collect();
        self.forget(partitions);
        group::give_back(&self.consumer, &self.shared.input, &started)
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
            self.waiting.remove(partition);
            self.state.waiting().remove(partition);
            if let Some(owned) = self.owned.remove(partition) {
                owned.gone.cancel();
            }
            self.throttled.remove(partition);
            self.lanes.forget(*partition);
            self.ledger.forget(*partition);
        }
    }
}
