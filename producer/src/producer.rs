//! The producer itself.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use comanda_schemas::headers::{self, EventHeaders};
use comanda_schemas::{Encoder, Event, KafkaOptions, OrderEvent, Timestamp, TraceContext};
use metrics::{Counter, Histogram, counter, histogram};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, warn};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::answers::{Answers, Batch, Outcome, Reply};
use crate::delivery::{Context, InFlight, Pending, Stored};
use crate::gathered::{Gathered, Record};
use crate::metrics::{PUBLISH_SECONDS, PUBLISHED_TOTAL, REPLACED_TOTAL};
use crate::singles::Singles;
use crate::{Error, Options};

/// How much longer than librdkafka's own time-out a delivery report is waited for: it looks once a
/// second for requests that are too old, and once a second for records.
const REPORT_SLACK: Duration = Duration::from_secs(2);
/// Bytes of a key.
const KEY_LEN: usize = Hyphenated::LENGTH;

/// Where and when an event was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Topic it is in.
    pub topic: String,
    /// Partition it is in.
    pub partition: i32,
    /// Offset it is at.
    pub offset: i64,
    /// Timestamp that the record has in the log: when the event occurred, in whole milliseconds, or
    /// when the broker stored it, where the topic is set to LogAppendTime.
    pub timestamp: Timestamp,
}

/// Publishes events of one type; clones share one client.
pub struct Producer<E = OrderEvent> {
    inner: Arc<Inner<E>>,
}

impl<E> Clone for Producer<E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<E> {
    client: RwLock<Arc<Client>>,
    config: ClientConfig,
    encoder: Encoder<E>,
    topic: String,
    source: &'static str,
    in_flight: Arc<InFlight>,
    gathered: Arc<Gathered<Record>>,
    answers: Arc<Answers>,
    singles: Arc<Singles>,
    deadline: Duration,
    stored: Counter,
    seconds: Histogram,
}

type Client = ThreadedProducer<Context>;

impl<E: Event> Producer<E> {
    /// A producer to `topic`. `source` is the CloudEvents source of its events, e.g.
    /// `/comanda/gateway`. The broker need not be there yet.
    pub fn start(
        options: &Options,
        kafka: &KafkaOptions,
        topic: String,
        encoder: Encoder<E>,
        source: &'static str,
    ) -> KafkaResult<Self> {
        let config = options.client_config(kafka);
        let answers = Arc::<Answers>::default();
        let singles = Arc::new(Singles::beside(&config, answers.clone()));
        let context = Context::new(answers.clone(), singles.clone());
        let client = Client::from_config_and_context(&config, context)?;
        let in_flight = InFlight::new(options.max_in_flight_records, options.max_in_flight_bytes);
        Ok(Self {
            inner: Arc::new(Inner {
                client: RwLock::new(Arc::new(client)),
                config,
                encoder,
                topic,
                source,
                in_flight: Arc::new(in_flight),
                gathered: Arc::default(),
                answers,
                singles,
                deadline: Duration::from_millis(options.delivery_timeout_ms) + REPORT_SLACK,
                stored: counter!(PUBLISHED_TOTAL, "outcome" => "stored"),
                seconds: histogram!(PUBLISH_SECONDS),
            }),
        })
    }

    /// Stores one event; resolves when all in-sync replicas have it.
    ///
    /// Dropping the future does not take the event back.
    pub async fn publish(&self, event: &E, trace: &TraceContext) -> Result<Receipt, Error> {
        let began = Instant::now();
        let (reply, answer) = oneshot::channel();
        let outcome = match self.record(event, trace, Reply::One(reply)) {
            Err(error) => Err(error),
            Ok(record) => {
                self.hand_over([record]);
                match timeout(self.inner.deadline, answer).await {
                    Ok(Ok(outcome)) => outcome,
                    // The client was dropped under it, or no report came at all.
                    Ok(Err(_)) | Err(_) => Err(Error::OutcomeUnknown(None)),
                }
            }
        };
        self.end(event, outcome, began)
    }

    /// Stores several events, each with an outcome of its own, as [`Producer::publish`] does;
    /// resolves when all have theirs.
    pub async fn publish_all(&self, events: &[(&E, TraceContext)]) -> Vec<Result<Receipt, Error>> {
        if events.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        let (batch, done, replies) = Batch::new(events.len());
        let (mut records, mut refused) = (Vec::with_capacity(events.len()), Vec::new());
        for (n, ((event, trace), reply)) in events.iter().zip(replies).enumerate() {
            match self.record(event, trace, reply) {
                Ok(record) => records.push(record),
                Err(error) => refused.push((n, error)),
            }
        }
        self.hand_over(records);
        // Where that ends too early, some have no outcome.
        let _ = timeout(self.inner.deadline, done).await;
        let mut outcomes = batch.outcomes();
        outcomes.resize_with(events.len(), || None);
        for (n, error) in refused {
            outcomes[n] = Some(Err(error));
        }
        let unknown = || Err(Error::OutcomeUnknown(None));
        let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unknown));
        let ended = events.iter().zip(outcomes);
        ended.map(|((event, _), outcome)| self.end(event, outcome, began)).collect()
    }

    /// The receipt of what was stored; counts and logs.
    fn end(&self, event: &E, outcome: Outcome, began: Instant) -> Result<Receipt, Error> {
        match &outcome {
            Ok(_) => {
                self.inner.stored.increment(1);
                self.inner.seconds.record(began.elapsed());
            }
            Err(error) => {
                counter!(PUBLISHED_TOTAL, "outcome" => error.kind()).increment(1);
                warn!(
                    order_id = %event.order_id(),
                    error = headers::error_chain(error),
                    "event not published"
                );
            }
        }
        outcome.map(|stored| self.receipt(event, stored))
    }

    /// The record of an event, where there is room for it.
    fn record(&self, event: &E, trace: &TraceContext, reply: Reply) -> Result<Record, Error> {
        let value = self.inner.encoder.encode(event)?;
        let room = self.inner.in_flight.enter((KEY_LEN + value.len()) as u64)?;
        let headers = EventHeaders::new(event, self.inner.source, trace);
        let pending = Box::new(Pending { reply, room });
        Ok(Record { key: event.order_id(), value, at: event.occurred_at(), headers, pending })
    }

    /// Has records sent. They are on their way even if whoever wants them goes.
    fn hand_over(&self, records: impl IntoIterator<Item = Record>) {
        self.inner.answers.expect();
        if let Some(duty) = self.inner.gathered.add(records) {
            let producer = self.clone();
            tokio::spawn(async move { duty.fulfil(|record| producer.send(record)).await });
        }
    }

    fn send(&self, record: Record) {
        let Record { key, value, at, headers, pending } = record;
        let mut text = Uuid::encode_buffer();
        let record = BaseRecord::with_opaque_to(&self.inner.topic, pending)
            .key(&*key.as_uuid().hyphenated().encode_lower(&mut text))
            .payload(&value)
            .timestamp(at.as_millis())
            .headers(headers.to_headers());
        let client = self.client();
        let Err((error, record)) = client.send(record) else { return };
        let (error, record) = match error.rdkafka_error_code() {
            // Nothing of it was sent: the next client takes it.
            Some(RDKafkaErrorCode::Fatal) => match self.replace(client).send(record) {
                Ok(()) => return,
                Err(refused) => refused,
            },
            _ => (error, record),
        };
        let refused = self.refused(error);
        record.delivery_opaque.end(Err(refused), &self.inner.answers);
    }

    /// What it means that a client did not take a record.
    fn refused(&self, error: KafkaError) -> Error {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => {
                Error::Overloaded { records: self.inner.in_flight.records(), bytes: 0 }
            }
            Some(
                RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => Error::Unavailable(error),
            _ => Error::Rejected(error),
        }
    }

    fn receipt(&self, event: &E, stored: Stored) -> Receipt {
        Receipt {
            topic: self.inner.topic.clone(),
            partition: stored.partition,
            offset: stored.offset,
            timestamp: Timestamp::from_millis(
                stored.timestamp.unwrap_or_else(|| event.occurred_at().as_millis()),
            ),
        }
    }

    fn client(&self) -> Arc<Client> {
        self.inner.client.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// A client that failed for good takes no record any more; the next one starts a new
    /// sequence. Returns the one to go on with, which somebody else may have started already.
    fn replace(&self, failed: Arc<Client>) -> Arc<Client> {
        let mut current = self.inner.client.write().unwrap_or_else(|e| e.into_inner());
        if Arc::ptr_eq(&current, &failed) {
            let Inner { answers, singles, .. } = &*self.inner;
            let context = Context::new(answers.clone(), singles.clone());
            match Client::from_config_and_context(&self.inner.config, context) {
                Ok(client) => {
                    counter!(REPLACED_TOTAL).increment(1);
                    *current = Arc::new(client);
                    self.retire(failed);
                }
                Err(error) => error!(%error, "a failed producer could not be replaced"),
            }
        }
        current.clone()
    }

    /// Keeps a client until it has told what became of all that it has sent. On a thread of its
    /// own, since its end blocks.
    fn retire(&self, failed: Arc<Client>) {
        let patience = self.inner.deadline;
        let retiring = move || {
            if let Err(error) = failed.flush(patience) {
                warn!(%error, "a failed producer ends before all its answers have come");
            }
        };
        let thread = std::thread::Builder::new().name("failed-producer".into());
        if let Err(error) = thread.spawn(retiring) {
            error!(%error, "a failed producer is cut off from its answers");
        }
    }

    /// Waits until every event in flight has its answer, at most `wait`; whether it came to that.
    pub async fn drain(&self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.inner.in_flight.empty()).await.is_ok()
    }
}
