//! GraphQL over WebSocket, message by message.

use anyhow::Result;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::house::{ANA, House, OPERATOR, PATIENCE, PLACE, order};
use crate::ws_client::WsClient;

/// A house, and what it closes with after `messages`.
async fn closes_after(house: &House, messages: &[Value]) -> Result<u16> {
    let mut client = WsClient::speaking(house.addr).await?;
    for message in messages {
        client.say(message.clone()).await?;
    }
    client.closed().await
}

fn init() -> Value {
    json!({ "type": "connection_init" })
}

fn subscribe(id: &str, query: &str) -> Value {
    json!({ "type": "subscribe", "id": id, "payload": { "query": query } })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_breach_of_the_protocol_has_its_close_code() -> Result<()> {
    let house = House::with(|options| options.ws_init_timeout_ms = 500).await?;
    let watch = "subscription { orderUpdates { cursor } }";
    assert_eq!(closes_after(&house, &[]).await?, 4408);
    assert_eq!(closes_after(&house, &[json!({ "type": "nonsense" })]).await?, 4400);
    assert_eq!(closes_after(&house, &[json!("x")]).await?, 4400);
    assert_eq!(closes_after(&house, &[subscribe("1", "{ __typename }")]).await?, 4401);
    assert_eq!(closes_after(&house, &[init(), init()]).await?, 4429);
    let wrong = json!({ "Authorization": "Bearer wrong" });
    for payload in [wrong, json!({ "apiKey": "wrong" }), json!({ "Authorization": 5 })] {
        let init = json!({ "type": "connection_init", "payload": payload });
        assert_eq!(closes_after(&house, &[init]).await?, 4403, "{payload}");
    }
    let key = json!({ "type": "connection_init", "payload": { "apiKey": OPERATOR } });
    let twice = [key, subscribe("1", watch), subscribe("1", watch)];
    assert_eq!(closes_after(&house, &twice).await?, 4409);

    let mut binary = WsClient::speaking(house.addr).await?;
    binary.say_raw(Message::binary(vec![1, 2, 3])).await?;
    assert_eq!(binary.closed().await?, 4400);
    let mut large = WsClient::speaking(house.addr).await?;
    // Hung up on in the middle of it, perhaps.
    let _ = large.say_raw(Message::text("x".repeat(2 << 20))).await;
    assert!(large.hear().await.is_err());
    for headers in [&[][..], &[("sec-websocket-protocol", "graphql-ws")]] {
        let opened = WsClient::open(house.addr, headers).await;
        // The test's own client refuses an answer that names no protocol it offered.
        match opened {
            Ok(mut client) => assert_eq!(client.closed().await?, 4406),
            Err(error) => assert!(error.to_string().contains("protocol"), "{error}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_before_and_after_the_handshake() -> Result<()> {
    let house = House::open().await?;
    let mut client = WsClient::speaking(house.addr).await?;
    client.say(json!({ "type": "ping", "payload": { "n": 1 } })).await?;
    assert_eq!(client.hear().await?, json!({ "type": "pong", "payload": { "n": 1 } }));
    client.say(json!({ "type": "pong" })).await?;
    client.say(init()).await?;
    assert_eq!(client.hear().await?, json!({ "type": "connection_ack" }));
    client.say(json!({ "type": "ping" })).await?;
    assert_eq!(client.hear().await?, json!({ "type": "pong" }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_mutations_work_as_over_http() -> Result<()> {
    let house = House::open().await?;
    let mut client = WsClient::of(house.addr, ANA).await?;
    client.subscribe("q", "{ __typename }", json!({})).await?;
    assert_eq!(client.data("q").await?, json!({ "__typename": "Query" }));
    assert_eq!(client.hear().await?, json!({ "type": "complete", "id": "q" }));
    client.subscribe("q", PLACE, json!({ "input": order("ana", None) })).await?;
    let data = client.data("q").await?;
    assert_eq!(data["placeOrder"]["order"]["status"], "PENDING");
    assert_eq!(client.hear().await?, json!({ "type": "complete", "id": "q" }));

    client.subscribe("v", "{ nothing }", json!({})).await?;
    let error = client.hear().await?;
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("v")));
    assert_eq!(error["payload"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");
    client.subscribe("v", "{", json!({})).await?;
    let error = client.hear().await?;
    assert_eq!(error["payload"][0]["extensions"]["code"], "GRAPHQL_PARSE_FAILED");
    client.subscribe("f", PLACE, json!({ "input": order("bob", None) })).await?;
    let refused = client.hear().await?;
    assert_eq!(refused["type"], "next");
    assert_eq!(refused["payload"]["data"], Value::Null);
    assert_eq!(refused["payload"]["errors"][0]["extensions"]["code"], "FORBIDDEN");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_may_come_with_the_upgrade() -> Result<()> {
    let house = House::open().await?;
    let bearer = format!("Bearer {ANA}");
    let protocol = ("sec-websocket-protocol", "graphql-ws, graphql-transport-ws");
    let mut client = WsClient::open(house.addr, &[protocol, ("authorization", &bearer)]).await?;
    client.say(init()).await?;
    assert_eq!(client.hear().await?, json!({ "type": "connection_ack" }));
    client.subscribe("1", "{ orders { nodes { id } } }", json!({})).await?;
    assert_eq!(client.data("1").await?, json!({ "orders": { "nodes": [] } }));

    let mut wrong =
        WsClient::open(house.addr, &[protocol, ("authorization", "Bearer wrong")]).await?;
    wrong.say(init()).await?;
    assert_eq!(wrong.closed().await?, 4403);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_on_one_socket_are_bounded() -> Result<()> {
    let house = House::with(|options| options.ws_max_operations = 3).await?;
    let mut client = WsClient::of(house.addr, OPERATOR).await?;
    let watch = "subscription { orderUpdates { cursor } }";
    for id in ["1", "2", "3", "4"] {
        client.subscribe(id, watch, json!({})).await?;
    }
    let refused = client.hear().await?;
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("4")));
    assert_eq!(refused["payload"][0]["extensions"]["code"], "LIMIT_EXCEEDED");
    client.say(json!({ "type": "complete", "id": "2" })).await?;
    client.subscribe("5", "{ __typename }", json!({})).await?;
    assert_eq!(client.data("5").await?, json!({ "__typename": "Query" }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_particular_may_not_watch() -> Result<()> {
    let house = House::open().await?;
    let mut client = WsClient::speaking(house.addr).await?;
    client.say(init()).await?;
    client.hear().await?;
    client.subscribe("1", "subscription { orderUpdates { cursor } }", json!({})).await?;
    let refused = client.hear().await?;
    assert_eq!(refused["type"], "error");
    assert_eq!(refused["payload"][0]["extensions"]["code"], "UNAUTHENTICATED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_silent_is_hung_up_on() -> Result<()> {
    let house = House::with(|options| {
        options.ws_ping_ms = 50;
        options.ws_init_timeout_ms = 3_600_000;
    })
    .await?;
    let mut silent = TcpStream::connect(house.addr).await?;
    let upgrade = "GET /graphql HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                   sec-websocket-protocol: graphql-transport-ws\r\n\r\n";
    silent.write_all(upgrade.as_bytes()).await?;
    let mut all = Vec::new();
    timeout(PATIENCE, silent.read_to_end(&mut all)).await??;
    assert!(all.starts_with(b"HTTP/1.1 101"));
    // A ping of the gateway without a payload, unanswered.
    assert!(all.windows(2).any(|bytes| bytes == [0x89, 0]));
    Ok(())
}
