//! The thread that reads the orders topic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use comanda_schemas::headers::{self, error_chain};
use comanda_schemas::scan::{is_passing, partitions, reader_config};
use comanda_schemas::{ClientLog, OrderId, Timestamp, Topic, topic_ids};
use comanda_store::Position;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::Parts;
use super::marks::Marks;
use crate::recent::{Recent, Sighting};

/// Limit of one question to the broker.
const ASK: Duration = Duration::from_secs(5);
/// How long to wait for a record before looking whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// Pause before it begins again after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// CloudEvents type of the events that place orders.
const PLACED: &str = "comanda.order.placed";

struct Tail {
    parts: Parts,
    recent: Arc<Recent>,
    marks: Arc<Marks>,
    max_back: i64,
    runtime: Handle,
    stop: CancellationToken,
}

pub(super) fn start(
    parts: Parts,
    recent: Arc<Recent>,
    marks: Arc<Marks>,
    max_back: i64,
    stop: CancellationToken,
) {
    let tail = Tail { parts, recent, marks, max_back, runtime: Handle::current(), stop };
    let thread = std::thread::Builder::new().name("orders-log".into());
    if let Err(error) = thread.spawn(move || tail.run()) {
        error!(%error, "the thread that reads the orders topic does not start");
    }
}

impl Tail {
    fn run(&self) {
        while !self.stop.is_cancelled() {
            let reading = || self.open().and_then(|consumer| self.read(&consumer));
            let failure = match catch_unwind(AssertUnwindSafe(reading)) {
                Ok(Ok(())) => continue,
                Ok(Err(failure)) => error_chain(&failure),
                Err(_) => "it panicked".to_owned(),
            };
            warn!(error = failure, "the orders topic can't be read; trying again");
            let pause = async { tokio::time::timeout(AGAIN, self.stop.cancelled()).await };
            let _ = self.runtime.block_on(pause);
        }
    }

    /// A consumer of all partitions, where the last one stopped, or else where the store stands.
    fn open(&self) -> KafkaResult<BaseConsumer<ClientLog>> {
        let Parts { kafka, names, store } = &self.parts;
        let group = format!("{}comanda-gateway", names.prefix);
        let mut config = reader_config(kafka, "gateway-log", &group);
        config
            // An open transaction of a redrive must not hold up placements.
            .set("isolation.level", "read_uncommitted")
            // Few and large: with an answer for every record that comes in, reading would cost the
            // broker and us as much as writing. Who waits for this reader waits this much longer.
            .set("fetch.wait.max.ms", "10")
            .set("fetch.min.bytes", "65536")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.max.messages.kbytes", "16384");
        let consumer: BaseConsumer<ClientLog> = config.create_with_context(ClientLog)?;
        let positions = self.runtime.block_on(store.positions()).unwrap_or_else(|failure| {
            warn!(error = error_chain(&failure), "the order store did not answer");
            Vec::new()
        });
        let topic = names.name(Topic::Orders);
        let positions = self.of_this_topic(&consumer, &topic, positions)?;
        let mut list = TopicPartitionList::new();
        for partition in partitions(&consumer, &topic, ASK)? {
            let (low, high) = consumer.fetch_watermarks(&topic, partition, ASK)?;
            let is_of = |p: &&Position| p.topic == topic && p.partition == partition;
            let applied = positions.iter().find(is_of).map_or(low, |p| p.next_offset);
            let begin = applied.max(high.saturating_sub(self.max_back)).clamp(low, high);
            // A topic that ends before what was read of it was created anew.
            let next = self.marks.begin(partition, begin).min(high);
            list.add_partition_offset(&topic, partition, Offset::Offset(next))?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }

    /// The store's positions, without those of another topic of this name: one that was deleted.
    fn of_this_topic(
        &self,
        consumer: &BaseConsumer<ClientLog>,
        topic: &str,
        positions: Vec<Position>,
    ) -> KafkaResult<Vec<Position>> {
        let now = topic_ids(consumer.client(), &[topic.to_owned()], ASK)?;
        let known = self.runtime.block_on(self.parts.store.topic_ids()).unwrap_or_default();
        match (known.get(topic), now.get(topic)) {
            (Some(known), Some(now)) if known != now => Ok(Vec::new()),
            _ => Ok(positions),
        }
    }

    fn read(&self, consumer: &BaseConsumer<ClientLog>) -> KafkaResult<()> {
        while !self.stop.is_cancelled() {
            match consumer.poll(LOOK) {
                None => {}
                Some(Ok(record)) => self.take_or_skip(&record),
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes a record. One that makes it panic is left out: met again, it would stop the reading of
    /// its partition for ever.
    fn take_or_skip(&self, record: &BorrowedMessage<'_>) {
        let (partition, offset) = (record.partition(), record.offset());
        if catch_unwind(AssertUnwindSafe(|| self.take(record))).is_err() {
            error!(
                partition,
                offset, "a record of the orders topic made the reader panic, skipped"
            );
            self.marks.read(partition, offset);
        }
    }

    /// Notes the record before the mark passes it: who waits for the mark then looks for it.
    fn take(&self, record: &BorrowedMessage<'_>) {
        if let (Some(order), Some(value)) = (keyed(record), record.payload()) {
            let sighting = Sighting {
                partition: record.partition(),
                offset: record.offset(),
                timestamp: Timestamp::from_millis(record.timestamp().to_millis().unwrap_or(0)),
                value: value.into(),
            };
            self.recent.saw(order, sighting);
        }
        self.marks.read(record.partition(), record.offset());
    }
}

/// The order that a record places, where its id stands for an idempotency key.
fn keyed(record: &BorrowedMessage<'_>) -> Option<OrderId> {
    let order: OrderId = std::str::from_utf8(record.key()?).ok()?.parse().ok()?;
    let kind = record.headers().and_then(|headers| headers::text(headers, "ce_type"));
    (order.is_derived() && kind.is_none_or(|kind| kind == PLACED)).then_some(order)
}

#[cfg(test)]
mod tests {
    use comanda_schemas::{Event, OrderEventType};

    use super::*;
    use crate::samples::event;

    #[test]
    fn the_type_of_placements_is_the_events_own() {
        let order_id = OrderId::derive("c", "k");
        for r#type in OrderEventType::ALL {
            let event = event(order_id, *r#type);
            assert_eq!(event.ce_type() == PLACED, *r#type == OrderEventType::Placed);
        }
    }
}
