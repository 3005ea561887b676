//! Whether an order of somebody else exists: nothing tells.

use std::collections::BTreeMap;

use anyhow::Result;
use comanda_schemas::OrderId;
use serde_json::{Value, json};

use crate::house::{ANA, BOB, House, PLACE, order};
use crate::ws_client::WsClient;

const READ: &str = "query($id: ID!, $receipt: String) {
    order(id: $id, receipt: $receipt) { id status customerId } }";
const LIST: &str = "query($filter: OrderFilter) {
    orders(filter: $filter) { nodes { id } pageInfo { hasNextPage endCursor } } }";
const WATCH: &str = "subscription($id: ID, $after: String) {
    orderUpdates(orderId: $id, after: $after) { cursor orderId } }";

/// Headers that differ from answer to answer.
const OF_ITS_OWN: [&str; 3] = ["date", "x-request-id", "traceparent"];

/// All of an answer but what is its own.
#[derive(Debug, PartialEq)]
struct Whole {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

async fn ask(house: &House, key: &str, query: &str, variables: Value) -> Result<Whole> {
    let request = house.http.post(house.url()).bearer_auth(key);
    let request = request.header("accept", "application/graphql-response+json");
    let response = request.json(&json!({ "query": query, "variables": variables })).send().await?;
    let headers =
        response.headers().iter().filter(|(name, _)| !OF_ITS_OWN.contains(&name.as_str()));
    let headers =
        headers.map(|(name, value)| Ok((name.as_str().to_owned(), value.to_str()?.to_owned())));
    let headers = headers.collect::<Result<_>>()?;
    Ok(Whole { status: response.status().as_u16(), headers, body: response.text().await? })
}

/// What a subscription begins with.
async fn watch(house: &House, key: &str, variables: Value) -> Result<Value> {
    let mut client = WsClient::of(house.addr, key).await?;
    client.subscribe("1", WATCH, variables).await?;
    client.hear().await
}

/// Compares what Bob learns of Ana's order with what he learns of one that nobody placed. That
/// the two differ for Ana shows that they could.
async fn compare(house: &House, anas: &str, receipt: &str) -> Result<()> {
    let nobodys = OrderId::random().to_string();
    for receipt in [Value::Null, json!(receipt), json!("no receipt")] {
        let of = |id: &str| json!({ "id": id, "receipt": receipt });
        let answers =
            [ask(house, BOB, READ, of(anas)).await?, ask(house, BOB, READ, of(&nobodys)).await?];
        assert_eq!(answers[0], answers[1], "{receipt}");
    }
    for after in [Value::Null, json!("no cursor")] {
        let of = |id: &str| json!({ "id": id, "after": after });
        let answers = [watch(house, BOB, of(anas)).await?, watch(house, BOB, of(&nobodys)).await?];
        assert_eq!(answers[0], answers[1], "{after}");
    }
    let of = |id: &str| json!({ "id": id });
    assert_ne!(watch(house, ANA, of(anas)).await?, watch(house, ANA, of(&nobodys)).await?);

    let of = |customer: &str| json!({ "filter": { "customerId": customer } });
    let answers =
        [ask(house, BOB, LIST, of("ana")).await?, ask(house, BOB, LIST, of("nobody")).await?];
    assert_eq!(answers[0], answers[1]);
    let of = |key: &str| json!({ "input": order("ana", Some(key)) });
    let answers =
        [ask(house, BOB, PLACE, of("used")).await?, ask(house, BOB, PLACE, of("unused")).await?];
    assert_eq!(answers[0], answers[1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_another_and_none_look_the_same_when_the_store_has_it() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let (id, receipt) = house.placed(ANA, order("ana", Some("used"))).await?;
    let read = ask(&house, ANA, READ, json!({ "id": id, "receipt": receipt })).await?;
    assert!(read.body.contains(&id), "{read:?}");
    compare(&house, &id, &receipt).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_another_and_none_look_the_same_when_the_store_is_behind() -> Result<()> {
    let house = House::with(|options| options.receipt_wait_ms = 200).await?;
    let (id, receipt) = house.placed(ANA, order("ana", Some("used"))).await?;
    let read = ask(&house, ANA, READ, json!({ "id": id, "receipt": receipt })).await?;
    assert!(read.body.contains("RECEIPT_TIMEOUT"), "{read:?}");
    compare(&house, &id, &receipt).await
}
