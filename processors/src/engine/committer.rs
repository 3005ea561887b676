//! The committer: a thread that has the transactional producer, since its calls block for as long
//! as the broker is away, and the loop must go on meanwhile.
//!
//! It commits one [`Batch`] at a time and reports what came of it. A producer that is lost is
//! replaced, with a pause between two tries; then the broker is asked what is committed, because
//! the transaction of its predecessor may have gone through after all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::warn;

use super::Error;
use super::metrics::Meters;
use super::standing::{Standing, committed};
use super::transaction::{Batch, Failure, Names, Transactions};
use crate::group::Context;

/// Pause after a producer could not be opened, doubled up to the maximum.
const OPEN_RETRY: Duration = Duration::from_millis(100);
const OPEN_RETRY_MAX: Duration = Duration::from_secs(5);

/// What the committer tells the loop.
#[derive(Debug)]
pub(super) enum Report {
    /// Batches are taken from now on. This is where the group stands, to be heeded before the
    /// first: results that are committed already must not be written again.
    Opened(Vec<Standing>),
    /// The batch is committed.
    Committed(Batch),
    /// Nothing of the batch is committed; it can be tried again.
    Aborted(Batch),
    /// Whether the batch is committed will be known with [`Report::Opened`].
    InDoubt(Batch),
    /// It can't go on; [`Report::Ended`] follows.
    Failed(Error),
    /// The last word: it has let go of producer and consumer.
    Ended,
}

/// What the loop gives it: a batch, and the group's metadata of the moment at which it was taken.
pub(super) type Work = (Batch, ConsumerGroupMetadata);

/// What a committer needs.
pub(super) struct Committer<F> {
    pub stage: &'static str,
    pub names: Names,
    pub transactional_id: String,
    /// Configuration of the producer.
    pub producer: ClientConfig,
    /// Transaction time-out in that configuration.
    pub timeout: Duration,
    pub consumer: Arc<BaseConsumer<Context>>,
    pub meters: Arc<Meters>,
    /// Takes the reports.
    pub report: F,
}

/// Nobody sends batches any more.
struct Closed;

impl<F: Fn(Report) + Send + 'static> Committer<F> {
    /// Starts the thread; it ends when the sender is dropped.
    pub fn spawn(self) -> Result<SyncSender<Work>, Error> {
        let (sender, batches) = sync_channel(1);
        let thread = std::thread::Builder::new().name(format!("commit-{}", self.stage));
        let run = move || {
            // A loop that waits for a report would wait for ever.
            let ran = catch_unwind(AssertUnwindSafe(|| self.run(&batches)));
            if ran.is_err() {
                (self.report)(Report::Failed(Error::Thread));
            }
            let Self { consumer, report, .. } = self;
            drop(consumer);
            report(Report::Ended);
        };
        thread.spawn(run).map_err(|_| Error::Thread)?;
        Ok(sender)
    }

    fn run(&self, batches: &Receiver<Work>) {
        loop {
            let (producer, standings) = match self.open(batches) {
                Ok(Ok(opened)) => opened,
                Ok(Err(error)) => return (self.report)(Report::Failed(error)),
                Err(Closed) => return,
            };
            (self.report)(Report::Opened(standings));
            loop {
                let Ok((batch, group)) = batches.recv() else { return };
                match producer.commit(&batch, &self.names, &group) {
                    Ok(()) => (self.report)(Report::Committed(batch)),
                    Err(Failure::Aborted(error)) => {
                        warn!(stage = self.stage, %error, "transaction aborted; results are kept");
                        (self.report)(Report::Aborted(batch));
                    }
                    Err(Failure::Fenced(_)) => {
                        return (self.report)(Report::Failed(self.fenced()));
                    }
                    Err(Failure::ProducerLost(error)) => {
                        warn!(stage = self.stage, %error, "transactional producer is replaced");
                        self.meters.producers_replaced.increment(1);
                        (self.report)(Report::InDoubt(batch));
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
        let mut pause = OPEN_RETRY;
        loop {
            let (stage, meters) = (self.stage, self.meters.clone());
            match Transactions::open(&self.producer, self.timeout, stage, meters) {
                Ok(producer) => match self.standings() {
                    Ok(standings) => return Ok(Ok((producer, standings))),
                    Err(error) => {
                        warn!(stage, %error, "committed offsets are not known yet");
                    }
                },
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

    fn standings(&self) -> Result<Vec<Standing>, KafkaError> {
        let ours = self.consumer.assignment()?;
        let ours: Vec<i32> = ours.elements().iter().map(|e| e.partition()).collect();
        committed(&self.consumer, self.stage, &self.names.input, &ours)
    }

    fn fenced(&self) -> Error {
        Error::Fenced { transactional_id: self.transactional_id.clone() }
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
