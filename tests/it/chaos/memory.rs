//! Memory of a processor whose provider is slower than the input.

use std::time::{Duration, Instant};

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{Encoder, OrderEvent, Topic};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::{Ground, Scale, ends};
use crate::dead_letters::placed;
use crate::harness::{self, eventually};

/// Orders that are sent and not yet acknowledged.
const SENDING: usize = 1_000;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Memory may go up and down by so much, and a fourth: pages that the allocator keeps.
const MARGIN: u64 = 8 << 20;

/// Writes so many orders as fast as the broker takes them.
async fn write(ground: &Ground, orders: u64) {
    let mut config = ground.parts.kafka.options().client_config("it-chaos");
    config.set("enable.idempotence", "true").set("linger.ms", "5");
    let producer: FutureProducer = config.create().unwrap();
    let topic = ground.installation.names.name(Topic::Orders);
    let encoder: Encoder<OrderEvent> =
        Encoder::new(ground.installation.schema_id(Topic::Orders).await);
    let sent = stream::iter(0..orders).map(async |_| {
        let event = placed();
        let (key, value) = (event.order_id.to_string(), encoder.encode(&event).unwrap());
        let record = FutureRecord::to(&topic).key(&key).payload(&value);
        producer.send(record, Timeout::Never).await.map_err(|(error, _)| error)
    });
    let stored = sent.buffer_unordered(SENDING).try_for_each(async |_| Ok(()));
    stored.await.expect("the orders are stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn stays_flat_with_a_provider_slower_than_the_input() {
    let _alone = harness::heavy().await;
    let scale = Scale::from_env();
    let orders: u64 = harness::scale("CHAOS_MEMORY_ORDERS", 20_000);
    let Some(ground) = Ground::new("memory", &Scale { latency_ms: 20, ..scale.clone() }).await
    else {
        return;
    };
    let mut processor = ground.processor();
    let began = Instant::now();
    write(&ground, orders).await;
    let payments = ground.installation.names.name(Topic::Payments);
    // Markers of transactions count as well: a little more than there are results.
    let results = || ends(ground.parts, &payments, "read_committed").iter().sum::<i64>() as u64;
    let written = began.elapsed();
    assert!(results() < orders / 2, "the provider is no slower than the input");

    // Everything that grows with its use has grown by then.
    let limit = scale.drain + Duration::from_millis(orders / 2);
    eventually("a fourth is paid", limit, async || (results() >= orders / 4).then_some(())).await;
    let (warm, mut most) = (processor.memory(), 0);
    eventually("all are paid", limit, async || {
        most = most.max(processor.memory());
        tokio::time::sleep(LOOK).await;
        (results() >= orders).then_some(())
    })
    .await;
    ground.installation.consumed_whole(scale.drain).await;
    most = most.max(processor.memory());
    eprintln!("{orders} orders, written in {written:?}: {warm} bytes at a fourth, {most} at most");
    assert!(most <= warm + warm / 4 + MARGIN, "{warm} bytes at a fourth, {most} at most");
    assert!(processor.is_running(), "the processor gave up");
    processor.terminate();
    assert!(processor.exit_within(Duration::from_secs(30)).await.success());
    let kafka = ground.parts.kafka.options();
    let counting = move || {
        let mut scan = Scan::open(&kafka, &payments, From::Beginning).unwrap();
        let mut count = 0;
        loop {
            match scan.next(Duration::from_secs(20)).unwrap() {
                Step::Record(_) => count += 1,
                Step::End | Step::Idle => return count,
            }
        }
    };
    let count: u64 = tokio::task::spawn_blocking(counting).await.unwrap();
    assert_eq!(count, orders, "one result an order");
}
