//! Three brokers with three replicas, two of them in sync: brokers and processes go one after another
//! while orders come in, and everything goes on without a restart of what was not killed.
//!
//! On every commit a few faults run; `tests/chaos/run cluster` runs the rotation for an hour.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{Encoder, OrderEvent, OrderId, PaymentEvent, Topic};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::placed;
use crate::harness::installation::Installation;
use crate::harness::kafka::Node;
use crate::harness::process::{Comanda, ledger};
use crate::harness::{self, RealParts, eventually};

/// What runs, each in a process of its own.
const PROCESSES: [&[&str]; 9] = [
    &["payment"],
    &["payment"],
    &["payment"],
    &["notifier"],
    &["notifier"],
    &["projector"],
    &["projector"],
    &["gateway"],
    &["gateway"],
];
/// How long a fault may keep every order from its mail, and all that is open from its end.
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that goes wrong, and ends by itself after [`Scale::lasting`].
#[derive(Debug, Clone, Copy)]
enum Fault {
    BrokerKilled,
    BrokerFrozen,
    /// Partitions without a leader, and fewer replicas in sync than a write needs.
    TwoBrokersKilled,
    ProcessKilled,
    ProcessFrozen,
    ProviderFrozen,
    MailboxFrozen,
}

const ROTATION: [Fault; 7] = [
    Fault::BrokerKilled,
    Fault::ProcessKilled,
    Fault::TwoBrokersKilled,
    Fault::BrokerFrozen,
    Fault::ProcessFrozen,
    Fault::ProviderFrozen,
    Fault::MailboxFrozen,
];

/// How large a run is: `COMANDA_CLUSTER_FAULTS` and so on, by default what fits into a test.
#[derive(Debug)]
struct Scale {
    seed: u64,
    faults: usize,
    /// Orders a second.
    rate: u32,
    /// From one fault to the next, at least.
    every: Duration,
    lasting: Duration,
}

impl Scale {
    fn from_env() -> Self {
        let seconds = |name, default| {
            Duration::from_secs(harness::scale(&format!("CLUSTER_{name}"), default))
        };
        let scale = Self {
            seed: harness::scale("CLUSTER_SEED", rand::random::<u32>().into()),
            faults: harness::scale("CLUSTER_FAULTS", 3),
            rate: harness::scale("CLUSTER_RATE", 20),
            every: seconds("EVERY_SECONDS", 1),
            lasting: seconds("LASTING_SECONDS", 4),
        };
        eprintln!("cluster: {scale:?}; COMANDA_CLUSTER_SEED={} repeats the choices", scale.seed);
        scale
    }
}

/// The cluster and what runs on it.
struct Ground {
    parts: &'static RealParts,
    installation: Installation,
    processes: Vec<Comanda>,
    provider: Comanda,
    mailbox: Comanda,
    random: StdRng,
}

impl Ground {
    /// Lets something go wrong and come back.
    async fn suffer(&mut self, fault: Fault, lasting: Duration) {
        let nodes = self.parts.kafka.nodes();
        let node = self.random.random_range(0..nodes.len());
        let process = self.random.random_range(0..self.processes.len());
        let pause = || tokio::time::sleep(lasting);
        match fault {
            Fault::BrokerKilled => restart(&[&nodes[node]], lasting).await,
            Fault::TwoBrokersKilled => {
                restart(&[&nodes[node], &nodes[(node + 1) % nodes.len()]], lasting).await;
            }
            Fault::BrokerFrozen => {
                nodes[node].pause();
                pause().await;
                nodes[node].unpause();
            }
            Fault::ProcessKilled => {
                self.processes[process].kill9();
                self.processes[process] = self.installation.start(PROCESSES[process]);
            }
            Fault::ProcessFrozen => {
                self.processes[process].pause();
                pause().await;
                self.processes[process].unpause();
            }
            Fault::ProviderFrozen => {
                self.provider.pause();
                pause().await;
                self.provider.unpause();
            }
            Fault::MailboxFrozen => {
                self.mailbox.pause();
                pause().await;
                self.mailbox.unpause();
            }
        }
        let kafka = self.parts.kafka.options();
        let client: BaseConsumer = kafka.client_config("it-replicas").create().unwrap();
        let client = Arc::new(client);
        eventually("every replica is in sync", RECOVERY_LIMIT, async || {
            let client = client.clone();
            tokio::task::spawn_blocking(move || is_in_sync(&client)).await.unwrap().then_some(())
        })
        .await;
    }
}

/// Kills brokers and starts them again.
async fn restart(nodes: &[&Node], lasting: Duration) {
    for node in nodes {
        node.kill9();
    }
    // The fault is the time that passes; there is nothing else to wait for.
    tokio::time::sleep(lasting).await;
    for node in nodes {
        node.restart().unwrap();
    }
    for node in nodes {
        node.wait_until_ready(1).await.unwrap();
    }
}

fn is_in_sync(client: &BaseConsumer) -> bool {
    let Ok(metadata) = client.fetch_metadata(None, METADATA_TIMEOUT) else { return false };
    let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    partitions.all(|partition| partition.isr().len() == partition.replicas().len())
}

/// Writes orders at a rate until `stop`, whatever becomes of the brokers; their events.
async fn write(
    kafka: FutureProducer,
    topic: String,
    id: u32,
    rate: u32,
    stop: CancellationToken,
) -> Vec<OrderEvent> {
    let encoder = Encoder::new(id);
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let event: OrderEvent = placed();
        let (key, value) = (event.order_id.to_string(), encoder.encode(&event).unwrap());
        let record = FutureRecord::to(&topic).key(&key).payload(&value);
        sent.push(kafka.send_result(record).map_err(|(error, _)| error).expect("queued"));
        events.push(event);
    }
    for sent in sent {
        sent.await.unwrap().expect("an order is stored");
    }
    events
}

/// Counts the committed records of a topic as they come.
fn count(
    parts: &RealParts,
    topic: String,
    stop: CancellationToken,
) -> (Arc<AtomicUsize>, JoinHandle<()>) {
    let (seen, kafka) = (Arc::new(AtomicUsize::new(0)), parts.kafka.options());
    let counted = seen.clone();
    let counting = tokio::task::spawn_blocking(move || {
        let mut scan = Scan::open(&kafka, &topic, From::Beginning).unwrap();
        while !stop.is_cancelled() {
            if let Ok(Step::Record(_)) = scan.next(Duration::from_millis(200)) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (seen, counting)
}

/// The first mail after each fault, and at the end everything, without a restart of what hung.
#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_after_each_fault_of_a_cluster() {
    let _alone = harness::heavy().await;
    let scale = Scale::from_env();
    let Some(parts) = harness::own_cluster().await else { return };
    let mut installation = Installation::new(parts, "cluster").await;
    let (provider, provider_url) = installation.start_provider(&[]).await;
    let (mailbox, _) = installation.start_mailbox().await;
    let processes = PROCESSES.iter().map(|command| installation.start(command)).collect();
    let random = StdRng::seed_from_u64(scale.seed);
    let mut ground = Ground { parts, installation, processes, provider, mailbox, random };

    let (stop, watched) = (CancellationToken::new(), CancellationToken::new());
    let mut config = parts.kafka.options().client_config("it-cluster");
    config.set("enable.idempotence", "true").set("message.timeout.ms", "300000");
    let names = &ground.installation.names;
    let (orders, notifications) = (names.name(Topic::Orders), names.name(Topic::Notifications));
    let id = ground.installation.schema_id(Topic::Orders).await;
    let writing =
        tokio::spawn(write(config.create().unwrap(), orders, id, scale.rate, stop.clone()));
    let (mails, counting) = count(parts, notifications, watched.clone());
    let more = async |than: usize| {
        eventually("orders are paid and their mails sent", RECOVERY_LIMIT, async || {
            (mails.load(Ordering::SeqCst) > than).then_some(())
        })
        .await;
    };
    more(0).await;
    for fault in ROTATION.iter().cycle().take(scale.faults) {
        let next = Instant::now() + scale.every;
        ground.suffer(*fault, scale.lasting).await;
        let ended = Instant::now();
        more(mails.load(Ordering::SeqCst)).await;
        eprintln!("cluster: {fault:?}: the next mail came {:?} after its end", ended.elapsed());
        tokio::time::sleep_until(next.into()).await;
    }
    stop.cancel();
    let events = writing.await.unwrap();
    let ended = Instant::now();
    eventually("every order has its mail", RECOVERY_LIMIT, async || {
        (mails.load(Ordering::SeqCst) >= events.len()).then_some(())
    })
    .await;
    eprintln!("cluster: {} orders; drained {:?} after the last", events.len(), ended.elapsed());
    watched.cancel();
    counting.await.unwrap();
    check(&mut ground, &events, &provider_url).await;
}

/// One result, one charge and one mail an order; the store has it; every process runs and ends.
async fn check(ground: &mut Ground, events: &[OrderEvent], provider_url: &str) {
    let (results, _) = ground.installation.all_told(RECOVERY_LIMIT).await;
    let mut paid: HashMap<OrderId, &PaymentEvent> = HashMap::new();
    for result in &results {
        let earlier = paid.insert(result.order_id, result);
        assert!(earlier.is_none(), "two results: {earlier:?} and {result:?}");
    }
    let ledger = ledger(provider_url).await;
    let mut charges: HashMap<&str, usize> = HashMap::new();
    for charge in &ledger.charges {
        *charges.entry(charge.order_id.as_deref().expect("metadata[order_id]")).or_default() += 1;
    }
    for event in events {
        assert!(paid.contains_key(&event.order_id), "no result for {}", event.order_id);
        let id = event.order_id.to_string();
        assert_eq!(charges.get(id.as_str()), Some(&1), "charges of {id}");
    }
    assert_eq!(results.len(), events.len(), "results without an order");
    let last = PROCESSES.len() - 1;
    let gateway = ground.installation.gateway(&mut ground.processes[last]).await;
    for event in events.iter().step_by(events.len().div_ceil(20)) {
        gateway.order_once(&event.order_id.to_string(), "PAID").await;
    }
    for process in &mut ground.processes {
        assert!(process.is_running(), "a process has ended by itself");
        process.terminate();
    }
    for process in &mut ground.processes {
        assert!(process.exit_within(Duration::from_secs(60)).await.success());
    }
}
