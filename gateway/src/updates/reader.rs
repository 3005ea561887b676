//! The thread of the shared consumer.
//!
//! It begins where the order store stands, not at the end of the topics: what it then delivers and
//! what the store has overlap, whatever the store still has to read. Offsets of the store would
//! never reach the end of a partition whose last record is a transaction's marker.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use comanda_schemas::headers::error_chain;
use comanda_schemas::scan::{is_passing, partitions, reader_config};
use comanda_schemas::{
    ClientLog, Event, KafkaOptions, NotificationEvent, OrderEvent, OrderId, PaymentEvent,
    PaymentReport, ReadError, Registry, Topic, TopicNames,
};
use comanda_store::{AnyEvent, Position, Store};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::hub::{Hub, Start, interrupted, shutting_down};
use super::{Cursor, Live};
use crate::failure::Failure;

/// Limit of one question to the broker.
const ASK: Duration = Duration::from_secs(5);
/// How long to wait for a record, and how often to look whether somebody still listens.
const LOOK: Duration = Duration::from_millis(100);
/// Pause before a schema is asked for again.
const REGISTRY_RETRY: Duration = Duration::from_millis(500);

/// What a consumer is made from.
pub(super) struct Parts {
    pub kafka: KafkaOptions,
    pub names: TopicNames,
    pub registry: Registry,
    pub store: Store,
}

/// Reads until nobody listens any more; a failure where it is over for another reason.
pub(super) fn run(
    hub: &Hub,
    run: u64,
    started: &watch::Sender<Option<Result<Start, Failure>>>,
    runtime: &Handle,
) -> Result<(), Failure> {
    let parts = hub.parts();
    let positions = runtime.block_on(parts.store.positions())?;
    let (consumer, start) = open(parts, &positions).map_err(|error| lost(&error))?;
    info!("order updates are read");
    hub.started(run, &start);
    started.send_replace(Some(Ok(start)));
    let reading = Reading { hub, run, runtime, topics: topics(&parts.names) };
    reading.read(&consumer)?;
    info!("order updates are not read any more, nobody listens");
    Ok(())
}

fn topics(names: &TopicNames) -> HashMap<String, Topic> {
    Topic::ALL.into_iter().map(|topic| (names.name(topic), topic)).collect()
}

/// A consumer of all partitions of all topics, and where it stands.
fn open(parts: &Parts, positions: &[Position]) -> KafkaResult<(BaseConsumer<ClientLog>, Start)> {
    let group = format!("{}comanda-gateway", parts.names.prefix);
    let mut config = reader_config(&parts.kafka, "gateway-updates", &group);
    config.set("isolation.level", "read_committed").set("queued.max.messages.kbytes", "16384");
    let consumer: BaseConsumer<ClientLog> = config.create_with_context(ClientLog)?;
    let mut list = TopicPartitionList::new();
    let (mut next, mut ends) = (Cursor::default(), Cursor::default());
    for (name, topic) in topics(&parts.names) {
        for partition in partitions(&consumer, &name, ASK)? {
            let (low, high) = consumer.fetch_watermarks(&name, partition, ASK)?;
            let position = positions
                .iter()
                .find(|p| p.topic == name && p.partition == partition)
                .map_or(low, |p| p.next_offset);
            // A topic that ends before what the store has read of it was created anew.
            let begin = if position > high { low } else { position.max(low) };
            list.add_partition_offset(&name, partition, Offset::Offset(begin))?;
            next.advance(topic, partition, begin);
            ends.advance(topic, partition, high);
        }
    }
    consumer.assign(&list)?;
    Ok((consumer, Start { begin: next.clone(), next, ends }))
}

struct Reading<'a> {
    hub: &'a Hub,
    run: u64,
    runtime: &'a Handle,
    topics: HashMap<String, Topic>,
}

impl Reading<'_> {
    fn read(&self, consumer: &BaseConsumer<ClientLog>) -> Result<(), Failure> {
        let mut look_at = Instant::now();
        loop {
            if Instant::now() >= look_at {
                if self.hub.shutdown.is_cancelled() {
                    return Err(shutting_down());
                }
                if self.hub.is_over(self.run) {
                    return Ok(());
                }
                look_at = Instant::now() + LOOK;
            }
            match consumer.poll(LOOK) {
                None => {}
                Some(Ok(record)) => self.take_or_skip(&record)?,
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(lost(&error)),
            }
        }
    }

    /// Takes a record. One that makes it panic is left out: met again, it would end the updates of
    /// all subscribers again.
    fn take_or_skip(&self, record: &BorrowedMessage<'_>) -> Result<(), Failure> {
        catch_unwind(AssertUnwindSafe(|| self.take(record))).unwrap_or_else(|_| {
            let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
            error!(topic, partition, offset, "a record made the reader of updates panic, skipped");
            Ok(())
        })
    }

    fn take(&self, record: &BorrowedMessage<'_>) -> Result<(), Failure> {
        let Some(topic) = self.topics.get(record.topic()).copied() else { return Ok(()) };
        let at = (topic, record.partition(), record.offset());
        let key = record.key().and_then(|key| std::str::from_utf8(key).ok());
        let order: Option<OrderId> = key.and_then(|key| key.parse().ok());
        if !self.hub.wants(self.run, at, order) {
            return Ok(());
        }
        let value = record.payload().unwrap_or_default();
        let event = match topic {
            Topic::Orders => self.decode::<OrderEvent>(value, at)?.map(AnyEvent::Order),
            Topic::Payments => self.decode::<PaymentEvent>(value, at)?.map(AnyEvent::Payment),
            Topic::Notifications => {
                self.decode::<NotificationEvent>(value, at)?.map(AnyEvent::Notification)
            }
            Topic::PaymentReports => self.decode::<PaymentReport>(value, at)?.map(AnyEvent::Report),
        };
        let (topic, partition, offset) = at;
        let live = event.map(|event| Live { topic, partition, offset, event });
        let owner = live.as_ref().and_then(|live| self.owner(&live.event));
        self.hub.deliver(self.run, at, live, owner.as_deref());
        Ok(())
    }

    /// Whose order it is, where that is of interest and known.
    fn owner(&self, event: &AnyEvent) -> Option<Arc<str>> {
        if !self.hub.has_customers() {
            return None;
        }
        // Where the store does not answer, those who listen find out, and are told why.
        self.runtime.block_on(self.hub.owners.of(event)).ok().flatten()
    }

    /// The event of a record; `None` where it will never decode. A registry that is away is waited
    /// for: leaving the record out would be a gap.
    fn decode<E: Event>(
        &self,
        value: &[u8],
        (topic, partition, offset): (Topic, i32, i64),
    ) -> Result<Option<E>, Failure> {
        loop {
            let error = match self.runtime.block_on(self.hub.parts().registry.read::<E>(value)) {
                Ok(event) => return Ok(Some(event)),
                Err(error) => error,
            };
            let cause = error_chain(&error);
            warn!(
                ?topic,
                partition,
                offset,
                error = cause,
                "a record of the updates does not read"
            );
            match error {
                ReadError::Decode(_) => return Ok(None),
                ReadError::Registry(error) if !error.is_retriable() => return Ok(None),
                ReadError::Registry(_) => {}
            }
            let stopped = self.hub.shutdown.cancelled();
            let pause = async { tokio::time::timeout(REGISTRY_RETRY, stopped).await };
            if self.runtime.block_on(pause).is_ok() {
                return Err(shutting_down());
            }
        }
    }
}

fn lost(error: &KafkaError) -> Failure {
    warn!(error = error_chain(error), "order updates can't be read");
    interrupted()
}
