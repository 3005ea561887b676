//! The transactional producer: results and offsets in one transaction.

use std::time::{Duration, Instant};

use comanda_schemas::{log_error, log_line};
use metrics::{counter, histogram};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tracing::warn;

use super::ledger::{Commit, Ready};
use super::metrics::{ABORTS_TOTAL, TRANSACTION_RECORDS, TRANSACTION_SECONDS};
use super::task::Write;

/// Limit of one try at the calls that may be repeated.
const CALL: Duration = Duration::from_secs(30);
/// Pause between two looks at what the broker has not taken yet. Not a poll: the producer has a
/// thread for that, and the binding spins through the last millisecond of any poll's time-out.
const DELIVERY: Duration = Duration::from_micros(200);

/// What a failed transaction leaves behind.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was aborted, or never began; the same results can be tried again with this producer.
    Aborted(KafkaError),
    /// The producer is of no use any more, and the transaction may have been committed or not:
    /// take a new one, then ask the broker for the committed offsets.
    ProducerLost(KafkaError),
    /// Another producer with the same transactional id took over.
    Fenced,
}

/// A producer that has the transactional id to itself.
pub(super) struct Committer {
    producer: ThreadedProducer<Context>,
    stage: &'static str,
}

#[derive(Clone)]
struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();
    /// A failed delivery makes the commit fail, which is where it is dealt with.
    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

impl Committer {
    /// Takes over the transactional id: whatever an earlier producer left open is finished or
    /// aborted by the broker before this returns.
    pub fn open(config: &ClientConfig, stage: &'static str) -> Result<Self, Failure> {
        let producer = ThreadedProducer::from_config_and_context(config, Context)
            .map_err(Failure::ProducerLost)?;
        let opened = Self { producer, stage };
        opened.producer.init_transactions(CALL).map_err(|error| opened.classify(error))?;
        Ok(opened)
    }

    /// Writes `writes` and commits the offsets of `ready` in `topic`, all or nothing.
    pub fn commit<'w, C: ConsumerContext>(
        &self,
        writes: impl Iterator<Item = &'w Write>,
        topic: &str,
        ready: &Ready,
        consumer: &BaseConsumer<C>,
    ) -> Result<(), Failure> {
        let (began, records) = (Instant::now(), ready.records);
        match self.try_commit(writes, topic, &ready.commits, consumer) {
            Ok(()) => {
                histogram!(TRANSACTION_SECONDS, "stage" => self.stage).record(began.elapsed());
                histogram!(TRANSACTION_RECORDS, "stage" => self.stage).record(records as f64);
                Ok(())
            }
            Err(error) => Err(self.abort(error)),
        }
    }

    fn try_commit<'w, C: ConsumerContext>(
        &self,
        writes: impl Iterator<Item = &'w Write>,
        topic: &str,
        commits: &[Commit],
        consumer: &BaseConsumer<C>,
    ) -> Result<(), KafkaError> {
        self.producer.begin_transaction()?;
        for write in writes {
            self.send(write)?;
        }
        // A commit that finds nothing left to deliver is spared librdkafka's flush, which the
        // binding polls in steps of 100 ms.
        while self.producer.in_flight_count() > 0 {
            std::thread::sleep(DELIVERY);
        }
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for commit in commits {
            let mut element = list.add_partition(topic, commit.partition);
            element.set_offset(Offset::Offset(commit.next))?;
            if !commit.metadata.is_empty() {
                element.set_metadata(&commit.metadata);
            }
        }
        // Afresh each time: the generation in it is what fences a process that lost its
        // partitions without noticing.
        let Some(group) = consumer.group_metadata() else {
            return Err(KafkaError::Canceled);
        };
        self.retry(|| self.producer.send_offsets_to_transaction(&list, &group, CALL))?;
        // Any finite time-out can leave the client in doubt about the state.
        self.retry(|| self.producer.commit_transaction(Timeout::Never))
    }

    fn send(&self, write: &Write) -> Result<(), KafkaError> {
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&write.topic).headers(write.headers.clone());
        record.key = write.key.as_deref();
        record.payload = write.value.as_deref();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
                {
                    std::thread::sleep(DELIVERY);
                    record = back;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Repeats a call, with the same arguments, while librdkafka says that this is the thing to do.
    fn retry(&self, call: impl Fn() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
        loop {
            match call() {
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort() =>
                {
                    warn!(stage = self.stage, %error, "transaction call is repeated");
                }
                done => return done,
            }
        }
    }

    fn abort(&self, error: KafkaError) -> Failure {
        let failure = self.classify(error);
        if let Failure::Aborted(_) = failure {
            counter!(ABORTS_TOTAL, "stage" => self.stage).increment(1);
            let aborted = self.retry(|| self.producer.abort_transaction(Timeout::Never));
            if let Err(error) = aborted {
                return match self.classify(error) {
                    Failure::Fenced => Failure::Fenced,
                    // An abort that fails leaves nothing to build on.
                    Failure::Aborted(error) | Failure::ProducerLost(error) => {
                        Failure::ProducerLost(error)
                    }
                };
            }
        }
        failure
    }

    /// What to do after an error; anything that is not known to be harmless loses the producer.
    fn classify(&self, error: KafkaError) -> Failure {
        use RDKafkaErrorCode as Code;
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let code = fatal.or(error.rdkafka_error_code());
        if matches!(code, Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)) {
            return Failure::Fenced;
        }
        let abortable = match &error {
            KafkaError::Transaction(error) => error.txn_requires_abort() && !error.is_fatal(),
            KafkaError::MessageProduction(_) | KafkaError::Canceled => true,
            _ => false,
        };
        if abortable && fatal.is_none() {
            Failure::Aborted(error)
        } else {
            Failure::ProducerLost(error)
        }
    }
}
