//! The order store's writer, as small as a test needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{KafkaOptions, Registry, Timestamp, Topic, TopicNames};
use comanda_store::{AnyEvent, Applied, Recorded, Store};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;

/// Applies what comes into the topics, one record at a time, until it is dropped.
pub struct Projector {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Projector {
    pub fn start(
        kafka: &KafkaOptions,
        names: &TopicNames,
        registry: &Registry,
        store: &Store,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let read = |topic: Topic| {
            let (kafka, name) = (kafka.clone(), names.name(topic));
            let (registry, store) = (registry.clone(), store.clone());
            let (stop, runtime) = (stop.clone(), Handle::current());
            thread::spawn(move || {
                let mut scan = Scan::open(&kafka, &name, From::Beginning).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if let Step::Record(record) = scan.next(Duration::from_millis(20)).unwrap() {
                        let applied = applied(topic, &record, &registry);
                        runtime.block_on(store.apply(&[applied])).unwrap();
                    }
                }
            })
        };
        let threads = Topic::ALL.map(read).into();
        Self { stop, threads }
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn applied(topic: Topic, record: &BorrowedMessage<'_>, registry: &Registry) -> Applied {
    let value = record.payload().unwrap();
    let event = match topic {
        Topic::Orders => AnyEvent::Order(registry.read_known(value).unwrap().unwrap()),
        Topic::Payments => AnyEvent::Payment(registry.read_known(value).unwrap().unwrap()),
        Topic::Notifications => {
            AnyEvent::Notification(registry.read_known(value).unwrap().unwrap())
        }
        Topic::PaymentReports => AnyEvent::Report(registry.read_known(value).unwrap().unwrap()),
    };
    let at = Recorded {
        topic: record.topic().into(),
        partition: record.partition(),
        offset: record.offset(),
        timestamp: Timestamp::from_millis(record.timestamp().to_millis().unwrap()),
    };
    Applied { at, event: Some(event) }
}
