//! One thing that goes wrong stops only what it touches.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Bench, DEADLINE, Scripted, event, running};

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_waits_alone_and_starts_by_itself() {
    let bench = Bench::on(2).await;
    for n in 0..40 {
        bench.place(&event(&n.to_string(), 1, ""));
    }
    let orders = tokio::task::block_in_place(|| bench.read_all("orders"));
    let first = orders.iter().filter(|order| rdkafka::Message::partition(*order) == 0).count();
    assert!(first > 0 && first < 40, "both partitions have orders: {first}");
    bench.cluster.partition_leader("orders", 1, None).unwrap();
    let engine = bench.engine(Default::default());
    let (handle, shutdown) = (engine.handle(), CancellationToken::new());
    let engine = tokio::spawn(engine.run_until_stopped(shutdown.clone()));
    assert_eq!(bench.payments(first).await.len(), first);
    let waiting: Vec<i32> = handle.waiting_partitions().into_keys().collect();
    assert_eq!(waiting, [1]);
    assert!(handle.is_ready(), "the other partition is at work");
    bench.cluster.partition_leader("orders", 1, Some(1)).unwrap();
    assert_eq!(bench.payments(40).await.len(), 40);
    let none_waits = async {
        while !handle.waiting_partitions().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, none_waits).await.expect("all are started");
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, engine).await.expect("stops in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_many_records_behind_one_that_waits_delays_only_itself() {
    let bench = Bench::new().await;
    let changes = 300;
    bench.place(&event("busy", 1, "hold for news"));
    for version in 2..=changes {
        bench.place(&event("busy", version, ""));
    }
    for n in 0..100 {
        bench.place(&event(&n.to_string(), 1, ""));
    }
    let processor = Arc::new(Scripted::default());
    running(&bench, processor.clone(), async || {
        let busy = event("busy", 1, "").order_id;
        let others = bench.payments(100).await;
        assert!(others.iter().all(|result| result.order_id != busy));
        processor.news.notify_one();
        let results = bench.payments(100 + changes as usize).await;
        let versions: Vec<i32> =
            results.iter().filter(|r| r.order_id == busy).map(|r| r.version).collect();
        assert_eq!(versions, (1..=changes).collect::<Vec<_>>(), "in order, each once");
    })
    .await;
    assert_eq!(processor.overlapped.load(Ordering::SeqCst), 0);
}
