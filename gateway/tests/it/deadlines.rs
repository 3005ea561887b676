//! How long anything may take, and how many connections there may be.

use std::time::Duration;

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::house::{ANA, House, OPERATOR, PATIENCE, PLACE, code, eventually, options, order};
use crate::raw::Raw;

const AN_HOUR: u64 = 3_600_000;
const HELLO: &str = r#"{"query":"{ __typename }"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_nothing_is_hung_up_on() -> Result<()> {
    let house = House::with(|options| options.head_timeout_ms = 300).await?;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for begun in
        ["", "P", "PRI * HT", preface, "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x\r\n"]
    {
        let mut silent = Raw::connect(house.addr).await?;
        silent.send(begun).await?;
        let rest = silent.rest().await?;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{begun:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_idle_is_hung_up_on() -> Result<()> {
    let house = House::with(|options| options.head_timeout_ms = 500).await?;
    let mut idle = Raw::connect(house.addr).await?;
    for _ in 0..2 {
        idle.post(OPERATOR, HELLO).await?;
        let (head, body) = idle.answer().await?;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body, r#"{"data":{"__typename":"Query"}}"#);
    }
    assert_eq!(idle.rest().await?, b"");
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_hung_up_on() -> Result<()> {
    let house = House::with(|options| {
        options.max_connections = 1;
        options.body_timeout_ms = 500;
    })
    .await?;
    let types = "types { name description fields { name description args { name description } } }";
    let schemas: String = (0..20).map(|n| format!("s{n}: __schema {{ {types} }} ")).collect();
    let body = json!({ "query": format!("{{ {schemas} }}") }).to_string();
    let mut stalled = Raw::connect(house.addr).await?;
    // More than the buffers of both sides hold.
    for _ in 0..60 {
        stalled.post(OPERATOR, &body).await?;
    }
    let mut next = Raw::connect(house.addr).await?;
    next.post(OPERATOR, HELLO).await?;
    let (head, _) = next.answer().await?;
    assert!(head.starts_with("http/1.1 200"), "its place is free: {head}");
    let came = stalled.rest().await?;
    assert!(came.starts_with(b"HTTP/1.1 200") && came.len() > 60_000, "{}", came.len());
    Ok(())
}

/// Asks for an order with a receipt that the store does not come to: nothing fills it.
async fn waiting_query(house: &House) -> Result<String> {
    let (id, token) = house.placed(ANA, order("ana", None)).await?;
    let query = "query($id: ID!, $receipt: String) { order(id: $id, receipt: $receipt) { id } }";
    Ok(json!({ "query": query, "variables": { "id": id, "receipt": token } }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_a_retriable_failure() -> Result<()> {
    let house = House::open().await?;
    let body = waiting_query(&house).await?;
    let mut options = options();
    (options.request_timeout_ms, options.receipt_wait_ms) = (300, AN_HOUR);
    let hasty = house.another(options).await?;
    let url = format!("http://{}/graphql", hasty.addr());
    tokio::spawn(hasty.run_until_stopped(house.shutdown.clone()));
    for accept in ["application/json", "application/graphql-response+json"] {
        let request = house.http.post(&url).bearer_auth(ANA).header("accept", accept);
        let request = request.header("content-type", "application/json").body(body.clone());
        let response = timeout(PATIENCE, request.send()).await??;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        let answer: Value = response.json().await?;
        assert_eq!(code(&answer), "TIMEOUT");
        assert_eq!(answer["errors"][0]["extensions"]["retriable"], json!(true));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_that_takes_too_long_has_an_unknown_outcome() -> Result<()> {
    let house = House::with(|options| options.request_timeout_ms = 300).await?;
    let round_trip = Duration::from_secs(2);
    house.broker.with_cluster(move |cluster| cluster.broker_round_trip_time(1, round_trip))?;
    let key = "a slow dinner";
    let variables = json!({ "input": order("ana", Some(key)) });
    let (status, answer) = house.ask(Some(ANA), PLACE, variables.clone()).await?;
    assert_eq!((status, code(&answer)), (StatusCode::GATEWAY_TIMEOUT, "OUTCOME_UNKNOWN"));
    assert_eq!(answer["errors"][0]["extensions"]["retriable"], json!(true));
    house.broker.with_cluster(|cluster| cluster.broker_round_trip_time(1, Duration::ZERO))?;
    // It went on without its client: the same key finds it.
    let again = async || {
        let (status, answer) = house.ask(Some(ANA), PLACE, variables.clone()).await?;
        Ok((status == StatusCode::OK).then_some(answer))
    };
    let answer = eventually("the outcome", again).await?;
    assert_eq!(answer["data"]["placeOrder"]["errors"], json!([]), "{answer}");
    assert_eq!(answer["data"]["placeOrder"]["receipt"]["offset"], json!(0), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_request_with_it() -> Result<()> {
    let house = House::with(|options| {
        options.max_connections = 2;
        options.receipt_wait_ms = AN_HOUR;
        options.request_timeout_ms = AN_HOUR;
    })
    .await?;
    let body = waiting_query(&house).await?;
    // There are two places, one of which the test's own client holds. Each of these gets the other,
    // once the one before has left it: with its answer still an hour away.
    for _ in 0..3 {
        let mut leaving = Raw::connect(house.addr).await?;
        leaving.post(ANA, HELLO).await?;
        assert!(leaving.answer().await?.0.starts_with("http/1.1 200"));
        leaving.post(ANA, &body).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_limited_number_of_connections() -> Result<()> {
    let house = House::with(|options| options.max_connections_per_address = 2).await?;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::connect(house.addr).await?;
        raw.post(OPERATOR, HELLO).await?;
        assert!(raw.answer().await?.0.starts_with("http/1.1 200"));
        held.push(raw);
    }
    let mut third = Raw::connect(house.addr).await?;
    assert_eq!(third.rest().await?, b"");
    held[0].post(OPERATOR, HELLO).await?;
    assert!(held[0].answer().await?.0.starts_with("http/1.1 200"), "those that are there stay");
    held.clear();
    let address = house.addr;
    let served = async || {
        let mut raw = Raw::connect(address).await?;
        // It may be hung up on before this is sent, as long as the others are not yet forgotten.
        let sent = raw.post(OPERATOR, HELLO).await;
        Ok(sent.is_ok().then_some(raw.answer().await.ok()).flatten())
    };
    let (head, _) = eventually("a place", served).await?;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_trusted_proxy_are_not_those_of_one_client() -> Result<()> {
    let house = House::with(|options| {
        options.max_connections_per_address = 1;
        options.trusted_proxies = vec!["127.0.0.0/8".into()];
    })
    .await?;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(house.addr).await?;
        raw.post(OPERATOR, HELLO).await?;
        assert!(raw.answer().await?.0.starts_with("http/1.1 200"));
        held.push(raw);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() -> Result<()> {
    let house = House::open().await?;
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(200_000));
    for headers in [many, long] {
        let mut raw = Raw::connect(house.addr).await?;
        // Hung up on in the middle of it, perhaps.
        let _ = raw.send(format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        let rest = raw.rest().await?;
        assert!(rest.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&rest));
    }
    Ok(())
}
