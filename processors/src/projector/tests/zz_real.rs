use std::time::Duration;
use comanda_schemas::*;
use comanda_store::OrderStatus;
use rdkafka::admin::*;
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer, DefaultProducerContext};
use super::harness::*;
use crate::projector::metrics::LAG_RECORDS;

#[tokio::test(flavor = "multi_thread")]
async fn real() {
    let run = format!("real{}", std::process::id());
    let mut bench = Bench::start(&run).await;
    bench.answer_schemas().await;
    bench.kafka = kafka("127.0.0.1:39192");
    let admin: AdminClient<DefaultClientContext> = bench.kafka.client_config("t").create().unwrap();
    let names: Vec<String> = Topic::ALL.iter().map(|t| bench.names.name(*t)).collect();
    let topics: Vec<_> = names.iter().map(|n| NewTopic::new(n, 2, TopicReplication::Fixed(1))).collect();
    admin.create_topics(&topics, &AdminOptions::new()).await.unwrap();
    let mut cfg = bench.kafka.client_config("tx");
    cfg.set("transactional.id", &run);
    let producer: ThreadedProducer<DefaultProducerContext> = cfg.create().unwrap();
    producer.init_transactions(Duration::from_secs(10)).unwrap();
    let events: Vec<_> = (0..20_000).map(|n| placed(&format!("{run}-{n}"))).collect();
    for chunk in events.chunks(500) {
        producer.begin_transaction().unwrap();
        for e in chunk {
            let p = i32::from(e.order_id.as_uuid().as_bytes()[0]) % 2;
            let v = Encoder::new(1).encode(e).unwrap();
            producer.send(BaseRecord::<str, [u8]>::to(&names[0]).partition(p).key("k").payload(&v)).map_err(|e| e.0).unwrap();
            let v = Encoder::new(2).encode(&paid(e)).unwrap();
            producer.send(BaseRecord::<str, [u8]>::to(&names[1]).partition(p).key("k").payload(&v)).map_err(|e| e.0).unwrap();
        }
        producer.commit_transaction(None).unwrap();
    }
    // an aborted one at the end
    producer.begin_transaction().unwrap();
    let aborted = placed(&format!("{run}-aborted"));
    let v = Encoder::new(1).encode(&aborted).unwrap();
    producer.send(BaseRecord::<str, [u8]>::to(&names[0]).partition(0).key("k").payload(&v)).map_err(|e| e.0).unwrap();
    producer.flush(Duration::from_secs(5)).unwrap();
    producer.abort_transaction(None).unwrap();

    let store = bench.store().await;
    let began = std::time::Instant::now();
    let running = bench.project(options()).await;
    eventually("caught up", async || running.handle.caught_up()).await;
    println!("40000 records in {:?}", began.elapsed());
    for e in [&events[0], &events[19_999]] { assert_eq!(store.order(e.order_id).await.unwrap().unwrap().status, OrderStatus::Paid); }
    assert!(store.order(aborted.order_id).await.unwrap().is_none());
    for n in &names[..2] { eventually("lag 0", async || metric(LAG_RECORDS, n) == Some(0.0)).await; }
    println!("positions {:?}", store.positions().await.unwrap());
    running.stop().await.unwrap();
    // restart: caught up at once although markers lie behind the positions
    let began = std::time::Instant::now();
    let running = bench.project(options()).await;
    eventually("caught up", async || running.handle.caught_up()).await;
    println!("restart caught up in {:?}", began.elapsed());
    // an open transaction does not hold readiness; new partitions are found
    admin.create_partitions(&[NewPartitions::new(&names[0], 4)], &AdminOptions::new()).await.unwrap();
    producer.begin_transaction().unwrap();
    let late = placed(&format!("{run}-late"));
    let v = Encoder::new(1).encode(&late).unwrap();
    eventually("new partition", async || producer.send(BaseRecord::<str, [u8]>::to(&names[0]).partition(3).key("k").payload(&v)).is_ok()).await;
    producer.commit_transaction(None).unwrap();
    let began = std::time::Instant::now();
    eventually("late is shown", async || store.order(late.order_id).await.unwrap().is_some()).await;
    println!("new partition seen in {:?}", began.elapsed());
    let began = std::time::Instant::now();
    producer.begin_transaction().unwrap();
    let next = placed(&format!("{run}-next"));
    let v = Encoder::new(1).encode(&next).unwrap();
    producer.send(BaseRecord::<str, [u8]>::to(&names[0]).partition(0).key("k").payload(&v)).map_err(|e| e.0).unwrap();
    producer.commit_transaction(None).unwrap();
    println!("commit took {:?}", began.elapsed());
    eventually("next is shown", async || store.order(next.order_id).await.unwrap().is_some()).await;
    println!("visible after {:?}", began.elapsed());
    let began = std::time::Instant::now();
    running.stop().await.unwrap();
    println!("stopped in {:?}", began.elapsed());
    // open transaction at start
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<str, [u8]>::to(&names[0]).partition(0).key("k").payload(&v)).map_err(|e| e.0).unwrap();
    producer.flush(Duration::from_secs(5)).unwrap();
    let running = bench.project(options()).await;
    eventually("caught up in spite of open transaction", async || running.handle.caught_up()).await;
    producer.abort_transaction(None).unwrap();
    running.stop().await.unwrap();
}
