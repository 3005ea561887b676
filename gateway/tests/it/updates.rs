//! Watching orders.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use comanda_producer::Producer;
use comanda_schemas::{
    OrderEvent, OrderEventType, OrderId, Payment, PaymentEvent, PaymentEventType, Source,
    Timestamp, TraceContext,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::house::{ANA, BOB, House, OPERATOR, PATIENCE, eventually, order};
use crate::ws_client::WsClient;

pub const WATCH: &str = "subscription($id: ID, $after: String) {
    orderUpdates(orderId: $id, after: $after) { cursor type orderId eventId order { status } } }";

/// Charges the order, as the payment processor would.
pub async fn charge(house: &House, producer: &Producer<PaymentEvent>, id: &str) -> Result<()> {
    let id: OrderId = id.parse()?;
    let order = eventually("the order", || async { Ok(house.store.order(id).await?) }).await?;
    let cause = OrderEvent::derive_id(id, 1, OrderEventType::Placed);
    let event = PaymentEvent {
        event_id: PaymentEvent::derive_id(cause),
        r#type: PaymentEventType::Succeeded,
        order_id: id,
        version: 1,
        occurred_at: Timestamp::now(),
        payment: Payment {
            provider: "test".into(),
            payment_id: Some("pi_1".into()),
            amount_minor: order.order.total_minor,
            currency: order.order.currency,
            reason: None,
            detail: None,
            attempts: 1,
        },
        order: order.order,
        source: Source { topic: "orders".into(), partition: 0, offset: 0 },
    };
    producer.publish(&event, &TraceContext::new_root()).await?;
    Ok(())
}

/// Places orders until the client hears of one: a subscription is not acknowledged.
async fn until_it_listens(house: &House, client: &mut WsClient) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        house.placed(ANA, order("ana", None)).await?;
        if let Ok(heard) = timeout(Duration::from_millis(200), client.data("1")).await {
            return heard.map(drop);
        }
    }
    bail!("it hears of nothing")
}

pub fn kind(update: &Value) -> (&str, &str) {
    let update = &update["orderUpdates"];
    (update["type"].as_str().unwrap(), update["order"]["status"].as_str().unwrap_or("none"))
}

pub fn cursor(update: &Value) -> Value {
    update["orderUpdates"]["cursor"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_watched_from_its_state_to_its_next_event() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let payments = house.producer::<PaymentEvent>().await?;
    let (id, _) = house.placed(ANA, order("ana", None)).await?;
    let mut client = WsClient::of(house.addr, ANA).await?;
    client.subscribe("1", WATCH, json!({ "id": id })).await?;
    let state = client.data("1").await?;
    assert_eq!(kind(&state), ("ORDER_PLACED", "PENDING"));
    assert_eq!(state["orderUpdates"]["orderId"], json!(id));
    charge(&house, &payments, &id).await?;
    assert_eq!(kind(&client.data("1").await?), ("PAYMENT_SUCCEEDED", "PAID"));

    let mut late = WsClient::of(house.addr, ANA).await?;
    late.subscribe("1", WATCH, json!({ "id": id })).await?;
    assert_eq!(kind(&late.data("1").await?), ("PAYMENT_SUCCEEDED", "PAID"));
    late.subscribe("2", WATCH, json!({ "id": id, "after": cursor(&state) })).await?;
    assert_eq!(kind(&late.data("2").await?), ("PAYMENT_SUCCEEDED", "PAID"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_another_does_not_exist() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let (id, _) = house.placed(ANA, order("ana", None)).await?;
    let mut client = WsClient::of(house.addr, BOB).await?;
    let nobody = OrderId::random().to_string();
    let mut answers = Vec::new();
    for wrong in [id.as_str(), &nobody, "no-id"] {
        client.subscribe("1", WATCH, json!({ "id": wrong })).await?;
        let refused = client.hear().await?;
        assert_eq!(refused["type"], "error");
        assert_eq!(refused["payload"][0]["extensions"]["code"], "NOT_FOUND");
        answers.push(refused);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_watches_its_own_orders_and_an_operator_all() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let payments = house.producer::<PaymentEvent>().await?;
    house.placed(ANA, order("ana", None)).await?;
    let mut ana = WsClient::of(house.addr, ANA).await?;
    ana.subscribe("1", WATCH, json!({})).await?;
    until_it_listens(&house, &mut ana).await?;
    let mut operator = WsClient::of(house.addr, OPERATOR).await?;
    operator.subscribe("1", WATCH, json!({})).await?;
    until_it_listens(&house, &mut operator).await?;
    let (bobs, _) = house.placed(BOB, order("bob", None)).await?;
    charge(&house, &payments, &bobs).await?;
    let (anas, _) = house.placed(ANA, order("ana", None)).await?;
    charge(&house, &payments, &anas).await?;
    // Orders from before may still come: partitions go their own pace.
    let of = |id: &str| ["ORDER_PLACED", "PAYMENT_SUCCEEDED"].map(|kind| format!("{id} {kind}"));
    let mut all: HashSet<_> = of(&bobs).into_iter().chain(of(&anas)).collect();
    while !all.is_empty() {
        let update = operator.data("1").await?;
        let id = update["orderUpdates"]["orderId"].as_str().unwrap();
        all.remove(&format!("{id} {}", kind(&update).0));
    }
    let mut own = HashSet::from(of(&anas));
    while !own.is_empty() {
        let update = ana.data("1").await?;
        let id = update["orderUpdates"]["orderId"].as_str().unwrap();
        assert_ne!(id, bobs);
        own.remove(&format!("{id} {}", kind(&update).0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_with_a_cursor_misses_nothing_and_gets_nothing_twice() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let mut client = WsClient::of(house.addr, OPERATOR).await?;
    client.subscribe("1", WATCH, json!({})).await?;
    until_it_listens(&house, &mut client).await?;
    let (marker, _) = house.placed(ANA, order("ana", None)).await?;
    let mut last = loop {
        let update = client.data("1").await?;
        if update["orderUpdates"]["orderId"] == json!(marker) {
            break cursor(&update);
        }
    };
    let (mut placed, mut seen) = (Vec::new(), Vec::new());
    for round in 1..=5 {
        // Some are missed, some come while the client comes back, some after.
        for _ in 0..7 {
            placed.push(json!(house.placed(ANA, order("ana", None)).await?.0));
        }
        client = WsClient::of(house.addr, OPERATOR).await?;
        client.subscribe("1", WATCH, json!({ "after": last })).await?;
        for _ in 0..7 {
            placed.push(json!(house.placed(ANA, order("ana", None)).await?.0));
        }
        let until = if round == 5 { placed.len() } else { placed.len() - 5 };
        while seen.len() < until {
            let update = client.data("1").await?;
            last = cursor(&update);
            seen.push(update["orderUpdates"]["orderId"].clone());
        }
    }
    let distinct: HashSet<_> = seen.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len(), seen.len(), "nothing twice");
    let all: HashSet<_> = placed.iter().map(Value::to_string).collect();
    assert_eq!(distinct, all);
    Ok(())
}

/// The order ids of updates, up to the one of `until`.
async fn heard_until(client: &mut WsClient, until: &str) -> Result<(Vec<Value>, Value)> {
    let mut heard = Vec::new();
    loop {
        let update = client.data("1").await?;
        let id = update["orderUpdates"]["orderId"].clone();
        heard.push(id.clone());
        if id == json!(until) {
            return Ok((heard, cursor(&update)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_cursor_is_past_what_others_did() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let mut operator = WsClient::of(house.addr, OPERATOR).await?;
    operator.subscribe("1", WATCH, json!({})).await?;
    until_it_listens(&house, &mut operator).await?;
    let mut ana = WsClient::of(house.addr, ANA).await?;
    ana.subscribe("1", WATCH, json!({})).await?;
    until_it_listens(&house, &mut ana).await?;
    let mut bobs = Vec::new();
    for _ in 0..20 {
        bobs.push(house.placed(BOB, order("bob", None)).await?.0);
    }
    // All of them were read, whatever their partition.
    let mut left: HashSet<_> = bobs.iter().map(|id| json!(id)).collect();
    while !left.is_empty() {
        left.remove(&operator.data("1").await?["orderUpdates"]["orderId"]);
    }
    let (anas, _) = house.placed(ANA, order("ana", None)).await?;
    let (_, after) = heard_until(&mut ana, &anas).await?;

    // To an operator the same cursor tells what was seen of others.
    let mut next = WsClient::of(house.addr, OPERATOR).await?;
    next.subscribe("1", WATCH, json!({ "after": after })).await?;
    let (last, _) = house.placed(BOB, order("bob", None)).await?;
    let (heard, _) = heard_until(&mut next, &last).await?;
    assert!(!heard.iter().any(|id| bobs.iter().any(|bobs| id == bobs)), "{heard:?}");
    Ok(())
}

/// The catch-up asks for the customer's own events; its cursor is past those of others all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_comes_back_gets_its_own_events_and_a_cursor_past_those_of_others()
-> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let mut anas = Vec::new();
    for n in 0..130 {
        if n % 50 == 0 {
            anas.push(json!(house.placed(ANA, order("ana", None)).await?.0));
        }
        house.placed(BOB, order("bob", None)).await?;
    }
    eventually("all orders in the store", || async {
        let data = house.data(OPERATOR, "{ orders(first: 1) { totalCount } }", json!({})).await?;
        Ok((data["orders"]["totalCount"] == 133).then_some(()))
    })
    .await?;
    // From the beginning of all topics.
    let since_ever = json!({ "after": "AQ" });
    let mut ana = WsClient::of(house.addr, ANA).await?;
    ana.subscribe("1", WATCH, since_ever.clone()).await?;
    let mut heard = Vec::new();
    while heard.len() < anas.len() {
        heard.push(ana.data("1").await?["orderUpdates"]["orderId"].clone());
    }
    let (last, _) = house.placed(ANA, order("ana", None)).await?;
    let (more, after) = heard_until(&mut ana, &last).await?;
    assert_eq!(more, [json!(last)], "nothing of another's, and nothing twice");
    let set = |ids: &[Value]| ids.iter().map(Value::to_string).collect::<HashSet<_>>();
    assert_eq!(set(&heard), set(&anas));
    // To an operator the same cursor tells what was seen of others.
    let mut operator = WsClient::of(house.addr, OPERATOR).await?;
    operator.subscribe("1", WATCH, json!({ "after": after })).await?;
    let (end, _) = house.placed(BOB, order("bob", None)).await?;
    assert_eq!(heard_until(&mut operator, &end).await?.0, [json!(end)]);
    Ok(())
}

/// A customer's own events, of two topics, across the seam from the store to the topics; others place
/// orders meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_comes_back_again_and_again_misses_nothing_and_gets_nothing_twice()
-> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let payments = house.producer::<PaymentEvent>().await?;
    let (mut wanted, mut heard) = (HashSet::new(), HashSet::new());
    let mut last = json!("AQ");
    for round in 0..12 {
        let mut client = WsClient::of(house.addr, ANA).await?;
        client.subscribe("1", WATCH, json!({ "after": last })).await?;
        let act = async {
            let mut placed = Vec::new();
            for _ in 0..3 {
                house.placed(BOB, order("bob", None)).await?;
                let (id, _) = house.placed(ANA, order("ana", None)).await?;
                charge(&house, &payments, &id).await?;
                placed.push(id);
            }
            anyhow::Ok(placed)
        };
        // It goes again in the middle of what happens.
        let hear = async {
            for _ in 0..=round % 5 {
                let update = client.data("1").await?;
                last = cursor(&update);
                let update = &update["orderUpdates"];
                let what = (update["orderId"].to_string(), update["type"].to_string());
                anyhow::ensure!(heard.insert(what.clone()), "{what:?} came twice");
            }
            anyhow::Ok(())
        };
        let (placed, told) = tokio::join!(act, hear);
        told?;
        for id in placed? {
            for kind in ["ORDER_PLACED", "PAYMENT_SUCCEEDED"] {
                wanted.insert((json!(id).to_string(), json!(kind).to_string()));
            }
        }
    }
    let mut client = WsClient::of(house.addr, ANA).await?;
    client.subscribe("1", WATCH, json!({ "after": last })).await?;
    while heard.len() < wanted.len() {
        let update = client.data("1").await?;
        let update = &update["orderUpdates"];
        let what = (update["orderId"].to_string(), update["type"].to_string());
        assert!(heard.insert(what.clone()), "{what:?} came twice");
    }
    assert_eq!(heard, wanted);
    Ok(())
}

/// Many subscriptions at one time, of one customer and of others, each catch up without a gap.
#[tokio::test(flavor = "multi_thread")]
async fn many_catch_ups_at_one_time_take_their_turns() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let (first, _) = house.placed(ANA, order("ana", None)).await?;
    let (bobs, _) = house.placed(BOB, order("bob", None)).await?;
    let mut ana = WsClient::of(house.addr, ANA).await?;
    let mut bob = WsClient::of(house.addr, BOB).await?;
    let since_ever = || json!({ "after": "AQ" });
    for n in 0..40 {
        ana.subscribe(&n.to_string(), WATCH, since_ever()).await?;
    }
    bob.subscribe("1", WATCH, since_ever()).await?;
    assert_eq!(bob.data("1").await?["orderUpdates"]["orderId"], json!(bobs));
    let mut told = HashSet::new();
    while told.len() < 40 {
        let message = ana.hear().await?;
        let id = &message["payload"]["data"]["orderUpdates"]["orderId"];
        assert_eq!(id, &json!(first), "{message}");
        assert!(told.insert(message["id"].to_string()), "{message}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_too_slow_is_told_where_to_go_on() -> Result<()> {
    let house = House::with(|options| {
        options.subscriber_queue = 2;
        options.ws_queue = 1;
        options.receipt_wait_ms = 300;
    })
    .await?;
    let mut client = WsClient::of(house.addr, OPERATOR).await?;
    // Without anybody who fills the store, each update takes its time.
    client.subscribe("1", WATCH, json!({})).await?;
    let refused = loop {
        house.placed(ANA, order("ana", None)).await?;
        if let Ok(message) = timeout(Duration::from_millis(5), client.hear()).await {
            let message = message?;
            if message["type"] == "error" {
                break message;
            }
        }
    };
    let extensions = &refused["payload"][0]["extensions"];
    assert_eq!(extensions, &json!({ "code": "SLOW_CONSUMER", "retriable": true }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_for_a_cursor_is_refused() -> Result<()> {
    let house = House::open().await?;
    let mut client = WsClient::of(house.addr, OPERATOR).await?;
    // The second names partition 127 of the first topic: there are three.
    for wrong in ["x", "AQB_AQ"] {
        client.subscribe("1", WATCH, json!({ "after": wrong })).await?;
        let refused = client.hear().await?;
        assert_eq!(refused["payload"][0]["extensions"]["code"], "BAD_USER_INPUT", "{wrong}");
    }
    Ok(())
}
