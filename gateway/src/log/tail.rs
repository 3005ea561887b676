//! The thread that reads the orders topic.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use comanda_schemas::headers::{self, error_chain};
use comanda_schemas::scan::{is_passing, partitions, reader_config};
use comanda_schemas::starts::{Extent, PartitionAsker};
use comanda_schemas::{ClientLog, OrderId, Timestamp, Topic, TopicId};
use metrics::gauge;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::Parts;
use super::marks::Marks;
use crate::metrics::LOG_PARTITIONS_WAITING;
use crate::recent::{Recent, Sighting};

/// Limit of one question to the broker.
const ASK: Duration = Duration::from_secs(5);
/// How long to wait for a record before looking whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// The same while partitions wait to be started.
const START_LOOK: Duration = Duration::from_millis(5);
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

/// A consumer and its partitions.
struct Opened {
    topic: String,
    consumer: Arc<BaseConsumer<ClientLog>>,
    asker: PartitionAsker,
    /// Where the store stands in each partition.
    positions: HashMap<i32, i64>,
    /// Which topic the store was written from.
    known: Option<TopicId>,
    /// Partitions that wait to be started.
    waiting: usize,
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
            let reading = || self.open().and_then(|mut opened| self.read(&mut opened));
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

    /// A consumer that has no partition yet, and what it needs to start each of them.
    fn open(&self) -> KafkaResult<Opened> {
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
        let topic = names.name(Topic::Orders);
        let partitions = partitions(&consumer, &topic, ASK)?;
        let consumer = Arc::new(consumer);
        let asker = PartitionAsker::spawn(Arc::downgrade(&consumer), topic.clone(), |_, _| {})
            .map_err(|_| KafkaError::ClientCreation("no thread could be started".to_owned()))?;
        let standing = async {
            Ok::<_, comanda_store::Error>((store.positions().await?, store.topic_ids().await?))
        };
        let (positions, ids) = self.runtime.block_on(standing).unwrap_or_else(|failure| {
            warn!(error = error_chain(&failure), "the order store did not answer");
            Default::default()
        });
        let known = ids.get(&topic).copied();
        let positions = positions.into_iter().filter(|position| position.topic == topic);
        let positions = positions.map(|p| (p.partition, p.next_offset)).collect();
        for partition in &partitions {
            asker.ask(*partition, 0, Duration::ZERO);
        }
        let waiting = partitions.len();
        Ok(Opened { topic, consumer, asker, positions, known, waiting })
    }

    /// Starts the partitions of which it is known where they begin and end, where the last consumer
    /// stopped, or else where the store stands. A partition that can't be asked about waits alone.
    fn start_partitions(&self, opened: &mut Opened) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for Extent { partition, low, high, topic_id, .. } in opened.asker.answers() {
            // Offsets of a topic that was deleted say nothing of the one that has its name.
            let is_same = opened.known.is_none() || topic_id.is_none() || opened.known == topic_id;
            let position = opened.positions.get(&partition).copied().filter(|_| is_same);
            let begin = position.unwrap_or(low).max(high.saturating_sub(self.max_back));
            // A topic that ends before what was read of it was created anew.
            let next = self.marks.begin(partition, begin.clamp(low, high)).min(high);
            list.add_partition_offset(&opened.topic, partition, Offset::Offset(next))?;
        }
        if list.count() > 0 {
            opened.consumer.incremental_assign(&list)?;
            opened.waiting = opened.waiting.saturating_sub(list.count());
            gauge!(LOG_PARTITIONS_WAITING).set(opened.waiting as f64);
        }
        Ok(())
    }

    fn read(&self, opened: &mut Opened) -> KafkaResult<()> {
        gauge!(LOG_PARTITIONS_WAITING).set(opened.waiting as f64);
        while !self.stop.is_cancelled() {
            // At the start a placement may wait for each of them.
            let look = if opened.waiting > 0 { START_LOOK } else { LOOK };
            if opened.waiting > 0 {
                self.start_partitions(opened)?;
            }
            match opened.consumer.poll(look) {
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
                _room: None,
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

    use comanda_schemas::{KafkaOptions, TopicNames};
    use comanda_store::{Options, Store};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;
    use crate::log::Log;
    use crate::samples::event;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_partition_without_a_leader_holds_up_no_other() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("orders", 3, 1).unwrap();
        cluster.partition_leader("orders", 1, None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Options {
            url: format!("sqlite://{}", folder.path().join("orders.db").display()),
            max_connections: 1,
            keyed_connections: 1,
            busy_timeout_ms: 10_000,
            statement_timeout_ms: 10_000,
            auto_migrate: true,
        };
        let kafka = KafkaOptions {
            brokers: cluster.bootstrap_servers(),
            security_protocol: "plaintext".into(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password: String::new().into(),
            ssl_ca_location: String::new(),
            properties: Default::default(),
        };
        let names = TopicNames {
            prefix: String::new(),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
            payment_reports: "payment-reports".into(),
        };
        let store = Store::open(&store).await.unwrap();
        let recent = Arc::new(Recent::new(10, 1 << 20, Duration::from_secs(60)));
        let log = Log::start(Parts { kafka, names, store }, recent, 1_000);
        let begun = async |partitions: &[i32]| {
            let until = std::time::Instant::now() + Duration::from_secs(30);
            while !partitions.iter().all(|partition| log.marks.begun_at(*partition).is_some()) {
                assert!(std::time::Instant::now() < until, "{partitions:?} are not read");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        begun(&[0, 2]).await;
        assert_eq!(log.marks.begun_at(1), None);
        cluster.partition_leader("orders", 1, Some(1)).unwrap();
        begun(&[0, 1, 2]).await;
    }

    #[test]
    fn the_type_of_placements_is_the_events_own() {
        let order_id = OrderId::derive("c", "k");
        for r#type in OrderEventType::ALL {
            let event = event(order_id, *r#type);
            assert_eq!(event.ce_type() == PLACED, *r#type == OrderEventType::Placed);
        }
    }
}
