//! Faults one after another under load: processors killed, one paused past its session time-out,
//! the broker restarted and killed, the provider away. What must hold is checked at the end.
//!
//! On every commit they run small. `tests/chaos/run` runs them at full size, with a seed.

mod memory;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{
    Encoder, OrderEvent, OrderEventType, OrderId, PaymentEvent, PaymentEventType, Stage, Topic,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio_util::sync::CancellationToken;

use crate::dead_letters::placed;
use crate::harness::installation::Installation;
use crate::harness::process::{Comanda, ledger};
use crate::harness::{self, RealParts, eventually};

const PROCESSORS: usize = 3;
/// One order in so many is cancelled right after it was placed.
const CANCELLED: usize = 10;
const ASK: Duration = Duration::from_secs(20);

/// How large a run is: `COMANDA_CHAOS_ORDERS` and so on, by default what fits into a test.
#[derive(Debug, Clone)]
struct Scale {
    seed: u64,
    orders: usize,
    /// Over how long the orders come in.
    load: Duration,
    /// From one kill to the next.
    kill_every: Duration,
    /// How long one processor stands still.
    pause: Duration,
    /// How long the provider is away.
    outage: Duration,
    /// How long a charge takes.
    latency_ms: u64,
    /// Records in flight per processor.
    window: usize,
    /// All must be done this long after the last order.
    drain: Duration,
}

impl Scale {
    fn from_env() -> Self {
        let seconds =
            |name, default| Duration::from_secs(harness::scale(&format!("CHAOS_{name}"), default));
        let scale = Self {
            seed: harness::scale("CHAOS_SEED", rand::random::<u32>().into()),
            orders: harness::scale("CHAOS_ORDERS", 3_000),
            load: seconds("LOAD_SECONDS", 36),
            kill_every: seconds("KILL_SECONDS", 5),
            pause: seconds("PAUSE_SECONDS", 9),
            outage: seconds("OUTAGE_SECONDS", 15),
            latency_ms: harness::scale("CHAOS_LATENCY_MS", 100),
            window: harness::scale("CHAOS_WINDOW", 64),
            drain: seconds("DRAIN_SECONDS", 120),
        };
        eprintln!("chaos: {scale:?}; COMANDA_CHAOS_SEED={} repeats the schedule", scale.seed);
        scale
    }
}

/// What a run works on.
struct Ground {
    parts: &'static RealParts,
    installation: Installation,
    provider: Comanda,
    provider_url: String,
}

impl Ground {
    async fn new(name: &str, scale: &Scale) -> Option<Self> {
        // Its own: others would not survive the broker's end.
        let parts = harness::own_parts().await?;
        let mut installation = Installation::new(parts, name).await;
        let mut provider = provider("127.0.0.1:0", scale);
        let provider_url = provider.banner("Payments").await;
        installation.set(format!("payment.provider_url={provider_url}"));
        installation.set(format!("engine.max_in_flight_records={}", scale.window));
        // Below the session time-out, so that a paused processor comes back to both.
        installation.set("engine.transaction_timeout_ms=5000".to_owned());
        installation.set("payment.request_timeout_ms=3000".to_owned());
        installation.set("payment.retry_unresolved_ms=2000".to_owned());
        Some(Self { parts, installation, provider, provider_url })
    }

    fn processor(&self) -> Comanda {
        self.installation.start(&["payment"])
    }
}

fn provider(listen: &str, scale: &Scale) -> Comanda {
    let latency = format!("sandbox.payment.latency_ms={}", scale.latency_ms);
    Comanda::start(&["sandbox", "payment", "--listen", listen, "--set", &latency])
}

/// Writes the orders over the time of the load, whatever becomes of the broker; their events.
async fn write(ground: &Ground, scale: &Scale) -> Vec<OrderEvent> {
    let mut config = ground.parts.kafka.options().client_config("it-chaos");
    config.set("enable.idempotence", "true").set("message.timeout.ms", "300000");
    let producer: FutureProducer = config.create().unwrap();
    let topic = ground.installation.names.name(Topic::Orders);
    let encoder = Encoder::new(ground.installation.schema_id(Topic::Orders).await);
    let began = Instant::now();
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    for n in 0..scale.orders {
        let due = scale.load.mul_f64(n as f64 / scale.orders as f64);
        tokio::time::sleep_until((began + due).into()).await;
        let event = placed();
        let cancel = (n % CANCELLED == 0).then(|| OrderEvent {
            event_id: OrderEvent::derive_id(event.order_id, 2, OrderEventType::Cancelled),
            r#type: OrderEventType::Cancelled,
            version: 2,
            ..event.clone()
        });
        for event in [event].into_iter().chain(cancel) {
            let (key, value) = (event.order_id.to_string(), encoder.encode(&event).unwrap());
            let record = FutureRecord::to(&topic).key(&key).payload(&value);
            sent.push(producer.send_result(record).map_err(|(e, _)| e).expect("queued"));
            events.push(event);
        }
    }
    for sent in sent {
        sent.await.unwrap().expect("an order is stored");
    }
    events
}

/// Follows the results with `read_committed` while all that happens; the sources that it saw.
fn follow(ground: &Ground, stop: &CancellationToken) -> tokio::task::JoinHandle<Vec<(i32, i64)>> {
    let (kafka, topic) =
        (ground.parts.kafka.options(), ground.installation.names.name(Topic::Payments));
    let stop = stop.clone();
    tokio::task::spawn_blocking(move || {
        let mut scan = Scan::open(&kafka, &topic, From::Beginning).unwrap();
        let mut seen = Vec::new();
        loop {
            // The broker goes and comes back.
            match scan.next(Duration::from_millis(200)) {
                Ok(Step::Record(record)) => seen.push((record.partition(), record.offset())),
                Ok(Step::End | Step::Idle) if stop.is_cancelled() => return seen,
                Ok(Step::End | Step::Idle) | Err(_) => {}
            }
        }
    })
}

/// The ends of a topic's partitions as readers of an isolation level see them.
fn ends(parts: &RealParts, topic: &str, isolation: &str) -> Vec<i64> {
    let mut config = parts.kafka.options().client_config("it-ends");
    let client: BaseConsumer = config.set("isolation.level", isolation).create().unwrap();
    let metadata = client.fetch_metadata(Some(topic), ASK).unwrap();
    let partitions = metadata.topics()[0].partitions().iter();
    partitions.map(|p| client.fetch_watermarks(topic, p.id(), ASK).unwrap().1).collect()
}

/// One result an event, in the order of each key, one charge at the most, as the provider says,
/// and no transaction left open.
async fn check(ground: &Ground, events: &[OrderEvent]) {
    let results = ground.installation.events::<PaymentEvent>().await;
    let dead = ground.installation.names.dead_letters(Stage::Payment);
    assert!(ground.installation.records(&dead).await.is_empty(), "dead letters");
    let mut of_order: HashMap<OrderId, Vec<&PaymentEvent>> = HashMap::new();
    for result in &results {
        of_order.entry(result.order_id).or_default().push(result);
    }
    let mut expected: HashMap<OrderId, Vec<i32>> = HashMap::new();
    for event in events {
        expected.entry(event.order_id).or_default().push(event.version);
    }
    let ledger = ledger(&ground.provider_url).await;
    let mut charges: BTreeMap<&str, usize> = BTreeMap::new();
    for charge in &ledger.charges {
        let order_id = charge.order_id.as_deref().expect("metadata[order_id]");
        *charges.entry(order_id).or_default() += 1;
    }
    for (id, versions) in &expected {
        let results = of_order.get(id).map(Vec::as_slice).unwrap_or_default();
        let told: Vec<i32> = results.iter().map(|r| r.version).collect();
        assert_eq!(told, *versions, "{id}: {results:#?}");
        let types: Vec<_> = results.iter().map(|r| r.r#type).collect();
        let whole = [PaymentEventType::Succeeded, PaymentEventType::Refunded];
        assert_eq!(types, whole[..versions.len()], "{id}: {results:#?}");
        assert_eq!(charges.get(id.to_string().as_str()), Some(&1), "charges of {id}");
    }
    assert_eq!(results.len(), events.len(), "results of nobody's events");
    for topic in [Topic::Payments, Topic::Orders].map(|t| ground.installation.names.name(t)) {
        let (committed, all) = (
            ends(ground.parts, &topic, "read_committed"),
            ends(ground.parts, &topic, "read_uncommitted"),
        );
        assert_eq!(committed, all, "{topic}: a transaction is open");
    }
}

/// Which processor is killed next, when one pauses, and when the broker goes.
#[tokio::test(flavor = "multi_thread")]
async fn killed_and_paused_processors_and_a_restarted_broker_lose_double_and_reorder_nothing() {
    let _alone = harness::heavy().await;
    let scale = Scale::from_env();
    let Some(ground) = Ground::new("chaos", &scale).await else { return };
    let ground = Arc::new(ground);
    let mut random = StdRng::seed_from_u64(scale.seed);
    let mut processors: Vec<Comanda> = (0..PROCESSORS).map(|_| ground.processor()).collect();
    let stop = CancellationToken::new();
    let following = follow(&ground, &stop);
    let writing = {
        let (ground, scale) = (ground.clone(), scale.clone());
        tokio::spawn(async move { write(&ground, &scale).await })
    };

    let began = Instant::now();
    let at = async |share: f64| {
        tokio::time::sleep_until((began + scale.load.mul_f64(share)).into()).await;
    };
    // A clean restart of the broker, a pause, the broker's kill, each somewhere in its quarter;
    // kills of processors all along.
    let stopped = random.random_range(0.15..0.25);
    let paused = random.random_range(0.35..0.45);
    let killed = random.random_range(0.65..0.80);
    let broker = async {
        at(stopped).await;
        ground.parts.kafka.stop().await;
        ground.parts.kafka.restart().await.unwrap();
        at(killed).await;
        ground.parts.kafka.kill9();
        ground.parts.kafka.restart().await.unwrap();
    };
    let processors = async {
        let (mut next, mut resume) = (random.random_range(0..PROCESSORS), None);
        let mut to_pause = Some(began + scale.load.mul_f64(paused));
        let mut kill_at = began + scale.kill_every;
        while began.elapsed() < scale.load {
            let wake = [Some(kill_at), to_pause, resume.map(|(at, _)| at)];
            let wake = wake.into_iter().flatten().min().expect("there is a next kill");
            tokio::time::sleep_until(wake.into()).await;
            if let Some((_, paused)) = resume.take_if(|(at, _)| *at <= Instant::now()) {
                let processor: &mut Comanda = &mut processors[paused];
                processor.unpause();
            }
            if to_pause.take_if(|at| *at <= Instant::now()).is_some() {
                let paused = (next + 1) % PROCESSORS;
                processors[paused].pause();
                resume = Some((Instant::now() + scale.pause, paused));
            }
            if kill_at <= Instant::now() {
                kill_at += scale.kill_every;
                // Not the one that stands still: its pause is to last.
                if resume.is_none_or(|(_, paused)| paused != next) {
                    processors[next].kill9();
                    processors[next] = ground.processor();
                }
                next = (next + 1) % PROCESSORS;
            }
        }
        if let Some((_, paused)) = resume {
            processors[paused].unpause();
        }
        processors
    };
    let (mut processors, ()) = tokio::join!(processors, broker);
    let events = writing.await.unwrap();
    ground.installation.consumed_whole(scale.drain).await;
    for processor in &mut processors {
        assert!(processor.is_running(), "a processor gave up");
        processor.terminate();
        assert!(processor.exit_within(Duration::from_secs(30)).await.success());
    }
    check(&ground, &events).await;
    stop.cancel();
    let seen = following.await.unwrap();
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (events.len(), events.len()), "a reader saw others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_or_hangs_fails_no_order() {
    let _alone = harness::heavy().await;
    let scale = Scale::from_env();
    let outage = scale.outage;
    let scale = Scale { orders: 600, load: outage * 3, ..scale };
    let Some(mut ground) = Ground::new("away", &scale).await else { return };
    let mut processor = ground.processor();
    // It keeps its books in memory, so it is away at first, and hangs in the middle.
    let listen = ground.provider_url.trim_start_matches("http://").to_owned();
    ground.provider.kill9();
    let ground = Arc::new(ground);
    let writing = {
        let (ground, scale) = (ground.clone(), scale.clone());
        tokio::spawn(async move { write(&ground, &scale).await })
    };
    tokio::time::sleep(outage).await;
    let early = ground.installation.events::<PaymentEvent>().await;
    assert!(early.is_empty(), "decided without a provider: {early:#?}");
    let mut provider = provider(&listen, &scale);
    provider.banner("Payments").await;
    eventually("orders are paid again", Duration::from_secs(60), async || {
        let paid = ground.installation.events::<PaymentEvent>().await.len();
        (paid > 0).then_some(())
    })
    .await;
    provider.pause();
    tokio::time::sleep(outage).await;
    provider.unpause();
    let events = writing.await.unwrap();
    ground.installation.consumed_whole(scale.drain).await;
    assert!(processor.is_running(), "the processor gave up");
    processor.terminate();
    assert!(processor.exit_within(Duration::from_secs(30)).await.success());
    check(&ground, &events).await;
}
