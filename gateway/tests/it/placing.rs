//! Placing orders: accepted means stored, one order per key.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use comanda_gateway::Publisher;
use comanda_producer::Receipt;
use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{OrderEvent, Topic, TraceContext, headers};
use rdkafka::Message;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{ANA, BOB, House, OPERATOR, PATIENCE, PLACE, code, options, order};

/// A record of the orders topic.
pub struct Stored {
    pub event: OrderEvent,
    key: String,
    partition: i32,
    pub offset: i64,
    trace: String,
}

/// Everything that is in the orders topic.
pub async fn stored(house: &House) -> Result<Vec<Stored>> {
    let (kafka, topic) = (house.kafka.clone(), house.names.name(Topic::Orders));
    let registry = house.registry.clone();
    let reading = tokio::task::spawn_blocking(move || -> Result<Vec<Stored>> {
        let mut scan = Scan::open(&kafka, &topic, From::Beginning)?;
        let mut found = Vec::new();
        while let Step::Record(record) = scan.next(PATIENCE)? {
            let event = registry.read_known(record.payload().unwrap()).unwrap()?;
            found.push(Stored {
                event,
                key: String::from_utf8(record.key().unwrap().to_vec())?,
                partition: record.partition(),
                offset: record.offset(),
                trace: headers::text(record.headers().unwrap(), "traceparent").unwrap().into(),
            });
        }
        Ok(found)
    });
    reading.await?
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_order_is_in_the_topic_at_its_receipt() -> Result<()> {
    let house = House::open().await?;
    let payload = house.place(ANA, order("ana", Some("k-1"))).await?;
    assert_eq!(payload["errors"], json!([]));
    let placed = &payload["order"];
    assert_eq!(placed["status"], "PENDING");
    assert_eq!(placed["version"], 1);
    assert_eq!(placed["totalMinor"], 1780);
    assert_eq!(placed["payment"], json!({ "status": "PENDING" }));
    assert_eq!(placed["timeline"], json!([{ "type": "ORDER_PLACED" }]));

    let stored = stored(&house).await?;
    assert_eq!(stored.len(), 1);
    let record = &stored[0];
    assert_eq!(json!(record.key), placed["id"]);
    assert_eq!(record.event.customer_id, "ana");
    assert_eq!(record.event.order.total_minor, 1780);
    assert_eq!(record.event.order.lines.len(), 2);
    let receipt = &payload["receipt"];
    assert_eq!(receipt["topic"], "orders");
    assert_eq!(receipt["partition"], json!(record.partition));
    assert_eq!(receipt["offset"], json!(record.offset));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_trace_goes_on_in_the_record() -> Result<()> {
    let house = House::open().await?;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let variables = json!({ "input": order("ana", None) });
    let request = house.http.post(house.url()).bearer_auth(ANA).header("traceparent", trace);
    request.json(&json!({ "query": PLACE, "variables": variables })).send().await?;
    let stored = stored(&house).await?;
    assert!(stored[0].trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    assert_ne!(stored[0].trace, trace);
    assert!(TraceContext::parse(&stored[0].trace).is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_order_and_receipt_at_once_and_in_a_race() -> Result<()> {
    let house = House::open().await?;
    let racing = (0..20).map(|_| house.place(ANA, order("ana", Some("k-1"))));
    let mut answers = futures_util::future::try_join_all(racing).await?;
    answers.push(house.place(ANA, order("ana", Some("k-1"))).await?);
    let distinct: HashSet<String> =
        answers.iter().map(|a| format!("{} {}", a["order"]["id"], a["receipt"]["token"])).collect();
    assert_eq!(distinct.len(), 1, "{distinct:?}");
    assert!(answers.iter().all(|a| a["errors"] == json!([])));
    assert_eq!(stored(&house).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_finds_the_order_in_the_store() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let (id, token) = house.placed(ANA, order("ana", Some("k-1"))).await?;
    let read = "query($id: ID!, $receipt: String) { order(id: $id, receipt: $receipt) { id } }";
    house.data(ANA, read, json!({ "id": id, "receipt": token })).await?;

    let another = house.another(options()).await?;
    let url = format!("http://{}/graphql", another.addr());
    tokio::spawn(another.run_until_stopped(house.shutdown.clone()));
    let again = async |input: Value| -> Result<Value> {
        let body = json!({ "query": PLACE, "variables": { "input": input } });
        let response = house.http.post(&url).bearer_auth(ANA).json(&body).send().await?;
        Ok(response.json::<Value>().await?["data"]["placeOrder"].clone())
    };
    let same = again(order("ana", Some("k-1"))).await?;
    assert_eq!(same["order"]["id"], json!(id));
    assert_eq!(same["receipt"]["token"], json!(token));
    let mut other = order("ana", Some("k-1"));
    other["lines"][0]["quantity"] = json!(3);
    let conflict = again(other).await?;
    assert_eq!(conflict["order"], Value::Null);
    assert_eq!(conflict["errors"][0]["code"], "IDEMPOTENCY_CONFLICT");
    assert_eq!(stored(&house).await?.len(), 1);
    Ok(())
}

/// No projector runs: the order store has none of it.
#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_finds_the_order_in_the_log_before_the_store_has_it() -> Result<()> {
    let house = House::open().await?;
    let another = house.another(options()).await?;
    let url = format!("http://{}/graphql", another.addr());
    tokio::spawn(another.run_until_stopped(house.shutdown.clone()));
    let elsewhere = async |input: Value| -> Result<Value> {
        let body = json!({ "query": PLACE, "variables": { "input": input } });
        let response = house.http.post(&url).bearer_auth(ANA).json(&body).send().await?;
        Ok(response.json::<Value>().await?["data"]["placeOrder"].clone())
    };
    let keys: Vec<String> = (0..50).map(|n| format!("k-{n}")).collect();
    let mut tokens = HashSet::new();
    for key in &keys {
        let (id, token) = house.placed(ANA, order("ana", Some(key))).await?;
        let again = elsewhere(order("ana", Some(key))).await?;
        assert_eq!(
            (&again["order"]["id"], &again["receipt"]["token"]),
            (&json!(id), &json!(token))
        );
        tokens.insert(token);
    }
    for key in &keys {
        let mut other = order("ana", Some(key));
        other["note"] = json!("without salt");
        assert_eq!(elsewhere(other).await?["errors"][0]["code"], "IDEMPOTENCY_CONFLICT");
    }
    let stored = stored(&house).await?;
    let orders: HashSet<&str> = stored.iter().map(|record| record.key.as_str()).collect();
    assert_eq!((orders.len(), tokens.len()), (keys.len(), keys.len()));
    assert!(stored.iter().all(|record| record.event.order.note.is_none()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_with_other_content_is_a_conflict() -> Result<()> {
    let house = House::open().await?;
    house.placed(ANA, order("ana", Some("k-1"))).await?;
    let mut other = order("ana", Some("k-1"));
    other["note"] = json!("without salt");
    let payload = house.place(ANA, other).await?;
    assert_eq!(payload["errors"][0]["code"], "IDEMPOTENCY_CONFLICT");
    assert_eq!(payload["errors"][0]["path"], json!(["input", "idempotencyKey"]));
    let (other_customers, _) = house.placed(BOB, order("bob", Some("k-1"))).await?;
    assert_ne!(json!(other_customers), payload["order"]["id"]);
    assert_eq!(stored(&house).await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_places_for_nobody_else() -> Result<()> {
    let house = House::open().await?;
    let variables = json!({ "input": order("bob", None) });
    let (status, answer) = house.ask(Some(ANA), PLACE, variables.clone()).await?;
    assert_eq!((status, code(&answer)), (StatusCode::FORBIDDEN, "FORBIDDEN"));
    let (status, answer) = house.ask(None, PLACE, variables).await?;
    assert_eq!((status, code(&answer)), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"));
    assert_eq!(stored(&house).await?.len(), 0);
    house.placed(OPERATOR, order("bob", None)).await?;
    assert_eq!(stored(&house).await?.len(), 1, "the reader sees what is there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_of_a_batch_has_its_own_outcome() -> Result<()> {
    let house = House::open().await?;
    let mut wrong = order("ana", None);
    wrong["lines"][0]["quantity"] = json!(0);
    let inputs = json!([
        order("ana", Some("k-1")),
        wrong,
        order("bob", None),
        order("ana", Some("k-1")),
        order("ana", Some("k-2")),
    ]);
    let query = "mutation($inputs: [PlaceOrderInput!]!) { placeOrders(inputs: $inputs) {
        order { id } receipt { token } errors { code path } } }";
    let data = house.data(ANA, query, json!({ "inputs": inputs })).await?;
    let all = data["placeOrders"].as_array().unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!(all[0], all[3], "one key, one order");
    assert_ne!(all[0]["order"]["id"], all[4]["order"]["id"]);
    let path = json!(["inputs", "1", "lines", "0", "quantity"]);
    assert_eq!(all[1]["errors"], json!([{ "code": "OUT_OF_RANGE", "path": path }]));
    assert_eq!(all[2]["errors"], json!([{ "code": "FORBIDDEN", "path": ["inputs", "2"] }]));
    assert_eq!(stored(&house).await?.len(), 2);

    let many = json!({ "inputs": vec![order("ana", None); 101] });
    let (status, answer) = house.ask(Some(ANA), query, many).await?;
    assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "LIMIT_EXCEEDED"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_refuses_is_an_error_and_never_a_receipt() -> Result<()> {
    let house = House::open().await?;
    house.placed(ANA, order("ana", None)).await?;
    house.broker.with_cluster(|cluster| {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        // Once in its batch, and once alone.
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal, refusal]);
    });
    let variables = json!({ "input": order("ana", Some("k-1")) });
    let (status, answer) = house.ask(Some(ANA), PLACE, variables).await?;
    assert_eq!((status, code(&answer)), (StatusCode::BAD_GATEWAY, "BROKER_REJECTED"));
    assert_eq!(answer["data"], Value::Null);
    // The failure is not remembered.
    house.placed(ANA, order("ana", Some("k-1"))).await?;
    assert_eq!(stored(&house).await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_a_retriable_failure() -> Result<()> {
    let house = House::open().await?;
    house.placed(ANA, order("ana", None)).await?;
    house.broker.with_cluster(|cluster| cluster.broker_down(1))?;
    let (status, answer) =
        house.ask(Some(ANA), PLACE, json!({ "input": order("ana", Some("k-1")) })).await?;
    match code(&answer) {
        "BROKER_UNAVAILABLE" => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
        // The connection broke after the record was written to it.
        "OUTCOME_UNKNOWN" => assert_eq!(status, StatusCode::GATEWAY_TIMEOUT),
        _ => panic!("{answer}"),
    }
    assert_eq!(answer["errors"][0]["extensions"]["retriable"], json!(true));
    house.broker.with_cluster(|cluster| cluster.broker_up(1))?;
    house.placed(ANA, order("ana", Some("k-1"))).await?;
    assert_eq!(stored(&house).await?.len(), 2);
    Ok(())
}

/// What `comanda bench` measures the gateway alone with.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_in_kafkas_place_gets_the_events_and_gives_the_receipts() -> Result<()> {
    let house = House::open().await?;
    let (seen, events) = std::sync::mpsc::channel();
    let publisher = Publisher::Instead(Arc::new(move |event: &OrderEvent| {
        let timestamp = event.occurred_at;
        let _ = seen.send(event.clone());
        Ok(Receipt { topic: "nowhere".into(), partition: 7, offset: 41, timestamp })
    }));
    let another = house.another_with(options(), publisher).await?;
    let url = format!("http://{}/graphql", another.addr());
    tokio::spawn(another.run_until_stopped(house.shutdown.clone()));
    let body = json!({ "query": PLACE, "variables": { "input": order("ana", Some("k-1")) } });
    let response = house.http.post(&url).bearer_auth(ANA).json(&body).send().await?;
    let payload = response.json::<Value>().await?["data"]["placeOrder"].take();
    assert_eq!(payload["receipt"]["topic"], "nowhere", "{payload}");
    assert_eq!(payload["receipt"]["partition"], 7);
    assert_eq!(payload["receipt"]["offset"], 41);
    assert_eq!(json!(events.try_recv()?.order_id.to_string()), payload["order"]["id"]);
    assert_eq!(stored(&house).await?.len(), 0);
    Ok(())
}
