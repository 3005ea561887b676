//! Changing orders: what is refused at once, and what the log decides.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use comanda_schemas::{OrderEventType, PaymentEvent};
use futures_util::future::try_join_all;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{ANA, BOB, House, OPERATOR, code, eventually, options, order};
use crate::placing::stored;
use crate::updates::charge;
use crate::ws_client::WsClient;

const ANSWER: &str = "order { id status version note totalMinor paymentMethod contact { email }
        payment { status } timeline { type version } }
    receipt { topic offset token } errors { code path retriable }";

/// Asks for a change at the gateway at `addr`; its payload.
async fn at(addr: SocketAddr, house: &House, key: &str, name: &str, input: Value) -> Result<Value> {
    let kind = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
    let query = format!("mutation($input: {kind}!) {{ {name}(input: $input) {{ {ANSWER} }} }}");
    let body = json!({ "query": query, "variables": { "input": input } });
    let url = format!("http://{addr}/graphql");
    let answer = house.http.post(url).bearer_auth(key).json(&body).send().await?;
    let answer: Value = answer.json().await?;
    anyhow::ensure!(answer["errors"].is_null(), "{answer}");
    Ok(answer["data"][name].clone())
}

async fn change(house: &House, key: &str, name: &str, input: Value) -> Result<Value> {
    at(house.addr, house, key, name, input).await
}

/// An order of Ana's that the store has.
async fn seen(house: &House) -> Result<String> {
    let (id, token) = house.placed(ANA, order("ana", None)).await?;
    let read = "query($id: ID!, $receipt: String) { order(id: $id, receipt: $receipt) { id } }";
    house.data(ANA, read, json!({ "id": id, "receipt": token })).await?;
    Ok(id)
}

async fn another(house: &House) -> Result<SocketAddr> {
    let another = house.another(options()).await?;
    let addr = another.addr();
    tokio::spawn(another.run_until_stopped(house.shutdown.clone()));
    Ok(addr)
}

fn codes(payload: &Value) -> Vec<(&str, String)> {
    let errors = payload["errors"].as_array().unwrap().iter();
    let path = |error: &Value| {
        let path = error["path"].as_array().unwrap().iter();
        path.map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join(".")
    };
    errors.map(|error| (error["code"].as_str().unwrap(), path(error))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_stored_and_the_next_one_goes_on_from_it() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    // The store need not have seen the order: this gateway knows that it is there.
    let (id, _) = house.placed(ANA, order("ana", None)).await?;
    let lines = json!([{ "sku": "A", "name": "Ajo blanco", "quantity": 3, "unitPriceMinor": 100 }]);
    let payload =
        change(&house, ANA, "updateOrder", json!({ "orderId": id, "lines": lines })).await?;
    assert_eq!(payload["errors"], json!([]));
    let changed = &payload["order"];
    assert_eq!((&changed["version"], &changed["totalMinor"]), (&json!(2), &json!(300)));
    assert_eq!(changed["status"], "PENDING");
    let contact = json!({ "name": "Bo", "email": "bo@example.com" });
    let input = json!({ "orderId": id, "contact": contact, "note": "pepper" });
    let payload = change(&house, OPERATOR, "updateOrder", input).await?;
    let changed = &payload["order"];
    assert_eq!((&changed["version"], &changed["totalMinor"]), (&json!(3), &json!(300)));
    assert_eq!(changed["contact"], json!({ "email": "bo@example.com" }));
    let input = json!({ "orderId": id, "reason": "too late", "expectedVersion": 3 });
    let payload = change(&house, ANA, "cancelOrder", input).await?;
    let kinds: Vec<_> = payload["order"]["timeline"].as_array().unwrap().iter().collect();
    let entry = |kind: &str, version: i32| json!({ "type": kind, "version": version });
    let expected = [
        entry("ORDER_PLACED", 1),
        entry("ORDER_UPDATED", 2),
        entry("ORDER_UPDATED", 3),
        entry("ORDER_CANCELLED", 4),
    ];
    assert_eq!(kinds, expected.iter().collect::<Vec<_>>());

    let stored = stored(&house).await?;
    let versions: Vec<i32> = stored.iter().map(|s| s.event.version).collect();
    assert_eq!(versions, [1, 2, 3, 4]);
    assert!(stored.iter().all(|s| s.event.order_id.to_string() == id));
    let last = stored.last().unwrap();
    assert_eq!(last.event.r#type, OrderEventType::Cancelled);
    assert_eq!(last.event.reason.as_deref(), Some("too late"));
    assert_eq!(last.event.order.note.as_deref(), Some("pepper"));
    assert_eq!(payload["receipt"]["offset"], json!(last.offset));
    let seen: Vec<_> = stored.iter().map(|s| s.event.seen_offset).collect();
    assert_eq!(seen, [None, Some(1), Some(2), Some(3)], "nothing can have come in between");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_another_and_one_that_is_missing_get_the_same_answer() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let id = seen(&house).await?;
    let missing = "7d1c5a52-9c0e-4a54-9b0e-1f4f3c2b1a00";
    for (name, more) in [
        ("updateOrder", json!({ "note": "x" })),
        ("cancelOrder", json!({})),
        ("retryPayment", json!({})),
    ] {
        let mut answers = Vec::new();
        for wrong in [id.as_str(), missing, "no id"] {
            let mut input = more.clone();
            input["orderId"] = json!(wrong);
            answers.push(change(&house, BOB, name, input).await?);
        }
        assert_eq!(codes(&answers[0]), [("NOT_FOUND", "input.orderId".to_owned())]);
        assert_eq!(answers[0]["order"], Value::Null);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    assert_eq!(stored(&house).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_a_key_and_sense() -> Result<()> {
    let house = House::open().await?;
    let query =
        "mutation($input: CancelOrderInput!) { cancelOrder(input: $input) { errors { code } } }";
    let (status, answer) = house.ask(None, query, json!({ "input": { "orderId": "x" } })).await?;
    assert_eq!((status, code(&answer)), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"));
    let input =
        json!({ "orderId": "x", "expectedVersion": 0, "paymentMethod": "4242424242424242" });
    let payload = change(&house, ANA, "retryPayment", input).await?;
    let mut wrong = codes(&payload);
    wrong.sort_unstable();
    let expected = [
        ("CARD_NUMBER", "input.paymentMethod".to_owned()),
        ("OUT_OF_RANGE", "input.expectedVersion".to_owned()),
    ];
    assert_eq!(wrong, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_shows_to_be_impossible_is_refused_with_the_order_as_it_is() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let payments = house.producer::<PaymentEvent>().await?;
    let id = seen(&house).await?;
    charge(&house, &payments, &id).await?;
    let paid = eventually("it is paid", || async {
        let payload = change(&house, ANA, "retryPayment", json!({ "orderId": id })).await?;
        Ok((payload["order"]["status"] == "PAID").then_some(payload))
    });
    assert_eq!(codes(&paid.await?), [("PAYMENT_NOT_FAILED", "input.orderId".to_owned())]);
    let input = json!({ "orderId": id, "paymentMethod": "pm_other" });
    let payload = change(&house, ANA, "updateOrder", input).await?;
    assert_eq!(codes(&payload), [("ORDER_PAID", "input.paymentMethod".to_owned())]);
    assert_eq!(payload["order"]["paymentMethod"], "pm_card_visa");
    let input = json!({ "orderId": id, "note": "x", "expectedVersion": 2 });
    let payload = change(&house, ANA, "updateOrder", input).await?;
    assert_eq!(codes(&payload), [("VERSION_CONFLICT", "input.expectedVersion".to_owned())]);
    assert_eq!(payload["order"]["version"], 1);
    assert_eq!(stored(&house).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_order_at_one_time_follow_one_another() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let (id, _) = house.placed(ANA, order("ana", None)).await?;
    let racing = (0..10).map(|n| {
        let input = json!({ "orderId": id, "note": format!("note {n}") });
        change(&house, ANA, "updateOrder", input)
    });
    let answers = try_join_all(racing).await?;
    assert!(answers.iter().all(|answer| answer["errors"] == json!([])), "{answers:?}");
    let stored = stored(&house).await?;
    let versions: Vec<i32> = stored.iter().map(|s| s.event.version).collect();
    assert_eq!(versions, (1..=11).collect::<Vec<_>>());
    Ok(())
}

/// Between two gateways nobody but the log can say who was first.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_to_one_version_the_first_in_the_log_stands() -> Result<()> {
    let house = House::open().await?;
    let projector = house.projector().await?;
    let id = seen(&house).await?;
    drop(projector);
    let other = another(&house).await?;
    let input = |note: &str| json!({ "orderId": id, "note": note, "expectedVersion": 1 });
    let first = change(&house, ANA, "updateOrder", input("first")).await?;
    let second = at(other, &house, ANA, "updateOrder", input("second")).await?;
    for answer in [&first, &second] {
        assert_eq!(answer["errors"], json!([]));
        assert_eq!(answer["order"]["version"], 2);
    }
    let records = stored(&house).await?;
    assert_eq!((records[1].event.version, records[2].event.version), (2, 2));
    assert_ne!(records[1].event.event_id, records[2].event.event_id);
    assert_eq!(records[2].event.seen_offset, Some(1), "from there on it has to be looked at");

    let _projector = house.projector().await?;
    let receipt = &second["receipt"]["token"];
    let late = json!({ "orderId": id, "note": "first", "receipt": receipt });
    let payload = change(&house, ANA, "updateOrder", late).await?;
    assert_eq!(payload["errors"], json!([]));
    assert_eq!(payload["order"]["note"], "first", "what is there already is no change");
    assert_eq!(payload["order"]["timeline"].as_array().unwrap().len(), 3);
    assert_eq!(stored(&house).await?.len(), 3);
    Ok(())
}

/// A client that had no answer sends its request again, to a gateway that knows nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_with_an_expected_version_is_one_change() -> Result<()> {
    let house = House::open().await?;
    let projector = house.projector().await?;
    let id = seen(&house).await?;
    drop(projector);
    let other = another(&house).await?;
    let input = json!({ "orderId": id, "note": "pepper", "expectedVersion": 1 });
    let first = change(&house, ANA, "updateOrder", input.clone()).await?;
    at(other, &house, ANA, "updateOrder", input.clone()).await?;
    let records = stored(&house).await?;
    assert_eq!(records[1].event.event_id, records[2].event.event_id);

    let _projector = house.projector().await?;
    let third = change(&house, ANA, "updateOrder", input).await?;
    assert_eq!(third["errors"], json!([]));
    assert_eq!(third["receipt"], first["receipt"]);
    assert_eq!(third["order"]["timeline"].as_array().unwrap().len(), 2);
    assert_eq!(stored(&house).await?.len(), 3, "it was found and not written again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_broker_refuses_is_an_error_and_can_be_sent_again() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let id = seen(&house).await?;
    house.broker.with_cluster(|cluster| {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        // Once in its batch, and once alone.
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal, refusal]);
    });
    let query =
        "mutation($input: CancelOrderInput!) { cancelOrder(input: $input) { receipt { token } } }";
    let variables = json!({ "input": { "orderId": id, "expectedVersion": 1 } });
    let (status, answer) = house.ask(Some(ANA), query, variables.clone()).await?;
    assert_eq!((status, code(&answer)), (StatusCode::BAD_GATEWAY, "BROKER_REJECTED"));
    let data = house.data(ANA, query, variables).await?;
    data["cancelOrder"]["receipt"]["token"].as_str().context("a receipt")?;
    assert_eq!(stored(&house).await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_behind_is_a_retriable_failure() -> Result<()> {
    let house = House::with(|options| options.receipt_wait_ms = 50).await?;
    let (id, _) = house.placed(ANA, order("ana", None)).await?;
    let query =
        "mutation($input: CancelOrderInput!) { cancelOrder(input: $input) { receipt { token } } }";
    let (status, answer) =
        house.ask(Some(ANA), query, json!({ "input": { "orderId": id } })).await?;
    assert_eq!((status, code(&answer)), (StatusCode::GATEWAY_TIMEOUT, "RECEIPT_TIMEOUT"));
    assert_eq!(answer["errors"][0]["extensions"]["retriable"], json!(true));
    assert_eq!(stored(&house).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_hears_of_changes() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let id = seen(&house).await?;
    let mut client = WsClient::of(house.addr, ANA).await?;
    let watch = "subscription($id: ID) { orderUpdates(orderId: $id) { type order { version } } }";
    client.subscribe("1", watch, json!({ "id": id })).await?;
    let heard = |kind: &str, version: i32| json!({ "orderUpdates": { "type": kind, "order": { "version": version } } });
    assert_eq!(client.data("1").await?, heard("ORDER_PLACED", 1));
    change(&house, ANA, "updateOrder", json!({ "orderId": id, "note": "pepper" })).await?;
    assert_eq!(client.data("1").await?, heard("ORDER_UPDATED", 2));
    change(&house, ANA, "cancelOrder", json!({ "orderId": id })).await?;
    assert_eq!(client.data("1").await?, heard("ORDER_CANCELLED", 3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_without_a_result_are_bounded_and_a_cancellation_is_taken() -> Result<()> {
    let house = House::with(|options| options.max_open_changes = 3).await?;
    let _projector = house.projector().await?;
    let (id, _) = house.placed(ANA, order("ana", None)).await?;
    let note = |n: i32| json!({ "orderId": id, "note": format!("note {n}") });
    for n in 0..3 {
        let answer = change(&house, ANA, "updateOrder", note(n)).await?;
        assert_eq!(answer["errors"], json!([]), "{answer}");
    }
    let refused = change(&house, ANA, "updateOrder", note(3)).await?;
    assert_eq!(codes(&refused), [("TOO_MANY_CHANGES", "input.orderId".to_owned())]);
    assert_eq!(refused["errors"][0]["retriable"], json!(true));
    let cancelled = change(&house, ANA, "cancelOrder", json!({ "orderId": id })).await?;
    assert_eq!(cancelled["errors"], json!([]), "{cancelled}");
    Ok(())
}
