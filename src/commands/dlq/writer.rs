//! Putting records back, each in one transaction with the note that it was done.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use comanda_processors::engine::MAX_MESSAGE_BYTES;
use comanda_schemas::{ClientLog, Redriven, Source, Stage};
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{OwnedHeaders, OwnedMessage};
use rdkafka::producer::future_producer::{Delivery, DeliveryFuture};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use tokio::runtime::Handle;
use tracing::warn;

use super::Desk;
use super::letter::Letter;

/// Limit of one try at the calls that may be repeated.
const CALL: Duration = Duration::from_secs(30);

/// The transactional producer of one stage's redrives.
///
/// All of them share one transactional id: opening a writer ends what an earlier one left open and
/// shuts out one that is still at work. What is read of the dead-letter topic after that tells for
/// sure which letters were redriven.
pub struct Writer {
    producer: FutureProducer<ClientLog>,
    runtime: Handle,
    input: String,
    dead_letters: String,
}

impl Writer {
    /// Takes over the transactional id.
    pub fn open(desk: &Desk, stage: Stage) -> Result<Self> {
        let (kafka, engine) = (&desk.settings.kafka, &desk.settings.engine);
        let id = format!("{}comanda-redrive-{}", desk.names.prefix, stage.as_str());
        let mut config = kafka.client_config("redrive");
        config
            .set("transactional.id", &id)
            .set("transaction.timeout.ms", engine.transaction_timeout_ms.to_string())
            .set("message.timeout.ms", (engine.transaction_timeout_ms * 3 / 4).to_string())
            .set("compression.type", &engine.compression)
            .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
            .set("retry.backoff.ms", "20");
        let producer: FutureProducer<ClientLog> =
            config.create_with_context(ClientLog).context("creating the producer")?;
        producer
            .init_transactions(CALL)
            .with_context(|| format!("Kafka at {} does not give {id} to us", kafka.brokers))?;
        Ok(Self {
            producer,
            runtime: desk.runtime.clone(),
            input: desk.names.name(stage.input()),
            dead_letters: desk.names.dead_letters(stage),
        })
    }

    /// Puts the records of `batch` back and notes it, all or nothing. After an error it may be
    /// either; the next redrive finds out.
    pub fn write(&self, batch: &[(Letter, OwnedMessage)]) -> Result<()> {
        self.try_write(batch).map_err(|error| {
            let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
            let fenced = fatal.or(error.code()).is_some_and(is_fenced);
            if let Err(error) = self.retry(|| self.producer.abort_transaction(CALL)) {
                warn!(%error, "the transaction is left to the broker, which aborts it");
            }
            match fenced {
                true => anyhow!("another `dlq redrive` has taken over and goes on"),
                false => error.0,
            }
        })
    }

    fn try_write(&self, batch: &[(Letter, OwnedMessage)]) -> Result<(), Failure> {
        self.producer.begin_transaction()?;
        let mut records = Vec::with_capacity(batch.len());
        for (letter, record) in batch {
            let headers = letter.next_redrive(&self.dead_letters).headers(record.headers());
            // Where it stood, whatever partitioner its first writer used.
            let to = (self.input.as_str(), letter.origin.partition);
            records.push(self.send(to, record.key(), record.payload(), headers)?);
        }
        let mut notes = Vec::with_capacity(batch.len());
        for ((letter, _), record) in batch.iter().zip(records) {
            let delivered = self.delivered(record);
            let Delivery { partition, offset, .. } =
                delivered.map_err(|error| Failure::from(error).of(letter))?;
            let to = Source { topic: self.input.clone(), partition, offset };
            let headers = Redriven { letter_offset: letter.at.offset, to }.headers();
            let beside = (self.dead_letters.as_str(), letter.at.partition);
            notes.push(self.send(beside, letter.key.as_deref(), None, headers)?);
        }
        for note in notes {
            self.delivered(note)?;
        }
        self.retry(|| self.producer.commit_transaction(Timeout::Never))?;
        Ok(())
    }

    fn send(
        &self,
        (topic, partition): (&str, i32),
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: OwnedHeaders,
    ) -> Result<DeliveryFuture, KafkaError> {
        let mut record = FutureRecord::to(topic).partition(partition).headers(headers);
        (record.key, record.payload) = (key, payload);
        self.producer.send_result(record).map_err(|(error, _)| error)
    }

    fn delivered(&self, sent: DeliveryFuture) -> Result<Delivery, KafkaError> {
        let delivered = self.runtime.block_on(sent).map_err(|_| KafkaError::Canceled)?;
        delivered.map_err(|(error, _)| error)
    }

    /// Repeats a call, with the same arguments, while librdkafka says that this is the thing to do.
    fn retry(&self, call: impl Fn() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
        loop {
            match call() {
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort() => {
                }
                done => return done,
            }
        }
    }
}

/// An error on the way to a commit.
struct Failure(anyhow::Error);

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self(anyhow!(error).context("writing to Kafka"))
    }
}

impl Failure {
    fn of(self, letter: &Letter) -> Self {
        Self(self.0.context(format!("letter {}", letter.at)))
    }

    fn code(&self) -> Option<RDKafkaErrorCode> {
        self.0.downcast_ref::<KafkaError>()?.rdkafka_error_code()
    }
}

fn is_fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}
