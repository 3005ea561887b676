//! The transactional producer: results and offsets in one transaction.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use comanda_kafka::{ClientLog, TopicId, send_when_there_is_room};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tracing::warn;

use super::ledger;
use super::metrics::Meters;
use super::offset_metadata::with_topic;
use super::output::{Finished, Output};

/// Pause between two looks at what the broker has not taken yet. Not a poll: the producer has a
/// thread for that, and the binding spins through the last millisecond of any poll's time-out.
const DELIVERY: Duration = Duration::from_micros(200);

/// What a failed transaction leaves behind.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was aborted, or never began; the same results can be tried again with this producer.
    Aborted(KafkaError),
    /// The producer is of no use any more, and the transaction may have been committed or not:
    /// take a new one, then ask the broker for the committed offsets.
    ProducerLost(KafkaError),
    /// Another producer with the same transactional id took over.
    Fenced(KafkaError),
}

/// What goes into one transaction.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// Results and offsets.
    pub finished: ledger::Batch<Finished>,
    /// Notes on records that stay open.
    pub notes: Vec<Output>,
}

/// A producer that has the transactional id to itself.
pub(crate) struct Transactions {
    producer: ThreadedProducer<ClientLog>,
    stage: &'static str,
    /// After how long the broker ends a transaction by itself.
    timeout: Duration,
    meters: Arc<Meters>,
}

impl Transactions {
    /// Takes over the transactional id: whatever an earlier producer left open is finished or
    /// aborted by the broker before this returns.
    pub fn open(
        config: &ClientConfig,
        timeout: Duration,
        stage: &'static str,
        meters: Arc<Meters>,
    ) -> Result<Self, Failure> {
        let producer = ThreadedProducer::from_config_and_context(config, ClientLog)
            .map_err(Failure::ProducerLost)?;
        let opened = Self { producer, stage, timeout, meters };
        opened.producer.init_transactions(timeout).map_err(|error| opened.classify(error))?;
        Ok(opened)
    }

    /// Writes the results and notes of `batch` and commits its offsets, all or nothing.
    pub fn commit(
        &self,
        batch: &Batch,
        (input, topic_id): (&str, Option<TopicId>),
        group: &ConsumerGroupMetadata,
    ) -> Result<(), Failure> {
        let (began, began_at) = (Instant::now(), SystemTime::now());
        match self.try_commit(batch, (input, topic_id), group) {
            Ok(()) => {
                self.meters.transaction_seconds.record(began.elapsed());
                self.meters.transaction_records.record(batch.finished.records as f64);
                Ok(())
            }
            Err(error) => Err(match self.abort(error) {
                // The broker shuts out the producer of a transaction that it timed out as it
                // does one that another took the place of; only the latter can happen early.
                // The monotonic clock stands still while the machine is suspended.
                Failure::Fenced(error)
                    if began.elapsed().max(began_at.elapsed().unwrap_or_default())
                        >= self.timeout =>
                {
                    Failure::ProducerLost(error)
                }
                failure => failure,
            }),
        }
    }

    fn try_commit(
        &self,
        batch: &Batch,
        (input, topic_id): (&str, Option<TopicId>),
        group: &ConsumerGroupMetadata,
    ) -> Result<(), KafkaError> {
        let commits = &batch.finished.commits;
        self.producer.begin_transaction()?;
        for note in &batch.notes {
            self.send(note)?;
        }
        for (_, Finished { outputs, dead_letter, .. }) in commits.iter().flat_map(|c| &c.results) {
            for output in dead_letter.as_deref().into_iter().chain(outputs) {
                self.send(output)?;
            }
        }
        // A commit that finds nothing left to deliver is spared librdkafka's flush, which the
        // binding polls in steps of 100 ms.
        while self.producer.in_flight_count() > 0 {
            std::thread::sleep(DELIVERY);
        }
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for commit in commits {
            let mut element = list.add_partition(input, commit.partition);
            element.set_offset(Offset::Offset(commit.next))?;
            let metadata = with_topic(&commit.metadata, topic_id);
            if !metadata.is_empty() {
                element.set_metadata(&metadata);
            }
        }
        // The generation in the metadata fences a batch of partitions that went in the meantime.
        if !commits.is_empty() {
            self.retry(|| self.producer.send_offsets_to_transaction(&list, group, self.timeout))?;
        }
        // Any finite time-out can leave the client in doubt about the state.
        self.retry(|| self.producer.commit_transaction(Timeout::Never))
    }

    fn send(&self, output: &Output) -> Result<(), KafkaError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&output.topic);
        if !output.headers.is_empty() {
            record = record.headers(output.headers.to_native());
        }
        record.key = output.key.as_deref();
        record.payload = output.value.as_deref();
        send_when_there_is_room(&self.producer, record)
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
            self.meters.aborts.increment(1);
            let aborted = self.retry(|| self.producer.abort_transaction(Timeout::Never));
            if let Err(error) = aborted {
                return match self.classify(error) {
                    Failure::Fenced(error) => Failure::Fenced(error),
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
            return Failure::Fenced(error);
        }
        let abortable = match &error {
            KafkaError::Transaction(error) => error.txn_requires_abort() && !error.is_fatal(),
            KafkaError::MessageProduction(_) => true,
            _ => false,
        };
        if abortable && fatal.is_none() {
            Failure::Aborted(error)
        } else {
            Failure::ProducerLost(error)
        }
    }
}
