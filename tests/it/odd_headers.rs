//! Records whose headers have names that are not text, as a client in C can write them.

use std::time::Duration;

use comanda_schemas::{Encoder, PaymentEvent, Topic, headers};
use rdkafka::Message as _;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;

use crate::dead_letters::placed;
use crate::harness::graphql::order;
use crate::harness::installation::Installation;
use crate::harness::{self, eventually, process};

const ODD: &[u8] = b"\xff\xfename";

fn odd_headers() -> OwnedHeaders {
    let mut odd = OwnedHeaders::new();
    assert!(headers::push(&mut odd, (ODD, Some(b"\x00value"))));
    odd
}

#[tokio::test]
async fn a_header_whose_name_is_not_text_stops_no_reader_of_its_topic() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "odd").await;
    let (_provider, _) = installation.start_provider(&[]).await;
    let (_gateway, client) = installation.start_gateway().await;
    client.accepted(order("before")).await;
    let orders = installation.names.name(Topic::Orders);
    let producer: FutureProducer = parts.kafka.options().client_config("it-odd").create().unwrap();
    let encoder = Encoder::new(installation.schema_id(Topic::Orders).await);
    let event = placed();
    let (key, value) = (event.order_id.to_string(), encoder.encode(&event).unwrap());
    // One to each partition, and one that becomes a dead letter.
    for partition in 0..6 {
        let record = FutureRecord::to(&orders).key(&key).payload(&value).partition(partition);
        let record = record.headers(odd_headers());
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
    let poison = FutureRecord::to(&orders).key("k").payload("no order").headers(odd_headers());
    let poison = producer.send(poison, Duration::from_secs(10)).await.unwrap();

    // Placements under a key, which wait until the gateway has read what stands before them.
    for n in 0..20 {
        client.accepted(order(&format!("behind-{n}"))).await;
    }
    let _payment = installation.start(&["payment"]);
    eventually("all results", Duration::from_secs(60), async || {
        (installation.events::<PaymentEvent>().await.len() == 27).then_some(())
    })
    .await;

    let tail = installation.arguments(&["tail", "orders", "--from", "beginning", "--count", "28"]);
    let tail = process::run(&tail).await;
    assert!(tail.status.success(), "{tail:#?}");
    let lines = tail.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let odd = lines.filter(|line| line["headers"]["\u{fffd}\u{fffd}name"] == "\u{0}value");
    assert_eq!(odd.count(), 7);

    let redrive = ["dlq", "redrive", "--stage", "payment", "--yes"];
    let redriven = process::run(&installation.arguments(&redrive)).await;
    assert!(redriven.status.success(), "{redriven:#?}");
    let letters = installation.arguments(&["dlq", "list", "--all", "--json"]);
    let letters = process::run(&letters).await;
    assert!(letters.status.success(), "{letters:#?}");
    let again = installation.records(&orders).await;
    let again: Vec<_> = again.iter().filter(|r| r.payload() == Some(b"no order")).collect();
    assert_eq!(again.len(), 2, "the record, and once more");
    assert_eq!(again[1].partition(), poison.partition);
}
