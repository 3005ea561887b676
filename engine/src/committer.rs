//! The committer: a thread that has the transactional producer, since its calls block for as long
//! as the broker is away, and the loop must go on meanwhile.
//!
//! It commits one [`Batch`] at a time and reports what came of it. A producer that is lost is
//! replaced, with a pause between two tries; then the broker is asked what is committed, because
//! the transaction of its predecessor may have gone through after all.
//!
//! The loop watches it. A committer whose call does not return within a bound is given up, with its
//! producer, which is destroyed on the committer's own thread should the call ever return; another
//! committer opens the next producer under the same id, and the broker ends what the last one left
//! open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use comanda_kafka::TopicId;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::warn;

use super::Error;
use super::committed_offsets::{Standing, committed};
use super::metrics::Meters;
use super::run::Event;
use super::transaction::{Batch, Failure, Transactions};
use super::watch::{Pulse, Watch};
use comanda_kafka::group::Context;

/// Pause after a producer could not be opened, doubled up to the maximum.
const OPEN_RETRY: Duration = Duration::from_millis(100);
const OPEN_RETRY_MAX: Duration = Duration::from_secs(5);

/// What the committer tells the loop. What it says of a batch is of the one that it was given last.
#[derive(Debug)]
pub(crate) enum Report {
    /// Batches are taken from now on. This is where the group stands, to be heeded before the
    /// first: results that are committed already must not be written again.
    Opened(Vec<Standing>),
    /// The batch is committed.
    Committed,
    /// Nothing of the batch is committed; it can be tried again.
    Aborted,
    /// Whether the batch is committed will be known with [`Report::Opened`].
    InDoubt,
    /// It can't go on; [`Report::Ended`] follows.
    Failed(Error),
    /// The last word: it has let go of its producer.
    Ended,
}

/// What the loop gives it: a batch, and the group's metadata of the moment at which it was taken.
type Work = (Arc<Batch>, ConsumerGroupMetadata);

/// What committers need.
#[derive(Clone)]
pub(crate) struct Setup {
    pub stage: &'static str,
    /// The topic whose offsets are committed.
    pub input: Arc<str>,
    /// Its id, where the broker tells.
    pub topic_id: Option<TopicId>,
    pub transactional_id: String,
    /// Configuration of the producer.
    pub producer: ClientConfig,
    /// Transaction time-out in that configuration.
    pub timeout: Duration,
    /// The loop's, which may be gone before a committer is.
    pub consumer: Weak<BaseConsumer<Context>>,
    pub meters: Arc<Meters>,
    /// Committers that were given up, and may still take the id away from their successor.
    pub abandoned: Arc<AtomicUsize>,
    /// Takes the reports, with the committer's number.
    pub events: Sender<Event>,
}

/// A committer as the loop sees it; it ends when this is dropped.
pub(crate) struct Committer {
    /// Tells its reports from those of an earlier one.
    pub number: u64,
    work: SyncSender<Work>,
    /// The batch that it has.
    batch: Option<Arc<Batch>>,
    watch: Watch,
}

impl Committer {
    /// Starts the thread.
    pub fn spawn(setup: Setup, number: u64) -> Result<Self, Error> {
        let (work, batches) = sync_channel(1);
        let pulse = Pulse::default();
        let watch = Watch::new(pulse.clone());
        let thread = std::thread::Builder::new().name(format!("commit-{}", setup.stage));
        let worker = Worker { setup, number, pulse };
        thread.spawn(move || worker.run_to_end(&batches)).map_err(|_| Error::Thread)?;
        Ok(Self { number, work, batch: None, watch })
    }

    /// Hands over a batch; only after it has reported on the last one.
    pub fn commit(&mut self, batch: Batch, group: ConsumerGroupMetadata) -> Result<(), Error> {
        let batch = Arc::new(batch);
        self.batch = Some(batch.clone());
        // It takes batches until it reports that it has failed.
        self.work.send((batch, group)).map_err(|_| Error::Thread)
    }

    /// The batch that it had, on which it has reported, or will never.
    pub fn take_batch(&mut self) -> Option<Batch> {
        self.batch.take().map(Arc::unwrap_or_clone)
    }

    /// How long its present call has lasted.
    pub fn stuck_for(&mut self) -> Duration {
        self.watch.stuck_for()
    }
}

/// Nobody sends batches any more.
struct Closed;

/// The thread's side.
struct Worker {
    setup: Setup,
    number: u64,
    pulse: Pulse,
}

impl Worker {
    fn report(&self, report: Report) {
        // The loop may have ended; then nobody wants to know.
        let _ = self.setup.events.send(Event::Committer(self.number, report));
    }

    fn run_to_end(self, batches: &Receiver<Work>) {
        // A loop that waits for a report would wait for ever.
        let ran = catch_unwind(AssertUnwindSafe(|| self.run(batches)));
        if ran.is_err() {
            self.report(Report::Failed(Error::Thread));
        }
        self.report(Report::Ended);
    }

    fn run(&self, batches: &Receiver<Work>) {
        let stage = self.setup.stage;
        loop {
            // Dropped before the next one is opened, so that nothing it still sends comes after that.
            let (producer, standings) = match self.open(batches) {
                Ok(Ok(opened)) => opened,
                Ok(Err(error)) => return self.report(Report::Failed(error)),
                Err(Closed) => return,
            };
            let producer = Watched { producer: Some(producer), pulse: &self.pulse };
            self.report(Report::Opened(standings));
            loop {
                let Ok((batch, group)) = batches.recv() else { return };
                let committed = {
                    let _call = self.pulse.enter();
                    producer.get().commit(&batch, (&self.setup.input, self.setup.topic_id), &group)
                };
                // The loop takes it back from here on.
                drop(batch);
                match committed {
                    Ok(()) => self.report(Report::Committed),
                    Err(Failure::Aborted(error)) => {
                        warn!(stage, %error, "transaction aborted; results are kept");
                        self.report(Report::Aborted);
                    }
                    Err(Failure::Fenced(error)) if self.is_forgiven() => {
                        warn!(stage, %error, "a producer that was given up came back; replaced");
                        self.setup.meters.producers_replaced.increment(1);
                        self.report(Report::InDoubt);
                        break;
                    }
                    Err(Failure::Fenced(_)) => {
                        return self.report(Report::Failed(self.fenced()));
                    }
                    Err(Failure::ProducerLost(error)) => {
                        warn!(stage, %error, "transactional producer is replaced");
                        self.setup.meters.producers_replaced.increment(1);
                        self.report(Report::InDoubt);
                        break;
                    }
                }
            }
        }
    }

    /// A producer, and where the group stands in the partitions that are ours; tries until both
    /// are to be had, or will never be.
    fn open(
        &self,
        batches: &Receiver<Work>,
    ) -> Result<Result<(Transactions, Vec<Standing>), Error>, Closed> {
        let stage = self.setup.stage;
        let mut pause = OPEN_RETRY;
        loop {
            let opened = {
                let _call = self.pulse.enter();
                self.try_open()
            };
            match opened {
                Ok((producer, Ok(standings))) => return Ok(Ok((producer, standings))),
                Ok((producer, Err(error))) => {
                    warn!(stage, %error, "committed offsets are not known yet");
                    let _call = self.pulse.enter();
                    drop(producer);
                }
                Err(Failure::Fenced(error)) if self.is_forgiven() => {
                    warn!(stage, %error, "a producer that was given up came back; opening anew");
                }
                Err(Failure::Fenced(_)) => return Ok(Err(self.fenced())),
                Err(Failure::ProducerLost(error)) if is_final(&error) => {
                    let doing = "opening the transactional producer";
                    return Ok(Err(Error::Kafka { stage, doing, source: error }));
                }
                Err(Failure::Aborted(error) | Failure::ProducerLost(error)) => {
                    warn!(stage, %error, "the transactional producer can't be opened yet");
                }
            }
            match batches.recv_timeout(pause) {
                Err(RecvTimeoutError::Disconnected) => return Err(Closed),
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(OPEN_RETRY_MAX),
                Ok(_) => unreachable!("no batch comes before the loop hears of a producer"),
            }
        }
    }

    fn try_open(&self) -> Result<(Transactions, Result<Vec<Standing>, KafkaError>), Failure> {
        let Setup { producer, timeout, stage, meters, .. } = &self.setup;
        let producer = Transactions::open(producer, *timeout, stage, meters.clone())?;
        self.pulse.beat();
        let standings = self.standings();
        Ok((producer, standings))
    }

    fn standings(&self) -> Result<Vec<Standing>, KafkaError> {
        // Without a loop nobody asks.
        let Some(consumer) = self.setup.consumer.upgrade() else { return Ok(Vec::new()) };
        let ours = consumer.assignment()?;
        let ours: Vec<i32> = ours.elements().iter().map(|e| e.partition()).collect();
        let Setup { stage, input, topic_id, .. } = &self.setup;
        let standings = committed(&consumer, stage, input, *topic_id, &ours)?;
        standings.into_iter().map(|(_, standing)| standing).collect()
    }

    /// Whether a fence can be the work of one of our own, that was given up in the middle of taking
    /// the id; each can do that once.
    fn is_forgiven(&self) -> bool {
        let fewer = |count: usize| count.checked_sub(1);
        self.setup.abandoned.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer).is_ok()
    }

    fn fenced(&self) -> Error {
        Error::Fenced { transactional_id: self.setup.transactional_id.clone() }
    }
}

/// A producer whose destruction counts as a call, too: it can take as long as a broker is away.
struct Watched<'p> {
    producer: Option<Transactions>,
    pulse: &'p Pulse,
}

impl Watched<'_> {
    fn get(&self) -> &Transactions {
        self.producer.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let _call = self.pulse.enter();
        self.producer = None;
    }
}

/// Whether the broker refuses the producer's settings or rights, which no waiting changes.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::InvalidTransactionTimeout
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    )
}
