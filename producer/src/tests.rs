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

use crate::{Error, Options, Producer, Receipt};

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

/// What librdkafka's mock cluster answers as the time at which it stamped a record. Its log keeps the
/// record's own; a real broker answers a time only where its log has it.
const MOCK_APPEND_TIME: i64 = 1234;

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
    assert_eq!(receipt.timestamp.as_millis(), MOCK_APPEND_TIME);
    assert_eq!(record.timestamp().to_millis(), Some(event.occurred_at.as_millis()));
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

/// Those with these keys.
fn events(keys: std::ops::Range<usize>) -> Vec<OrderEvent> {
    keys.map(|n| event(&n.to_string())).collect()
}

async fn publish_all(producer: &Producer, events: &[OrderEvent]) -> Vec<Result<Receipt, Error>> {
    let traced: Vec<_> = events.iter().map(|event| (event, TraceContext::new_root())).collect();
    producer.publish_all(&traced).await
}

#[tokio::test]
async fn events_that_go_together_have_a_receipt_each() {
    let (_cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    let nothing = futures_util::poll!(Box::pin(publish_all(&producer, &[])));
    assert!(matches!(nothing, std::task::Poll::Ready(none) if none.is_empty()), "it waits");
    let events = events(0..200);
    let receipts = publish_all(&producer, &events).await;
    let mut placed: Vec<_> = events
        .iter()
        .zip(receipts)
        .map(|(event, receipt)| {
            let Receipt { topic, partition, offset, timestamp } = receipt.unwrap();
            assert_eq!((topic.as_str(), timestamp.as_millis()), ("orders", MOCK_APPEND_TIME));
            (partition, offset, event.order_id.to_string())
        })
        .collect();
    let mut stored: Vec<_> = read(&kafka, 200)
        .iter()
        .map(|record| {
            let key = std::str::from_utf8(record.key().unwrap()).unwrap().to_owned();
            (record.partition(), record.offset(), key)
        })
        .collect();
    placed.sort_unstable();
    stored.sort_unstable();
    assert_eq!(placed, stored);
}

#[tokio::test]
async fn of_a_batch_only_what_is_beyond_the_bound_is_refused() {
    let (_cluster, kafka) = cluster();
    let few = Options { max_in_flight_records: 3, ..options() };
    let outcomes = publish_all(&start(&few, &kafka), &events(0..5)).await;
    let told: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(told, [true, true, true, false, false]);
    assert!(matches!(outcomes[4], Err(Error::Overloaded { records: 3, .. })), "{outcomes:?}");
    let size = Encoder::<OrderEvent>::new(7).encode(&event("5")).unwrap().len() as u64 + 36;
    let small = Options { max_in_flight_bytes: 2 * size, ..options() };
    let producer = start(&small, &kafka);
    let outcomes = publish_all(&producer, &events(5..8)).await;
    let told: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(told, [true, true, false]);
    assert!(producer.drain(Duration::ZERO).await, "the room is given back");
    let outcomes = publish_all(&producer, &events(8..10)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[tokio::test]
async fn a_batch_without_answers_says_of_each_what_is_known() {
    let (cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    publish_all(&producer, &events(0..20)).await;
    cluster.broker_round_trip_time(1, Duration::from_secs(10)).unwrap();
    let outcomes = publish_all(&producer, &events(20..40)).await;
    assert_eq!(outcomes.len(), 20);
    // Some were on their way; the others waited for those, and were never sent.
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(Error::OutcomeUnknown(_)))));
    for outcome in outcomes {
        let is_known = matches!(outcome, Err(Error::OutcomeUnknown(_) | Error::Unavailable(_)));
        assert!(is_known, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_batch_that_was_never_sent_is_not_stored() {
    let (cluster, kafka) = cluster();
    cluster.broker_down(1).unwrap();
    let outcomes = publish_all(&start(&options(), &kafka), &events(0..5)).await;
    let is_away = |outcome: &_| matches!(outcome, Err(Error::Unavailable(_)));
    assert!(outcomes.len() == 5 && outcomes.iter().all(is_away), "{outcomes:?}");
}

#[tokio::test]
async fn what_is_published_is_stored_even_if_nobody_waits_for_it() {
    let (_cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    for n in 0..10 {
        let (event, trace) = (event(&n.to_string()), TraceContext::new_root());
        let mut publishing = Box::pin(producer.publish(&event, &trace));
        assert!(futures_util::poll!(&mut publishing).is_pending());
    }
    let events = events(10..20);
    let traced: Vec<_> = events.iter().map(|event| (event, TraceContext::new_root())).collect();
    let mut publishing = Box::pin(producer.publish_all(&traced));
    assert!(futures_util::poll!(&mut publishing).is_pending());
    drop(publishing);
    assert!(producer.drain(Duration::from_secs(10)).await);
    assert_eq!(read(&kafka, 20).len(), 20);
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_the_topic_refuses_no_order_in_it() {
    let (cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    publish_all(&producer, &events(0..6)).await;
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let orders = events(6..66);
    let outcomes = publish_all(&producer, &orders).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let again = publish_all(&producer, &events(66..126)).await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    let mut stored: Vec<_> = read(&kafka, 126).iter().map(|r| r.key().unwrap().to_vec()).collect();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), 126);
    let first = &read(&kafka, 126)[0];
    assert!(headers::text(first.headers().unwrap(), "ce_id").is_some());
    assert!(producer.drain(Duration::ZERO).await, "the room is given back");
}

#[tokio::test]
async fn a_record_that_is_refused_alone_is_refused_for_good() {
    let (cluster, kafka) = cluster();
    let producer = start(&options(), &kafka);
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    producer.publish(&event("first"), &TraceContext::new_root()).await.unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large, too_large]);
    let refused = producer.publish(&event("k"), &TraceContext::new_root()).await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(_)) && !refused.is_retriable(), "{refused:?}");
    producer.publish(&event("k"), &TraceContext::new_root()).await.unwrap();
}

#[tokio::test]
async fn a_producer_creates_no_topic() {
    let (_cluster, kafka) = cluster();
    let encoder = Encoder::<OrderEvent>::new(7);
    let nowhere = Producer::start(&options(), &kafka, "nowhere".into(), encoder, "/test").unwrap();
    let refused = nowhere.publish(&event("k"), &TraceContext::new_root()).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)) && refused.is_retriable(), "{refused:?}");
    let client: rdkafka::consumer::BaseConsumer = kafka.client_config("test").create().unwrap();
    let all = rdkafka::consumer::Consumer::fetch_metadata(&client, None, Duration::from_secs(10));
    let all = all.unwrap();
    let names: Vec<_> = all.topics().iter().map(|topic| topic.name()).collect();
    assert_eq!(names, ["orders"]);
}
