//! An in-process Kafka for demonstrations, laptops and fault injection.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};

use crate::Error;

/// librdkafka's mock cluster, as [`Broker::with_cluster`] lends it.
pub type Cluster<'client> = MockCluster<'client, DefaultProducerContext>;

type Job = Box<dyn FnOnce(&Cluster<'_>) + Send>;

const FIRST_REBALANCE_MS: i32 = 100;

/// One broker, listening on a free port of 127.0.0.1 until dropped.
///
/// It speaks plaintext, knows consumer groups, idempotent and transactional producers. It keeps
/// the last 5 MB or 100,000 records of each partition, in memory. A topic that a client names and
/// nobody created comes to be with 4 partitions. Where it differs from a real broker:
///
/// - records of aborted transactions are shown to `read_committed` readers;
/// - offsets that go with a transaction are taken and forgotten (those that a consumer commits
///   are kept), so a group that commits only so starts anew after each change of its members;
/// - a group's first member joins in 100 ms, but each later change of its members takes the
///   session time-out less a second, even when one says that it leaves;
/// - there is no admin API.
///
/// The cluster's handle is bound to its thread (it holds a raw pointer), so one thread owns it
/// and the rest of the process talks to that.
pub struct Broker {
    bootstrap_servers: String,
    jobs: Option<mpsc::Sender<Job>>,
    owner: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker that has `topics`, each with `partitions` partitions. Blocks for the few
    /// milliseconds that this takes.
    pub fn start(topics: &[String], partitions: i32) -> Result<Self, Error> {
        let topics = topics.to_vec();
        let (started, start) = mpsc::channel();
        let (jobs, queue) = mpsc::channel::<Job>();
        let owner = thread::Builder::new()
            .name("sandbox-broker".into())
            .spawn(move || match create(&topics, partitions) {
                Ok(client) => {
                    let cluster = cluster_of(&client);
                    if started.send(Ok(cluster.bootstrap_servers())).is_ok() {
                        queue.iter().for_each(|job| job(&cluster));
                    }
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })
            .map_err(Error::BrokerThread)?;
        let bootstrap_servers = start
            .recv()
            .map_err(|ended| Error::BrokerThread(std::io::Error::other(ended)))?
            .map_err(Error::Broker)?;
        Ok(Self { bootstrap_servers, jobs: Some(jobs), owner: Some(owner) })
    }

    /// `host:port` to connect to.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Runs `call` on the cluster, to inject faults: errors for coming requests
    /// (`request_errors`), the broker down and up, delays. Blocks until it has run. Don't create
    /// clients inside.
    ///
    /// # Panics
    ///
    /// When an earlier `call` panicked, or this one does.
    pub fn with_cluster<R, F>(&self, call: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(&Cluster<'_>) -> R + Send + 'static,
    {
        let (answer, answered) = mpsc::channel();
        let job: Job = Box::new(move |cluster| {
            let _ = answer.send(call(cluster));
        });
        let jobs = self.jobs.as_ref().expect("the queue is open until drop");
        jobs.send(job).expect("the owner lives until drop, unless a call panicked");
        answered.recv().expect("the call panicked")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(owner) = self.owner.take() {
            let _ = owner.join();
        }
    }
}

/// A client that brings a mock cluster along. librdkafka owns the cluster, and destroys it with
/// the client.
fn create(topics: &[String], partitions: i32) -> Result<BaseProducer, KafkaError> {
    let client: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create()?;
    for topic in topics {
        cluster_of(&client).create_topic(topic, partitions, 1)?;
    }
    shorten_first_rebalance(&client);
    Ok(client)
}

fn cluster_of(client: &BaseProducer) -> Cluster<'_> {
    client.client().mock_cluster().expect("the client was configured to have one")
}

/// New groups wait 3 s for members otherwise, and so would every start of comanda.
#[allow(unsafe_code)]
fn shorten_first_rebalance(client: &BaseProducer) {
    // SAFETY: the client is alive, so its handle is; a handle without a mock cluster gives null;
    // the cluster lives as long as its client. rdkafka has no safe form of this call.
    unsafe {
        let cluster = rdkafka_sys::rd_kafka_handle_mock_cluster(client.client().native_ptr());
        if !cluster.is_null() {
            rdkafka_sys::rd_kafka_mock_group_initial_rebalance_delay_ms(
                cluster,
                FIRST_REBALANCE_MS,
            );
        }
    }
}
