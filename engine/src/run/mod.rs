//! The engine's loop, on a thread of its own: read, hand out, collect, have it committed.

mod commit;
mod rebalance;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use comanda_kafka::TopicId;
use comanda_kafka::group::{self, Closing, Context};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::commit::Committing;
use self::rebalance::Leaving;
use crate::Record;
use crate::breaker::Breaker;
use crate::committer::{self, Committer, Report};
use crate::config::PARKED_PER_PARTITION;
use crate::dispatch::{Completion, Dispatcher};
use crate::handle::State;
use crate::lanes::{Entered, Lane, Lanes, Next, Parked};
use crate::ledger::{Begun, Ledger};
use crate::output::{Finished, Output};
use crate::partition_start::{self, PartitionStarter, Start};
use crate::task::{Job, Owned, Shared};
use crate::watch::Pulse;
use crate::{Error, Processor};

/// How long a poll may block when nothing is in flight.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long to wait for a result before looking for new records again. Not in a poll: the binding
/// spins through the last millisecond of any poll's time-out.
const BUSY_WAIT: Duration = Duration::from_millis(1);
/// With this many records in flight something ends all the time, and to wake up for each would
/// cost more than handling it: the loop naps, and takes what has come meanwhile.
const CROWD: usize = 64;
const NAP: Duration = Duration::from_millis(1);
/// Records read in one turn at the most, so that all else gets its own.
const TURN: usize = 500;
/// A window that stays full this long stops the fetching; a pause throws prefetched records away,
/// so a short one is sat out.
const SATURATED: Duration = Duration::from_millis(500);
/// How long the committer may take to end.
const CLOSE: Duration = Duration::from_secs(1);
/// How often the gauges are set.
const GAUGES: Duration = Duration::from_millis(250);

/// What the loop hears of.
pub(crate) enum Event {
    /// Jobs are over.
    Finished(Vec<Completion>),
    /// A note is to be written. It comes before the end of its job.
    Note(Output),
    /// Records that waited as offsets were read.
    Parked(Reread),
    /// Where a partition begins.
    Start(Start),
    /// The committer of this number has something to say.
    Committer(u64, Report),
}

/// Records that waited as offsets, read again.
pub(crate) struct Reread {
    lane: Lane,
    /// Number of the reading.
    reading: u64,
    /// What was asked for, and what of it is still there.
    parked: Vec<Parked>,
    records: Vec<Record>,
}

/// The loop and its state.
pub(crate) struct Run<P: Processor> {
    pub(crate) shared: Arc<Shared<P>>,
    pub(crate) consumer: Arc<BaseConsumer<Context>>,
    /// `None` once the loop has ended.
    pub(crate) committer: Option<Committer>,
    pub(crate) committers: committer::Setup,
    pub(crate) committing: Committing,
    /// When an aborted batch may be tried again, and the pause that this is.
    pub(crate) commit_after: Option<(Instant, Duration)>,
    pub(crate) ledger: Ledger<Finished>,
    /// Notes that wait for a transaction.
    pub(crate) notes: Vec<Output>,
    pub(crate) lanes: Lanes<Job>,
    /// Partitions that are not read any further for now, because too much waits in them.
    pub(crate) throttled: BTreeSet<i32>,
    runtime: runtime::Handle,
    sender: mpsc::Sender<Event>,
    pub(crate) owned: HashMap<i32, Arc<Owned>>,
    /// Partitions that came and wait to be started, each with the ticket of its question.
    pub(crate) waiting: HashMap<i32, u64>,
    /// What is known of those.
    pub(crate) starts: Vec<Start>,
    pub(crate) tickets: u64,
    pub(crate) starter: PartitionStarter,
    pub(crate) starters: partition_start::Setup,
    pub(crate) leaving: Option<Leaving>,
    handout: Dispatcher<P>,
    events: mpsc::Receiver<Event>,
    full_since: Option<Instant>,
    pub(crate) paused: bool,
    pub(crate) state: Arc<State>,
    breaker: Breaker,
    gauges_at: Instant,
    pub(crate) shutdown: CancellationToken,
    /// Cuts all calls off.
    pub(crate) gone: CancellationToken,
    pulse: Pulse,
}

/// What a loop starts with.
pub(crate) struct Setup {
    /// Where calls run.
    pub runtime: runtime::Handle,
    /// Not subscribed yet.
    pub consumer: BaseConsumer<Context>,
    /// The id of the input, where the broker tells.
    pub topic_id: Option<TopicId>,
    /// Configuration of the transactional producer.
    pub producer: ClientConfig,
    /// Its id, also in the configuration.
    pub transactional_id: String,
    /// What others may know.
    pub state: Arc<State>,
    /// Beats with each turn.
    pub pulse: Pulse,
    /// Ends the loop.
    pub shutdown: CancellationToken,
    /// Cuts its calls off when it is given up.
    pub gone: CancellationToken,
}

impl<P: Processor> Run<P> {
    pub fn new(shared: Arc<Shared<P>>, setup: Setup) -> Result<Self, Error> {
        let Setup { runtime, consumer, producer, topic_id, transactional_id, .. } = setup;
        let (state, pulse, shutdown, gone) = (setup.state, setup.pulse, setup.shutdown, setup.gone);
        let (sender, events) = mpsc::channel();
        let options = &shared.options;
        let (max_records, max_bytes) = (options.max_in_flight_records, options.max_in_flight_bytes);
        let consumer = Arc::new(consumer);
        let committers = committer::Setup {
            stage: shared.name(),
            input: shared.input.clone(),
            topic_id,
            transactional_id,
            producer,
            timeout: options.transaction_timeout(),
            consumer: Arc::downgrade(&consumer),
            meters: shared.meters.clone(),
            abandoned: Arc::default(),
            events: sender.clone(),
        };
        let starters = partition_start::Setup {
            stage: shared.name(),
            input: shared.input.clone(),
            topic_id,
            consumer: Arc::downgrade(&consumer),
            events: sender.clone(),
        };
        Ok(Self {
            committer: Some(Committer::spawn(committers.clone(), 0)?),
            committers,
            committing: Committing::Opening,
            commit_after: None,
            breaker: Breaker::new(options.breaker_window_records, options.breaker_dead_percent),
            handout: Dispatcher::new(shared.clone(), runtime.clone(), sender.clone()),
            shared,
            consumer,
            ledger: Ledger::new(),
            notes: Vec::new(),
            lanes: Lanes::new(max_records, max_bytes / 2),
            throttled: BTreeSet::new(),
            runtime,
            sender,
            owned: HashMap::new(),
            waiting: HashMap::new(),
            starts: Vec::new(),
            tickets: 0,
            starter: PartitionStarter::spawn(starters.clone())?,
            starters,
            leaving: None,
            events,
            full_since: None,
            paused: false,
            state,
            gauges_at: Instant::now(),
            shutdown,
            gone,
            pulse,
        })
    }

    pub fn run(mut self) -> Result<(), Error> {
        // Leaves the group at the very end.
        let closing =
            Closing { consumer: self.consumer.clone(), topic: self.shared.topology.input.clone() };
        let ended = self.work();
        self.give_up();
        let number = self.committer.take().map(|committer| committer.number);
        let until = Instant::now() + CLOSE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Committer(of, Report::Ended)) if Some(of) == number => break,
                Ok(_) => {}
                Err(_) => {
                    warn!(
                        stage = self.shared.name(),
                        "the committer waits for the broker, which will end its transaction"
                    );
                    break;
                }
            }
        }
        drop(self);
        drop(closing);
        ended
    }

    fn work(&mut self) -> Result<(), Error> {
        // Before reading anything: this ends what a predecessor of the same name left open.
        while self.committing == Committing::Opening && !self.shutdown.is_cancelled() {
            self.pulse.beat();
            self.watch_committer()?;
            self.await_event(IDLE_POLL)?;
        }
        if self.shutdown.is_cancelled() {
            return Ok(());
        }
        self.consumer
            .subscribe(&[&*self.shared.input])
            .map_err(|source| self.failed("subscribing", source))?;
        while !self.shutdown.is_cancelled() {
            self.pulse.beat();
            self.watch_committer()?;
            self.rebalance()?;
            self.start_partitions()?;
            self.throttle();
            self.take_events()?;
            self.check_breaker()?;
            self.commit()?;
            self.read()?;
            self.set_gauges();
        }
        self.leave()
    }

    /// What is finished and not committed stays so: it is handled again after the repair.
    fn check_breaker(&self) -> Result<(), Error> {
        match self.breaker.tripped() {
            None => Ok(()),
            Some(dead) => Err(Error::TooManyDeadLetters {
                stage: self.shared.name(),
                dead,
                window: self.shared.options.breaker_window_records,
                topic: self.shared.topology.dead_letters.clone(),
                advice: self.shared.topology.breaker_advice.clone(),
            }),
        }
    }

    /// Lets all that has begun end, within the drain time.
    fn leave(&mut self) -> Result<(), Error> {
        let leaving = self.wind_down(self.ledger.partitions().collect());
        while self.goes_on(&leaving) {
            self.pulse.beat();
            self.watch_committer()?;
            self.commit()?;
            self.await_event(BUSY_WAIT)?;
        }
        info!(stage = self.shared.name(), "engine stopped");
        Ok(())
    }

    pub(crate) fn failed(&self, doing: &'static str, source: KafkaError) -> Error {
        Error::Kafka { stage: self.shared.name(), doing, source }
    }

    fn set_gauges(&mut self) {
        if self.gauges_at.elapsed() < GAUGES {
            return;
        }
        self.gauges_at = Instant::now();
        let (unfinished, waiting) = (self.ledger.unfinished(), self.lanes.waiting());
        let pauses = self.shared.pauses.load(Ordering::Acquire);
        let state = &self.state;
        state.in_hand.store(self.ledger.records(), Ordering::Release);
        state.calls.store(unfinished.saturating_sub(waiting + pauses), Ordering::Release);
        state.finished.store(self.ledger.finished(), Ordering::Release);
        let meters = &self.shared.meters;
        meters.in_flight_records.set(self.ledger.unfinished() as f64);
        meters.in_flight_bytes.set(self.ledger.bytes() as f64);
        meters.parked_records.set(self.lanes.waiting() as f64);
        let age = self.ledger.oldest().map_or(Duration::ZERO, |oldest| oldest.elapsed());
        meters.window_age_seconds.set(age.as_secs_f64());
        meters.waiting_partitions.set(self.waiting.len() as f64);
    }

    // --- events --------------------------------------------------------------------------------

    fn take_events(&mut self) -> Result<(), Error> {
        while let Ok(event) = self.events.try_recv() {
            self.heed(event)?;
        }
        self.handout.launch();
        Ok(())
    }

    fn await_event(&mut self, limit: Duration) -> Result<(), Error> {
        self.handout.launch();
        if self.running() >= CROWD {
            std::thread::sleep(NAP);
            return self.take_events();
        }
        match self.events.recv_timeout(limit) {
            Ok(event) => {
                self.heed(event)?;
                self.take_events()
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            // Its senders are the committer's thread and our own hand-out.
            Err(RecvTimeoutError::Disconnected) => Err(Error::Thread),
        }
    }

    fn heed(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Finished(completions) => {
                for completion in completions {
                    self.complete(completion);
                }
                Ok(())
            }
            Event::Note(note) => {
                self.notes.push(note);
                Ok(())
            }
            Event::Parked(reread) => {
                self.refill(reread);
                Ok(())
            }
            Event::Start(start) => {
                self.starts.push(start);
                Ok(())
            }
            Event::Committer(number, report) => self.committer_says(number, report),
        }
    }

    fn complete(&mut self, done: Completion) {
        let partition = done.lane.partition;
        let is_own_fault = done.finished.as_ref().map(|finished| finished.is_own_fault);
        if !self.ledger.finish(partition, done.epoch, done.offset, done.finished) {
            return;
        }
        self.state.progress.fetch_add(1, Ordering::AcqRel);
        if let Some(is_own_fault) = is_own_fault {
            self.breaker.note(is_own_fault);
        }
        let next = self.lanes.leave(done.lane);
        self.go_on(done.lane, next);
    }

    /// Has what comes next in a lane begin.
    fn go_on(&mut self, lane: Lane, next: Next<Job>) {
        match next {
            Next::Run(job) => self.handout.add(lane, job),
            Next::Read(reading, parked) => {
                let Some(owned) = self.owned.get(&lane.partition).cloned() else { return };
                let (shared, sender) = (self.shared.clone(), self.sender.clone());
                self.runtime.spawn(async move {
                    let offsets = parked.iter().map(|parked| parked.offset).collect();
                    let read = shared.reread(lane.partition, offsets, &owned).await;
                    let Some(records) = read else { return };
                    let reread = Reread { lane, reading, parked, records };
                    // The loop may have ended.
                    let _ = sender.send(Event::Parked(reread));
                });
            }
            Next::Free => {}
        }
    }

    /// Gives a lane the records that waited as offsets.
    fn refill(&mut self, reread: Reread) {
        let Reread { lane, reading, parked, records } = reread;
        let partition = lane.partition;
        let Some(owned) = self.owned.get(&partition).cloned() else { return };
        if !self.lanes.awaits(lane, reading) {
            return;
        }
        let mut records = records.into_iter().peekable();
        let mut jobs = Vec::with_capacity(parked.len());
        for Parked { offset, epoch, is_suspect } in parked {
            match records.next_if(|record| record.offset() == offset) {
                Some(record) => {
                    let bytes = record.size();
                    self.ledger.weigh(partition, epoch, offset, bytes);
                    jobs.push((Job { record, epoch, is_suspect, owned: owned.clone() }, bytes));
                }
                None => {
                    error!(
                        stage = self.shared.name(),
                        partition, offset, "a record was deleted before its turn came"
                    );
                    self.ledger.finish(partition, epoch, offset, Some(Finished::default()));
                }
            }
        }
        let next = self.lanes.refill(lane, jobs);
        self.go_on(lane, next);
    }

    /// Calls under way.
    fn running(&self) -> usize {
        self.ledger.unfinished().saturating_sub(self.lanes.waiting())
    }

    // --- reading -------------------------------------------------------------------------------

    /// Results that wait for their transaction have a bound of their own: they must not take the
    /// places of calls, or slow calls would wait for transactions.
    fn is_full(&self) -> bool {
        let options = &self.shared.options;
        self.running() >= options.max_in_flight_records
            || self.ledger.ready() >= options.max_transaction_records
            || self.ledger.bytes() - self.lanes.bytes() >= options.max_in_flight_bytes
    }

    fn read(&mut self) -> Result<(), Error> {
        if self.is_full() {
            return self.sit_out();
        }
        self.full_since = None;
        // Hysteresis: reading resumes with room for a while.
        let max = self.shared.options.max_in_flight_records;
        if self.paused && self.running() * 5 <= max * 4 {
            self.set_paused(false);
        }
        let idle = self.ledger.records() == 0;
        let first = if idle { IDLE_POLL } else { Duration::ZERO };
        if !self.poll(first, Instant::now())? {
            return if idle { Ok(()) } else { self.await_event(BUSY_WAIT) };
        }
        let now = Instant::now();
        for _ in 1..TURN {
            if self.is_full() || !self.poll(Duration::ZERO, now)? {
                break;
            }
        }
        self.handout.launch();
        Ok(())
    }

    /// The window is full: wait for room; after a while stop fetching, and serve the group.
    fn sit_out(&mut self) -> Result<(), Error> {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if !self.paused && since.elapsed() > SATURATED {
            self.set_paused(true);
        }
        if self.paused {
            self.poll(Duration::ZERO, Instant::now())?;
        }
        self.await_event(SATURATED / 10)
    }

    fn set_paused(&mut self, paused: bool) {
        match group::set_paused(&self.consumer, paused) {
            Ok(()) => {
                self.paused = paused;
                self.state.paused.store(paused, Ordering::Release);
                if !paused {
                    // Those have a reason of their own, and get their pause anew.
                    self.throttled.clear();
                    self.throttle();
                }
            }
            Err(error) => warn!(stage = self.shared.name(), %error, "pausing or resuming failed"),
        }
    }

    /// Reads one record, at `now` or after a wait; whether there was one.
    fn poll(&mut self, wait: Duration, now: Instant) -> Result<bool, Error> {
        let record = match self.consumer.poll(wait) {
            None => return Ok(false),
            Some(Ok(message)) => Record::copy(&self.shared.input, &message),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(self.failed("reading", error));
            }
            Some(Err(error)) => {
                warn!(stage = self.shared.name(), %error, "reading");
                return Ok(false);
            }
        };
        self.admit(record, now);
        Ok(true)
    }

    fn admit(&mut self, record: Record, now: Instant) {
        let (partition, offset) = (record.partition(), record.offset());
        let stays = |owned: &&Arc<Owned>| !owned.winding_down.is_cancelled();
        let Some(owned) = self.owned.get(&partition).filter(stays) else { return };
        let (epoch, is_suspect) = match self.ledger.begin(partition, offset, record.size(), now) {
            Begun::New { epoch, suspect } => (epoch, suspect),
            Begun::Known => return,
            Begun::Inherited => {
                self.shared.meters.inherited.increment(1);
                return;
            }
        };
        let lane = self.lanes.of(partition, record.key(), offset);
        let bytes = record.size();
        let job = Job { record, epoch, is_suspect, owned: owned.clone() };
        match self.lanes.enter(lane, job, bytes, Parked { offset, epoch, is_suspect }) {
            Entered::Run(job) => self.handout.add(lane, job),
            Entered::Waits => {}
            Entered::Parked => self.ledger.weigh(partition, epoch, offset, 0),
        }
    }

    /// Stops the fetching of partitions in which too much waits, and of no others; until there is
    /// room again.
    fn throttle(&mut self) {
        let is_crowded = |of: &Self, partition, bound| {
            of.lanes.waiting_in(partition) >= bound || of.ledger.is_overfull(partition)
        };
        let (mut stopped, mut resumed) = (Vec::new(), Vec::new());
        for partition in self.ledger.partitions() {
            if !self.throttled.contains(&partition) {
                if is_crowded(self, partition, PARKED_PER_PARTITION) {
                    stopped.push(partition);
                }
            } else if !is_crowded(self, partition, PARKED_PER_PARTITION * 4 / 5) {
                resumed.push(partition);
            }
        }
        let stage = self.shared.name();
        if !stopped.is_empty() {
            warn!(
                stage,
                partitions = ?stopped,
                "too many records wait for others of their keys; the partitions are read on when \
                 they are fewer"
            );
            self.throttled.extend(&stopped);
            let list = group::list_of(&self.shared.input, &stopped);
            if let Err(error) = self.consumer.pause(&list) {
                warn!(stage, partitions = ?stopped, %error, "pausing partitions failed");
            }
        }
        if !resumed.is_empty() {
            self.throttled.retain(|partition| !resumed.contains(partition));
            let list = group::list_of(&self.shared.input, &resumed);
            if !self.paused
                && let Err(error) = self.consumer.resume(&list)
            {
                warn!(stage, partitions = ?resumed, %error, "resuming partitions failed");
            }
        }
    }
}
