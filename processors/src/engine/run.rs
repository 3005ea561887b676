//! The engine's loop, on a thread of its own: read, hand out, collect, commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::breaker::Breaker;
use super::committer::Committer;
use super::consumer::Context;
use super::lanes::{Lane, LaneKey, Lanes};
use super::ledger::{Begun, Ledger};
use super::metrics::{IN_FLIGHT_BYTES, IN_FLIGHT_RECORDS, RECORDS_TOTAL};
use super::service::State;
use super::task::{Finished, Job, Shared};
use super::{Error, Processor};

/// How long a poll may block when nothing is in flight.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long to wait for a result before looking for new records again. Not in a poll: the binding
/// spins through the last millisecond of any poll's time-out.
const BUSY_WAIT: Duration = Duration::from_millis(1);
/// Records read in one turn at the most, so that commits get theirs.
const TURN: usize = 2_000;
/// A window that stays full this long stops the fetching; a pause throws prefetched records away,
/// so a short one is sat out.
const SATURATED: Duration = Duration::from_millis(500);

/// The loop and its state.
pub(super) struct Run<P: Processor> {
    pub(super) shared: Arc<Shared<P>>,
    runtime: runtime::Handle,
    pub(super) consumer: BaseConsumer<Context>,
    pub(super) topic: String,
    pub(super) producer: ClientConfig,
    pub(super) transactional_id: String,
    pub(super) committer: Option<Committer>,
    pub(super) commit_after: Option<(Instant, Duration)>,
    pub(super) ledger: Ledger<Finished>,
    pub(super) lanes: Lanes<Job>,
    pub(super) owned: HashMap<i32, Owned>,
    completed: mpsc::Sender<Completion>,
    pub(super) completions: mpsc::Receiver<Completion>,
    full_since: Option<Instant>,
    pub(super) paused: bool,
    pub(super) state: Arc<State>,
    breaker: Breaker,
    pub(super) shutdown: CancellationToken,
}

/// What a loop starts with.
pub(super) struct Setup {
    /// Where calls run.
    pub runtime: runtime::Handle,
    /// Not subscribed yet.
    pub consumer: BaseConsumer<Context>,
    /// What to read.
    pub topic: String,
    /// Configuration of the transactional producer.
    pub producer: ClientConfig,
    /// Its id, also in the configuration.
    pub transactional_id: String,
    /// What others may know.
    pub state: Arc<State>,
    /// Ends the loop.
    pub shutdown: CancellationToken,
}

/// The tokens of a partition that is ours.
pub(super) struct Owned {
    /// Ends the waits of its records.
    pub winding_down: CancellationToken,
    /// Ends their calls.
    pub gone: CancellationToken,
}

/// A job is over.
pub(super) struct Completion {
    lane: Lane,
    epoch: u64,
    offset: i64,
    finished: Option<Finished>,
}

impl<P: Processor> Run<P> {
    pub fn new(shared: Arc<Shared<P>>, setup: Setup) -> Self {
        let Setup { runtime, consumer, topic, producer, transactional_id, state, shutdown } = setup;
        let (completed, completions) = mpsc::channel();
        let options = &shared.options;
        let breaker = Breaker::new(options.breaker_window_records, options.breaker_dead_percent);
        Self {
            breaker,
            shared,
            runtime,
            consumer,
            topic,
            producer,
            transactional_id,
            committer: None,
            commit_after: None,
            ledger: Ledger::new(),
            lanes: Lanes::new(),
            owned: HashMap::new(),
            completed,
            completions,
            full_since: None,
            paused: false,
            state,
            shutdown,
        }
    }

    pub fn run(mut self) -> Result<(), Error> {
        let ended = self.work();
        // What is left in the consumer is for its closing, which must not wait for an answer.
        self.consumer.context().close();
        let partitions: Vec<i32> = self.ledger.partitions().collect();
        self.forget(&partitions);
        ended
    }

    fn work(&mut self) -> Result<(), Error> {
        // Before reading anything: this ends what a predecessor of the same name left open.
        while self.committer.is_none() && !self.shutdown.is_cancelled() {
            self.open_committer()?;
            if let (None, Some((at, _))) = (&self.committer, self.commit_after) {
                let pause = tokio::time::sleep_until(at.into());
                self.runtime.block_on(self.shutdown.run_until_cancelled(pause));
            }
        }
        self.consumer
            .subscribe(&[&self.topic])
            .map_err(|source| Self::failed("subscribing", source))?;
        while !self.shutdown.is_cancelled() {
            while let Some(decision) = self.consumer.context().decision() {
                self.rebalance(decision)?;
            }
            while let Ok(completion) = self.completions.try_recv() {
                self.complete(completion);
            }
            self.check_breaker()?;
            self.commit()?;
            self.read()?;
            gauge!(IN_FLIGHT_RECORDS, "stage" => stage::<P>()).set(self.ledger.records() as f64);
            gauge!(IN_FLIGHT_BYTES, "stage" => stage::<P>()).set(self.ledger.bytes() as f64);
        }
        self.leave()
    }

    /// What is finished and not committed stays so: it is handled again after the repair.
    fn check_breaker(&self) -> Result<(), Error> {
        match self.breaker.tripped() {
            None => Ok(()),
            Some(dead) => Err(Error::TooManyDeadLetters {
                stage: stage::<P>(),
                dead,
                window: self.shared.options.breaker_window_records,
                topic: self.shared.dead_letters.to_string(),
            }),
        }
    }

    fn leave(&mut self) -> Result<(), Error> {
        let partitions: Vec<i32> = self.ledger.partitions().collect();
        self.drain(&partitions);
        self.commit_after = None;
        let last = self.commit();
        info!(stage = stage::<P>(), "engine stopped");
        last
    }

    pub(super) fn failed(doing: &'static str, source: KafkaError) -> Error {
        Error::Kafka { stage: stage::<P>(), doing, source }
    }

    // --- reading -------------------------------------------------------------------------------

    /// Results that wait for their transaction have a bound of their own: they must not take the
    /// places of calls, or slow calls would wait for transactions.
    fn is_full(&self) -> bool {
        let options = &self.shared.options;
        self.unfinished() >= options.max_in_flight_records
            || self.ledger.finished() >= options.max_transaction_records
            || self.ledger.bytes() >= options.max_in_flight_bytes
    }

    fn unfinished(&self) -> usize {
        self.ledger.records() - self.ledger.finished()
    }

    fn read(&mut self) -> Result<(), Error> {
        if self.is_full() {
            return self.sit_out();
        }
        self.full_since = None;
        // Hysteresis: reading resumes with room for a while.
        let max = self.shared.options.max_in_flight_records;
        if self.paused && self.unfinished() * 5 <= max * 4 {
            self.set_paused(false);
        }
        let idle = self.ledger.records() == 0;
        let first = if idle { IDLE_POLL } else { Duration::ZERO };
        if !self.poll(first)? {
            if !idle {
                self.await_completion(BUSY_WAIT);
            }
            return Ok(());
        }
        for _ in 1..TURN {
            if self.is_full() || !self.poll(Duration::ZERO)? {
                break;
            }
        }
        Ok(())
    }

    fn await_completion(&mut self, limit: Duration) {
        if let Ok(completion) = self.completions.recv_timeout(limit) {
            self.complete(completion);
        }
    }

    /// The window is full: wait for room; after a while stop fetching, and serve the group.
    fn sit_out(&mut self) -> Result<(), Error> {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if !self.paused && since.elapsed() > SATURATED {
            self.set_paused(true);
        }
        if self.paused {
            self.poll(Duration::ZERO)?;
        }
        self.await_completion(SATURATED / 10);
        Ok(())
    }

    fn set_paused(&mut self, paused: bool) {
        let changed = self.consumer.assignment().and_then(|assignment| {
            if paused {
                self.consumer.pause(&assignment)
            } else {
                self.consumer.resume(&assignment)
            }
        });
        match changed {
            Ok(()) => {
                self.paused = paused;
                self.state.paused.store(paused, Ordering::Release);
            }
            Err(error) => warn!(stage = stage::<P>(), %error, "pausing or resuming failed"),
        }
    }

    /// Reads one record; whether there was one.
    fn poll(&mut self, wait: Duration) -> Result<bool, Error> {
        let record = match self.consumer.poll(wait) {
            None => return Ok(false),
            Some(Ok(record)) => record.detach(),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(Self::failed("reading", error));
            }
            Some(Err(error)) => {
                warn!(stage = stage::<P>(), %error, "reading");
                return Ok(false);
            }
        };
        self.admit(record);
        Ok(true)
    }

    fn admit(&mut self, record: OwnedMessage) {
        let (partition, offset) = (record.partition(), record.offset());
        let bytes = record.payload().map_or(0, <[u8]>::len) + record.key().map_or(0, <[u8]>::len);
        let Some(owned) = self.owned.get(&partition) else { return };
        let epoch = match self.ledger.begin(partition, offset, bytes) {
            Begun::New(epoch) => epoch,
            Begun::Known => return,
            Begun::Inherited => {
                counter!(RECORDS_TOTAL, "stage" => stage::<P>(), "outcome" => "inherited")
                    .increment(1);
                return;
            }
        };
        let key = record.key().map_or(LaneKey::Keyless(offset), |k| LaneKey::Key(k.into()));
        let lane = Lane { partition, key };
        let winding_down = owned.winding_down.clone();
        let job = Job { record, epoch, read_at: Instant::now(), winding_down };
        if let Some(job) = self.lanes.enter(&lane, job) {
            self.start(lane, job);
        }
    }

    fn start(&self, lane: Lane, job: Job) {
        let Some(owned) = self.owned.get(&lane.partition) else { return };
        let (shared, completed) = (self.shared.clone(), self.completed.clone());
        let gone = owned.gone.clone();
        self.runtime.spawn(async move {
            let finished = tokio::select! {
                biased;
                () = gone.cancelled() => None,
                finished = shared.run(&job) => finished,
            };
            let offset = job.record.offset();
            // The loop may have ended; then nobody wants to know.
            let _ = completed.send(Completion { lane, epoch: job.epoch, offset, finished });
        });
    }

    pub(super) fn complete(&mut self, done: Completion) {
        let partition = done.lane.partition;
        if let Some(finished) = &done.finished {
            self.breaker.note(finished.dead);
        }
        if self.ledger.finish(partition, done.epoch, done.offset, done.finished)
            && let Some(next) = self.lanes.leave(&done.lane)
        {
            self.start(done.lane, next);
        }
    }
}

pub(super) fn stage<P: Processor>() -> &'static str {
    P::STAGE.as_str()
}
