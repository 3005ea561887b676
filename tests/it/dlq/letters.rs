//! Dead letters without a processor that left them.

use std::ops::Range;
use std::time::Duration;

use comanda_schemas::{DeadLetter, Redriven, Source, Stage, Timestamp, Topic, headers};
use rdkafka::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::harness::installation::Installation;

const LIMIT: Duration = Duration::from_secs(30);

/// The orders and dead letters of a payment processor.
pub struct Letters<'i> {
    installation: &'i Installation,
    producer: FutureProducer,
    orders: String,
    topic: String,
}

impl<'i> Letters<'i> {
    pub fn new(installation: &'i Installation) -> Self {
        let mut config = installation.parts.kafka.options().client_config("it-letters");
        config.set("partitioner", "murmur2_random").set("linger.ms", "5");
        Self {
            installation,
            producer: config.create().unwrap(),
            orders: installation.names.name(Topic::Orders),
            topic: installation.names.dead_letters(Stage::Payment),
        }
    }

    /// A record in the orders topic, its key as value.
    pub async fn order(&self, key: &str) -> Source {
        let record = FutureRecord::to(&self.orders).key(key).payload(key);
        let stored = self.producer.send(record, LIMIT).await.unwrap();
        Source { topic: self.orders.clone(), partition: stored.partition, offset: stored.offset }
    }

    /// A record in the orders topic that was given up `age` ago; where its letter stands.
    pub async fn add(&self, key: &str, age: Duration) -> String {
        let origin = self.order(key).await;
        let record = FutureRecord::to(&self.topic).key(key).payload(key);
        let record = record.headers(self.letter(&origin, age));
        let stored = self.producer.send(record, LIMIT).await.unwrap();
        format!("{}@{}", stored.partition, stored.offset)
    }

    /// Letters of these events of each of `orders` orders, with `ORDER/EVENT` as value.
    pub async fn add_many(&self, orders: usize, events: Range<usize>) {
        let (mut sent, mut letters) = (Vec::new(), Vec::new());
        for event in events {
            for order in 0..orders {
                let (key, value) = (format!("order-{order}"), format!("{order}/{event}"));
                let record = FutureRecord::to(&self.orders).key(&key).payload(&value);
                let delivery = self.producer.send_result(record).map_err(|(e, _)| e).unwrap();
                sent.push((key, value, delivery));
            }
        }
        for (key, value, delivery) in sent {
            let stored = delivery.await.unwrap().map_err(|(error, _)| error).unwrap();
            let (partition, offset) = (stored.partition, stored.offset);
            let origin = Source { topic: self.orders.clone(), partition, offset };
            let record = FutureRecord::to(&self.topic).key(&key).payload(&value);
            let record = record.headers(self.letter(&origin, Duration::ZERO));
            letters.push(self.producer.send_result(record).map_err(|(e, _)| e).unwrap());
        }
        for delivery in letters {
            delivery.await.unwrap().map_err(|(error, _)| error).unwrap();
        }
    }

    /// The note that a letter was redriven.
    pub async fn note(&self, partition: i32, letter_offset: i64) {
        let to = Source { topic: self.orders.clone(), partition: 0, offset: 0 };
        let headers = Redriven { letter_offset, to }.headers();
        let note = FutureRecord::<(), ()>::to(&self.topic).partition(partition).headers(headers);
        self.producer.send(note, LIMIT).await.unwrap();
    }

    /// Values of the redriven records, in log order within each partition.
    pub async fn redriven(&self) -> Vec<String> {
        let records = self.installation.records(&self.orders).await;
        let redriven = records.iter().filter(|record| {
            let headers = record.headers();
            headers.is_some_and(|h| headers::text(h, "comanda_redrive_count").is_some())
        });
        redriven.map(|r| String::from_utf8(r.payload().unwrap().to_vec()).unwrap()).collect()
    }

    fn letter(&self, origin: &Source, age: Duration) -> rdkafka::message::OwnedHeaders {
        let micros = i64::try_from(age.as_micros()).expect("no age of the universe");
        let time = Timestamp::from_micros(Timestamp::now().as_micros() - micros);
        DeadLetter {
            topic: &origin.topic,
            partition: origin.partition,
            offset: origin.offset,
            // A little before the record: the search for later events begins there.
            timestamp: Some(Timestamp::from_micros(time.as_micros() - 60_000_000)),
            group: &self.installation.names.group(Stage::Payment),
            error_kind: "decode",
            error_chain: "not an event",
            attempts: 1,
            first_failed_at: time,
        }
        .headers(None)
    }
}
