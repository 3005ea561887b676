//! The projector against librdkafka's mock cluster.

mod harness;

use comanda_schemas::{
    NotificationEvent, NotificationEventType, OrderEvent, OrderId, Source, Timestamp, Topic,
};
use comanda_store::{Applied, OrderStatus, Recorded, Store};
use sqlx::{Connection, SqliteConnection};
use wiremock::matchers::{method, path};
use wiremock::{Mock, ResponseTemplate};

use self::harness::{Bench, eventually, kafka, metric, options, paid, placed, retries};
use super::Options;
use super::metrics::{
    AGE_SECONDS, LAG_RECORDS, PARTITIONS_WAITING, REFUSED_TOTAL, UNDECODABLE_TOTAL,
};

async fn status(store: &Store, id: OrderId) -> Option<OrderStatus> {
    store.order(id).await.unwrap().map(|order| order.status)
}

async fn shows(store: &Store, event: &OrderEvent) -> bool {
    status(store, event.order_id).await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_topics_say_is_in_the_store() {
    let bench = Bench::ready("says").await;
    let (order, store) = (placed("k-1"), bench.store().await);
    let payment = paid(&order);
    let notification = NotificationEvent {
        event_id: NotificationEvent::derive_id(payment.event_id),
        r#type: NotificationEventType::Sent,
        order_id: order.order_id,
        occurred_at: Timestamp::now(),
        payment_event_id: payment.event_id,
        channel: "email".into(),
        template: "paid".into(),
        provider: "resend".into(),
        message_id: None,
        detail: None,
        source: Source { topic: "payments".into(), partition: 0, offset: 0 },
    };
    bench.publish(&order).await;
    bench.publish(&payment).await;
    bench.publish(&notification).await;

    let running = bench.project(options()).await;
    eventually("the service caught up", async || running.handle.caught_up()).await;
    let view = store.order(order.order_id).await.unwrap().unwrap();
    assert_eq!((view.status, view.timeline.len()), (OrderStatus::Paid, 3));
    assert_eq!(view.order, order.order);
    assert_eq!(view.notifications[0].template, "paid");
    assert_eq!((view.receipt.topic.as_str(), view.receipt.offset), ("says-orders", 0));
    assert!(view.receipt.timestamp.since(order.occurred_at).as_secs() < 60);

    let later = placed("k-2");
    bench.publish(&later).await;
    eventually("a later order is shown", || shows(&store, &later)).await;
    running.stop().await.unwrap();
    assert_eq!(store.positions().await.unwrap().iter().map(|p| p.next_offset).sum::<i64>(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_exactly_where_the_store_stands() {
    let bench = Bench::ready("resume").await;
    let store = bench.store().await;
    let (before, after) = (placed("k-1"), placed("k-2"));
    let encoder = comanda_schemas::Encoder::new(1);
    bench.produce(Topic::Orders, 1, &encoder.encode(&before).unwrap()).await;
    bench.produce(Topic::Orders, 1, &encoder.encode(&after).unwrap()).await;
    // The store claims to have read the first record, so that only reading on exactly from there
    // shows the one order and not the other.
    let at =
        Recorded { topic: bench.orders(), partition: 1, offset: 0, timestamp: Timestamp::now() };
    store.apply(&[Applied { at, event: None }]).await.unwrap();

    let running = bench.project(options()).await;
    eventually("the service caught up", async || running.handle.caught_up()).await;
    assert!(shows(&store, &after).await);
    assert!(!shows(&store, &before).await);
    running.stop().await.unwrap();

    let missed = placed("k-3");
    bench.publish(&missed).await;
    let running = bench.project(options()).await;
    eventually("the service caught up again", async || running.handle.caught_up()).await;
    assert!(shows(&store, &missed).await);
    assert!(!shows(&store, &before).await);
    running.stop().await.unwrap();
}

/// What a database can refuse differs; a trigger stands for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_database_refuses_holds_up_no_other() {
    let bench = Bench::ready("refused").await;
    let store = bench.store().await;
    let orders: Vec<_> = (0..20).map(|n| placed(&format!("k-{n}"))).collect();
    let bad = orders[7].order_id;
    let mut database = SqliteConnection::connect(&bench.database()).await.unwrap();
    let refuse = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON facts WHEN new.order_id = '{bad}' \
         BEGIN SELECT RAISE(ABORT, 'does not fit'); END"
    );
    sqlx::query(sqlx::AssertSqlSafe(refuse)).execute(&mut database).await.unwrap();
    let mut last = 0;
    for order in &orders {
        let value = comanda_schemas::Encoder::new(1).encode(order).unwrap();
        last = bench.produce(Topic::Orders, 0, &value).await;
    }
    let running = bench.project(options()).await;
    eventually("all are passed", async || store.passed(&bench.orders(), 0, last).await.unwrap())
        .await;
    for order in &orders {
        assert_eq!(shows(&store, order).await, order.order_id != bad);
    }
    assert_eq!(metric(REFUSED_TOTAL, &bench.orders()), Some(1.0));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_no_events_are_counted_and_passed_over() {
    let bench = Bench::ready("garbage").await;
    let store = bench.store().await;
    let good = placed("k-1");
    let topic = bench.orders();
    let truncated = &comanda_schemas::Encoder::new(1).encode(&good).unwrap()[..40];
    let unknown = serde_json::json!({ "error_code": 40403, "message": "Schema not found" });
    Mock::given(method("GET"))
        .and(path("/schemas/ids/99"))
        .respond_with(ResponseTemplate::new(404).set_body_json(unknown))
        .mount(&bench.registry)
        .await;
    for garbage in [b"{}".as_slice(), b"", truncated, b"\0\0\0\0\x63no such schema"] {
        bench.produce(Topic::Orders, 0, garbage).await;
    }
    let value = comanda_schemas::Encoder::new(1).encode(&good).unwrap();
    let offset = bench.produce(Topic::Orders, 0, &value).await;

    let running = bench.project(options()).await;
    eventually("the order behind them is shown", || shows(&store, &good)).await;
    assert!(store.passed(&topic, 0, offset).await.unwrap());
    assert_eq!(metric(UNDECODABLE_TOTAL, &topic), Some(4.0));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_delays_records_and_loses_none() {
    let bench = Bench::start("registry").await;
    bench.create_topics();
    for (status, times) in [(503, 2), (401, 2), (404, 2)] {
        Mock::given(method("GET"))
            .and(path("/schemas/ids/1"))
            .respond_with(
                ResponseTemplate::new(status).set_body_json(
                    serde_json::json!({ "error_code": status, "message": "not now" }),
                ),
            )
            .up_to_n_times(times)
            .mount(&bench.registry)
            .await;
    }
    bench.answer_schemas().await;
    let (order, store) = (placed("k-1"), bench.store().await);
    bench.publish(&order).await;

    let running = bench.project(options()).await;
    eventually("the order is shown", || shows(&store, &order)).await;
    assert_eq!(retries("registry", &bench.orders()), 6.0);
    assert_eq!(metric(UNDECODABLE_TOTAL, &bench.orders()), None);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_delays_records_and_loses_none() {
    let bench = Bench::ready("store").await;
    let store = bench.store().await;
    let topic = bench.orders();
    let running = bench.project(options_of_one()).await;
    eventually("the service caught up", async || running.handle.caught_up()).await;

    let mut database = SqliteConnection::connect(&bench.database()).await.unwrap();
    sqlx::query("ALTER TABLE order_states RENAME TO gone").execute(&mut database).await.unwrap();
    let orders: Vec<_> = (0..60).map(|n| placed(&format!("k-{n}"))).collect();
    for order in &orders {
        bench.publish(order).await;
    }
    eventually("the store was retried", async || retries("store", &topic) >= 3.0).await;
    let told = running.handle.check().unwrap_err();
    assert!(
        told.starts_with("order store: can't be written: ") && told.contains("since"),
        "{told}"
    );
    let age = metric(AGE_SECONDS, &topic).unwrap();
    eventually("the age grows", async || metric(AGE_SECONDS, &topic) > Some(age)).await;

    sqlx::query("ALTER TABLE gone RENAME TO order_states").execute(&mut database).await.unwrap();
    for order in &orders {
        eventually("each order is shown", || shows(&store, order)).await;
    }
    eventually("nothing is left", async || metric(LAG_RECORDS, &topic) == Some(0.0)).await;
    assert_eq!(running.handle.check(), Ok(()));
    running.stop().await.unwrap();
}

fn options_of_one() -> Options {
    Options { batch_records: 1, ..options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_come_later_are_waited_for() {
    let bench = Bench::start("later").await;
    bench.answer_schemas().await;
    let store = bench.store().await;
    bench.cluster.create_topic(&bench.orders(), 1, 1).unwrap();
    let order = placed("k-1");
    let value = comanda_schemas::Encoder::new(1).encode(&order).unwrap();
    bench.produce(Topic::Orders, 0, &value).await;

    let running = bench.project(options()).await;
    eventually("the topic that is there is read", || shows(&store, &order)).await;
    let missing = bench.names.name(Topic::Payments);
    eventually("a missing topic was tried again", async || retries("kafka", &missing) > 2.0).await;
    assert!(!running.handle.caught_up());
    for topic in [Topic::Payments, Topic::Notifications, Topic::PaymentReports] {
        bench.cluster.create_topic(&bench.names.name(topic), 2, 1).unwrap();
    }
    eventually("the service caught up", async || running.handle.caught_up()).await;
    bench.publish(&paid(&order)).await;
    eventually("the payment is shown", async || {
        status(&store, order.order_id).await == Some(OrderStatus::Paid)
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_waits_alone() {
    let bench = Bench::ready("leaderless").await;
    let (store, order) = (bench.store().await, placed("k-1"));
    bench.cluster.partition_leader(&bench.orders(), 1, None).unwrap();
    let value = comanda_schemas::Encoder::new(1).encode(&order).unwrap();
    bench.produce(Topic::Orders, 0, &value).await;
    let running = bench.project(options()).await;
    eventually("the other partition is read", || shows(&store, &order)).await;
    let waiting = async || metric(PARTITIONS_WAITING, &bench.orders()) == Some(1.0);
    eventually("one waits", waiting).await;
    let told = async || running.handle.check().is_err_and(|told| told.contains("partition 1"));
    eventually("it is told", told).await;
    bench.cluster.partition_leader(&bench.orders(), 1, Some(1)).unwrap();
    eventually("all is read", async || running.handle.check().is_ok()).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_read_once_an_operator_says_so() {
    let bench = Bench::ready("anew").await;
    let (store, order, topic) = (bench.store().await, placed("k-1"), bench.orders());
    bench.publish(&order).await;
    store.adopt_topic(&topic, "1".repeat(32).parse().unwrap()).await.unwrap();
    let running = bench.project(options()).await;
    let told = async || {
        let words = format!("comanda store reread {topic}");
        running.handle.check().is_err_and(|told| told.contains(&words))
    };
    eventually("it is told", told).await;
    assert!(!shows(&store, &order).await && !running.handle.caught_up());
    store.forget_topic(&topic).await.unwrap();
    eventually("the order is shown", || shows(&store, &order)).await;
    eventually("all is read", async || running.handle.check().is_ok()).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_is_waited_for() {
    let bench = Bench::ready("down").await;
    let (store, order) = (bench.store().await, placed("k-1"));
    bench.cluster.broker_down(1).unwrap();
    let running = bench.project(options()).await;
    eventually("Kafka was tried again", async || retries("kafka", &bench.orders()) > 0.0).await;
    bench.cluster.broker_up(1).unwrap();
    bench.publish(&order).await;
    eventually("the order is shown", || shows(&store, &order)).await;
    eventually("the service caught up", async || running.handle.caught_up()).await;

    bench.cluster.broker_down(1).unwrap();
    bench.cluster.broker_up(1).unwrap();
    let later = placed("k-2");
    bench.publish(&later).await;
    eventually("a later order is shown", || shows(&store, &later)).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_asked_though_there_is_no_broker() {
    let mut bench = Bench::start("none").await;
    bench.kafka = kafka("127.0.0.1:1");
    let running = bench.project(options()).await;
    eventually("Kafka was tried again", async || retries("kafka", &bench.orders()) > 0.0).await;
    assert!(!running.handle.caught_up());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_asked_though_the_store_does_not_say_where_to_go_on() {
    let bench = Bench::ready("nowhere").await;
    let running = bench.project(options()).await;
    let mut database = SqliteConnection::connect(&bench.database()).await.unwrap();
    sqlx::query("ALTER TABLE applied_offsets RENAME TO gone").execute(&mut database).await.unwrap();
    let asked = async || retries("store", &bench.orders()) > 0.0;
    eventually("the store was asked again", asked).await;
    assert!(!running.handle.caught_up());
    running.stop().await.unwrap();
}
