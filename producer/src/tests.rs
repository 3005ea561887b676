//! The producer on librdkafka's mock cluster.

use std::time::Duration;

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{
    Contact, Currency, Encoder, KafkaOptions, Order, OrderEvent, OrderEventType, OrderId,
    OrderLine, Timestamp, TraceContext, headers,
};
use rdkafka::Message;
use rdkafka::message::OwnedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::{Error, Options, Producer};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> (Cluster, KafkaOptions) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 6, 1).unwrap();
    let kafka = KafkaOptions {
        brokers: cluster.bootstrap_servers(),
        security_protocol: "plaintext".into(),
        sasl_mechanism: String::new(),
        sasl_username: String::new(),
        sasl_password: String::new().into(),
        ssl_ca_location: String::new(),
        properties: Default::default(),
    };
    (cluster, kafka)
}

fn options() -> Options {
    Options {
        max_in_flight_records: 1_000,
        max_in_flight_bytes: 1 << 20,
        delivery_timeout_ms: 1_500,
        linger_ms: 0,
        compression: "lz4".into(),
    }
}

fn start(options: &Options, kafka: &KafkaOptions) -> Producer {
    Producer::start(options, kafka, "orders".into(), Encoder::new(7), "/comanda/test").unwrap()
}

fn event(key: &str) -> OrderEvent {
    let order_id = OrderId::derive("c", key);
    OrderEvent {
        event_id: OrderEvent::derive_id(order_id, 1, OrderEventType::Placed),
        r#type: OrderEventType::Placed,
        order_id,
        version: 1,
        occurred_at: Timestamp::now(),
        customer_id: "c".into(),
        order: Order {
            currency: Currency::parse("EUR").unwrap(),
            total_minor: 100,
            lines: vec![OrderLine {
                sku: "s".into(),
                name: "n".into(),
                quantity: 1,
                unit_price_minor: 100,
            }],
            contact: Contact { name: "n".into(), email: "n@example.com".into() },
            payment_method: "pm_card_visa".into(),
            note: None,
        },
        reason: None,
        seen_offset: None,
    }
}

fn read(kafka: &KafkaOptions, count: usize) -> Vec<OwnedMessage> {
    let mut scan = Scan::open(kafka, "orders", From::Beginning).unwrap();
    let mut records = Vec::new();
    while records.len() < count {
        match scan.next(Duration::from_secs(10)).unwrap() {
            Step::Record(record) => records.push(record.detach()),
            Step::End => {}
            Step::Idle => panic!("{} of {count} records", records.len()),
        }
    }
    records
}

#[tokio::test]
async fn a_receipt_tells_where_the_event_stands() {
    let (_cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    let (event, trace) = (event("k"), TraceContext::new_root());
    let receipt = producer.publish(&event, &trace).await.unwrap();
    let record = read(&kafka, 1).remove(0);
    assert_eq!(receipt.topic, "orders");
    assert_eq!(receipt.partition, record.partition());
    assert_eq!(receipt.offset, record.offset());
    assert_eq!(Some(receipt.timestamp.as_millis()), record.timestamp().to_millis());
    assert_eq!(record.key(), Some(event.order_id.to_string().as_bytes()));
    assert_eq!(record.payload().unwrap()[..5], [0, 0, 0, 0, 7]);
    let header = |key| headers::text(record.headers().unwrap(), key).unwrap();
    assert_eq!(header("ce_id"), event.event_id.to_string());
    assert_eq!(header("ce_type"), "comanda.order.placed");
    assert_eq!(header("ce_source"), "/comanda/test");
    assert_eq!(header("ce_specversion"), "1.0");
    assert_eq!(header("ce_time"), event.occurred_at.to_rfc3339());
    assert_eq!(header("content-type"), headers::CONTENT_TYPE);
    assert_eq!(header("traceparent"), trace.to_string());
}

/// Expected partitions computed from Kafka's definition of its default partitioner: murmur2 with
/// seed 0x9747b28c over the key, sign bit cleared, modulo the number of partitions.
#[tokio::test]
async fn keys_go_to_the_partitions_that_java_clients_choose() {
    fn murmur2(key: &[u8]) -> i32 {
        const M: i32 = 0x5bd1_e995;
        let mix = |k: i32| {
            let k = k.wrapping_mul(M);
            (k ^ ((k as u32) >> 24) as i32).wrapping_mul(M)
        };
        let mut h = 0x9747_b28c_u32 as i32 ^ key.len() as i32;
        let chunks = key.chunks_exact(4);
        let tail = chunks.remainder();
        for chunk in chunks {
            let k = i32::from_le_bytes(chunk.try_into().unwrap());
            h = h.wrapping_mul(M) ^ mix(k);
        }
        if !tail.is_empty() {
            for (i, byte) in tail.iter().enumerate() {
                h ^= i32::from(*byte) << (8 * i);
            }
            h = h.wrapping_mul(M);
        }
        h = (h ^ ((h as u32) >> 13) as i32).wrapping_mul(M);
        h ^ ((h as u32) >> 15) as i32
    }
    // Known answers of Kafka's own test of the function.
    assert_eq!(murmur2(b"21"), -973_932_308);
    assert_eq!(murmur2(b"foobar"), -790_332_482);
    let (_cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    for n in 0..50 {
        let event = event(&n.to_string());
        let receipt = producer.publish(&event, &TraceContext::new_root()).await.unwrap();
        let key = event.order_id.to_string();
        assert_eq!(receipt.partition, (murmur2(key.as_bytes()) & 0x7fff_ffff) % 6, "{key}");
    }
}

#[tokio::test]
async fn a_broker_that_was_never_reached_stored_nothing() {
    let (cluster, kafka) = cluster();
    cluster.broker_down(1).unwrap();
    let producer = start(&options(), &kafka);
    let refused = producer.publish(&event("k"), &TraceContext::new_root()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(producer.drain(Duration::ZERO).await, "its room is given back");
}

#[tokio::test]
async fn a_broker_that_does_not_answer_in_time_leaves_the_outcome_unknown() {
    let (cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    producer.publish(&event("first"), &TraceContext::new_root()).await.unwrap();
    cluster.broker_round_trip_time(1, Duration::from_secs(10)).unwrap();
    let unknown = producer.publish(&event("k"), &TraceContext::new_root()).await;
    let Err(error) = unknown else { panic!("no answer, and yet a receipt") };
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error:?}");
    assert!(error.is_retriable());
}

/// Without a place there is no receipt, and yet it is stored.
#[tokio::test]
async fn a_record_that_the_broker_knows_already_gives_no_receipt_without_an_offset() {
    let (cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    producer.publish(&event("first"), &TraceContext::new_root()).await.unwrap();
    let known = RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[known]);
    let unknown = producer.publish(&event("k"), &TraceContext::new_root()).await;
    assert!(matches!(unknown, Err(Error::OutcomeUnknown(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_client_that_failed_for_good_is_replaced_and_nobody_else_notices() {
    let (cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    producer.publish(&event("first"), &TraceContext::new_root()).await.unwrap();
    let lost_track = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[lost_track]);
    let unknown = producer.publish(&event("k"), &TraceContext::new_root()).await;
    assert!(matches!(unknown, Err(Error::OutcomeUnknown(_))), "{unknown:?}");
    for n in 0..10 {
        let event = event(&n.to_string());
        producer.publish(&event, &TraceContext::new_root()).await.unwrap();
    }
}

#[tokio::test]
async fn beyond_the_bound_it_refuses_at_once() {
    let (cluster, kafka) = cluster();
    let patient = Options { max_in_flight_records: 3, delivery_timeout_ms: 30_000, ..options() };
    let producer = start(&patient, &kafka);
    producer.publish(&event("first"), &TraceContext::new_root()).await.unwrap();
    cluster.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    let publish = |n: usize| {
        let producer = producer.clone();
        async move { producer.publish(&event(&n.to_string()), &TraceContext::new_root()).await }
    };
    let all: Vec<_> = (0..10).map(|n| tokio::spawn(publish(n))).collect();
    let mut stored = 0;
    for one in all {
        match one.await.unwrap() {
            Ok(_) => stored += 1,
            Err(error) => assert!(matches!(error, Error::Overloaded { .. }), "{error:?}"),
        }
    }
    assert_eq!(stored, 3);
}
