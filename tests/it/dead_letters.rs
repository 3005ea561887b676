//! A record that can't be read goes to the dead-letter topic, raw and with its cause, and stops
//! nobody.

use std::time::Duration;

use comanda_schemas::{
    Contact, Currency, Encoder, Order, OrderEvent, OrderEventType, OrderId, OrderLine,
    PaymentEvent, PaymentEventType, Stage, Timestamp, Topic, headers,
};
use rdkafka::Message as _;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::harness::installation::Installation;
use crate::harness::{self, eventually};

/// The first byte is not the wire format's.
const POISON: &[u8] = b"\x07no order at all";

#[tokio::test]
async fn an_unreadable_record_is_kept_raw_and_the_orders_behind_it_are_charged() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "dead").await;
    let (_provider, _) = installation.start_provider(&[]).await;

    let orders = installation.names.name(Topic::Orders);
    let producer: FutureProducer =
        parts.kafka.options().client_config("it-poison").create().unwrap();
    let event = placed();
    let key = event.order_id.to_string();
    let traced = OwnedHeaders::new().insert(Header { key: "from", value: Some("a stranger") });
    let poison = FutureRecord::to(&orders).key(&key).payload(POISON).headers(traced);
    let poison = producer.send(poison, Duration::from_secs(10)).await.unwrap();
    let encoder = Encoder::new(installation.schema_id(Topic::Orders).await);
    let value = encoder.encode(&event).unwrap();
    let good = FutureRecord::to(&orders).key(&key).payload(&value);
    let good = producer.send(good, Duration::from_secs(10)).await.unwrap();
    assert_eq!(good.partition, poison.partition, "not behind it");

    let _payment = installation.start(&["payment"]);
    let results = eventually("a result", Duration::from_secs(60), async || {
        let results = installation.events::<PaymentEvent>().await;
        (!results.is_empty()).then_some(results)
    })
    .await;
    assert_eq!(results.len(), 1, "{results:#?}");
    assert_eq!(results[0].order_id, event.order_id);
    assert_eq!(results[0].r#type, PaymentEventType::Succeeded);
    assert_eq!(results[0].source.offset, good.offset);

    let dead = installation.records(&installation.names.dead_letters(Stage::Payment)).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].payload(), Some(POISON));
    assert_eq!(dead[0].key(), Some(key.as_bytes()));
    let told = dead[0].headers().expect("headers");
    let header = |name: &str| headers::text(told, name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(header("from"), "a stranger");
    assert_eq!(header("comanda_dlq_topic"), orders);
    assert_eq!(header("comanda_dlq_partition"), poison.partition.to_string());
    assert_eq!(header("comanda_dlq_offset"), poison.offset.to_string());
    assert_eq!(header("comanda_dlq_group"), installation.names.group(Stage::Payment));
    assert_eq!(header("comanda_dlq_error_kind"), "decode");
    assert!(header("comanda_dlq_error_chain").contains("first byte"));
    assert_eq!(header("comanda_dlq_attempts"), "1");
    for time in ["comanda_dlq_timestamp", "comanda_dlq_first_failed_at"] {
        assert!(Timestamp::parse_rfc3339(header(time)).is_some(), "{time}: {}", header(time));
    }
}

/// The broker takes records up to 1,048,588 bytes, librdkafka writes no more than 1,000,000 unless it
/// is told to, and a dead letter is larger than its record.
#[tokio::test]
async fn a_record_as_large_as_the_broker_takes_stops_nobody() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "large").await;
    let (_provider, _) = installation.start_provider(&[]).await;
    let orders = installation.names.name(Topic::Orders);
    let mut config = parts.kafka.options().client_config("it-large");
    let producer: FutureProducer = config.set("message.max.bytes", "2000000").create().unwrap();
    let large = vec![7u8; 1_040_000];
    let event = placed();
    let key = event.order_id.to_string();
    let encoder = Encoder::new(installation.schema_id(Topic::Orders).await);
    let value = encoder.encode(&event).unwrap();
    for payload in [&large, &value] {
        let record = FutureRecord::to(&orders).key(&key).payload(payload);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
    let _payment = installation.start(&["payment"]);
    eventually("a result behind it", Duration::from_secs(60), async || {
        (installation.events::<PaymentEvent>().await.len() == 1).then_some(())
    })
    .await;
    let dead = installation.records(&installation.names.dead_letters(Stage::Payment)).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].payload(), Some(large.as_slice()));
}

/// A new order, as the gateway would publish it.
pub fn placed() -> OrderEvent {
    let order_id = OrderId::random();
    let lines = vec![OrderLine {
        sku: "PIZ-04".into(),
        name: "Pizza Napoli".into(),
        quantity: 1,
        unit_price_minor: 1150,
    }];
    OrderEvent {
        event_id: OrderEvent::derive_id(order_id, 1, OrderEventType::Placed),
        r#type: OrderEventType::Placed,
        order_id,
        version: 1,
        occurred_at: Timestamp::now(),
        customer_id: "table-3".into(),
        order: Order {
            currency: Currency::parse("EUR").expect("a currency"),
            total_minor: 1150,
            lines,
            contact: Contact { name: "Jo Lind".into(), email: "jo@example.com".into() },
            payment_method: "pm_card_visa".into(),
            note: None,
        },
        reason: None,
        seen_offset: None,
    }
}
