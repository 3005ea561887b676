//! The producer itself.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use comanda_schemas::{Encoder, Event, KafkaOptions, OrderEvent, Timestamp, TraceContext, headers};
use metrics::{Counter, Histogram, counter, histogram};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::delivery::{Context, InFlight, Pending, Room, Stored};
use crate::metrics::{PUBLISH_SECONDS, PUBLISHED_TOTAL, REPLACED_TOTAL};
use crate::{Error, Options};

/// How much longer than librdkafka's own time-out a delivery report is waited for: it looks once a
/// second for requests that are too old, and once a second for records.
const REPORT_SLACK: Duration = Duration::from_secs(2);

/// Where and when an event was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Topic it is in.
    pub topic: String,
    /// Partition it is in.
    pub partition: i32,
    /// Offset it is at.
    pub offset: i64,
    /// Timestamp that the record was sent with: when the event occurred, in whole milliseconds.
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
        let client = Client::from_config_and_context(&config, Context)?;
        let in_flight = InFlight::new(options.max_in_flight_records, options.max_in_flight_bytes);
        Ok(Self {
            inner: Arc::new(Inner {
                client: RwLock::new(Arc::new(client)),
                config,
                encoder,
                topic,
                source,
                in_flight: Arc::new(in_flight),
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
        let outcome = self.publish_inner(event, trace).await;
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
        outcome
    }

    async fn publish_inner(&self, event: &E, trace: &TraceContext) -> Result<Receipt, Error> {
        let value = self.inner.encoder.encode(event)?;
        let key = event.order_id().to_string();
        let room = self.inner.in_flight.enter((key.len() + value.len()) as u64)?;
        let headers = headers::event_headers(event, self.inner.source, trace);
        let at = event.occurred_at();
        let answer = self.send(&key, &value, at, headers, room)?;
        let stored = match tokio::time::timeout(self.inner.deadline, answer).await {
            Ok(Ok(outcome)) => outcome?,
            // The client was dropped under it, or no report came at all.
            Ok(Err(_)) | Err(_) => return Err(Error::OutcomeUnknown(None)),
        };
        Ok(self.receipt(event, stored))
    }

    fn send(
        &self,
        key: &str,
        value: &[u8],
        at: Timestamp,
        headers: rdkafka::message::OwnedHeaders,
        room: Room,
    ) -> Result<oneshot::Receiver<Result<Stored, Error>>, Error> {
        let (reply, answer) = oneshot::channel();
        let pending = Box::new(Pending { reply, _room: room });
        let record = BaseRecord::with_opaque_to(&self.inner.topic, pending)
            .key(key)
            .payload(value)
            .timestamp(at.as_millis())
            .headers(headers);
        let client = self.client();
        let Err((error, record)) = client.send(record) else { return Ok(answer) };
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::Fatal) {
            return Err(self.refused(error));
        }
        // Nothing of it was sent: the next client takes it.
        match self.replace(client).send(record) {
            Ok(()) => Ok(answer),
            Err((error, _)) => Err(self.refused(error)),
        }
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
            timestamp: Timestamp::from_millis(event.occurred_at().as_millis()),
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
            match Client::from_config_and_context(&self.inner.config, Context) {
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
