//! What the engine is compared with: consume, decode, encode, produce, commit, and nothing else.
//!
//! One thread reads, decodes and encodes; the other one writes and commits what the first has
//! gathered, at most [`BATCH`] orders a transaction. So each has work while the other waits, and
//! a transaction begins as soon as there is something to put into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use comanda_schemas::{
    ClientLog, Encoder, KafkaOptions, OrderEvent, PaymentEvent, Registry, Source, Stage, Topic,
    TopicNames, TraceContext, headers, send_when_there_is_room,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::case::{Parts, Shown, Work, result};

/// Orders in one transaction at the most.
const BATCH: usize = 5_000;
/// Limit of one call to the broker.
const CALL: Duration = Duration::from_secs(30);
/// How long to wait for orders when there are none.
const IDLE: Duration = Duration::from_millis(100);
/// How long to wait for more while a transaction runs.
const MORE: Duration = Duration::from_millis(1);
/// Pause between two looks at what is not delivered yet.
const DELIVERY: Duration = Duration::from_micros(200);

/// Starts the loop on threads of its own.
pub fn start(parts: &Parts, headers: bool, linger_ms: u32) -> Result<Work> {
    let (kafka, names) = (&parts.settings.kafka, &parts.spec.names);
    let group = names.group(Stage::Payment);
    let consumer = consumer(kafka, &group)?;
    consumer.subscribe(&[&names.name(Topic::Orders)]).context("subscribing")?;
    let shown = Shown::default();
    let raw = Raw {
        consumer: Arc::new(consumer),
        registry: parts.registry.clone(),
        encoder: Encoder::new(parts.payments_id),
        headers,
        shown: shown.clone(),
        stop: parts.stop.clone(),
    };
    let writer = Writer {
        producer: producer(kafka, &group, &parts.settings.engine.compression, linger_ms)?,
        consumer: raw.consumer.clone(),
        names: names.clone(),
        shown: shown.clone(),
    };
    let ended = tokio::task::spawn_blocking(move || {
        let (sender, batches) = sync_channel(0);
        let writing = std::thread::spawn(move || writer.run(&batches));
        let read = raw.run(&sender);
        drop(sender);
        let written = writing.join().unwrap_or_else(|_| anyhow::bail!("the writer panicked"));
        // Its failure is what ended the reader.
        written.and(read)
    });
    Ok(shown.work(ended))
}

fn consumer(kafka: &KafkaOptions, group: &str) -> Result<BaseConsumer<ClientLog>> {
    let mut config = kafka.client_config(group);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "32768");
    config.create_with_context(ClientLog).context("creating the consumer")
}

fn producer(
    kafka: &KafkaOptions,
    group: &str,
    compression: &str,
    linger_ms: u32,
) -> Result<ThreadedProducer<ClientLog>> {
    let mut config = kafka.client_config(group);
    config
        .set("transactional.id", group)
        .set("transaction.timeout.ms", "15000")
        .set("message.timeout.ms", "11250")
        .set("partitioner", "murmur2_random")
        .set("compression.type", compression)
        .set("linger.ms", linger_ms.to_string())
        .set("delivery.report.only.error", "true")
        .set("retry.backoff.ms", "20");
    let producer = config.create_with_context(ClientLog).context("creating the producer")?;
    let producer: ThreadedProducer<ClientLog> = producer;
    producer.init_transactions(CALL).context("taking the transactional id")?;
    Ok(producer)
}

/// Results that are ready to be written, and the offsets after their orders.
#[derive(Default)]
struct Batch {
    results: Vec<(Vec<u8>, Vec<u8>, Option<OwnedHeaders>)>,
    next: BTreeMap<i32, i64>,
}

/// The reading side.
struct Raw {
    consumer: Arc<BaseConsumer<ClientLog>>,
    registry: Registry,
    encoder: Encoder<PaymentEvent>,
    headers: bool,
    shown: Shown,
    stop: CancellationToken,
}

impl Raw {
    fn run(&self, batches: &SyncSender<Batch>) -> Result<()> {
        let mut batch = Batch::default();
        let mut wait = IDLE;
        while !self.stop.is_cancelled() {
            let record = self.consumer.poll(wait).transpose().context("reading")?;
            wait = Duration::ZERO;
            match record {
                Some(record) => {
                    self.handle(&record, &mut batch)?;
                    if batch.results.len() == BATCH
                        && batches.send(std::mem::take(&mut batch)).is_err()
                    {
                        break;
                    }
                }
                None if batch.results.is_empty() => {
                    if self.consumer.assignment()?.count() > 0 {
                        self.shown.set_ready();
                    }
                    wait = IDLE;
                }
                None => match batches.try_send(std::mem::take(&mut batch)) {
                    Ok(()) => wait = IDLE,
                    Err(TrySendError::Full(back)) => {
                        batch = back;
                        wait = MORE;
                    }
                    Err(TrySendError::Disconnected(_)) => break,
                },
            }
        }
        Ok(())
    }

    fn handle(&self, record: &BorrowedMessage<'_>, batch: &mut Batch) -> Result<()> {
        self.shown.set_ready();
        let event = self.registry.read_known::<OrderEvent>(record.payload().unwrap_or_default());
        let event = event.context("an order of an unknown schema")??;
        let (partition, offset) = (record.partition(), record.offset());
        let source = Source { topic: record.topic().to_owned(), partition, offset };
        let result = result(event, source);
        let value = self.encoder.encode(&result)?;
        let headers = self.headers.then(|| {
            let trace = TraceContext::continue_from(record.headers());
            headers::event_headers(&result, "/comanda/payment", &trace)
        });
        batch.results.push((record.key().unwrap_or_default().to_vec(), value, headers));
        batch.next.insert(partition, offset + 1);
        Ok(())
    }
}

/// The writing side.
struct Writer {
    producer: ThreadedProducer<ClientLog>,
    consumer: Arc<BaseConsumer<ClientLog>>,
    names: TopicNames,
    shown: Shown,
}

impl Writer {
    fn run(&self, batches: &Receiver<Batch>) -> Result<()> {
        let (orders, payments) = (self.names.name(Topic::Orders), self.names.name(Topic::Payments));
        for batch in batches {
            let count = batch.results.len() as u64;
            self.producer.begin_transaction().context("beginning a transaction")?;
            for (key, value, headers) in batch.results {
                self.send(&payments, &key, &value, headers)?;
            }
            // The binding would wait for them in steps of 100 ms.
            while self.producer.in_flight_count() > 0 {
                std::thread::sleep(DELIVERY);
            }
            let mut offsets = TopicPartitionList::new();
            for (partition, next) in batch.next {
                offsets.add_partition_offset(&orders, partition, Offset::Offset(next))?;
            }
            let group = self.consumer.group_metadata().context("not in the group any more")?;
            self.producer
                .send_offsets_to_transaction(&offsets, &group, CALL)
                .context("sending the offsets")?;
            self.producer.commit_transaction(Timeout::Never).context("committing")?;
            self.shown.add(count);
        }
        Ok(())
    }

    fn send(
        &self,
        topic: &str,
        key: &[u8],
        value: &[u8],
        headers: Option<OwnedHeaders>,
    ) -> Result<()> {
        let mut record = BaseRecord::to(topic).key(key).payload(value);
        record.headers = headers;
        send_when_there_is_room(&self.producer, record).context("writing a result")
    }
}
