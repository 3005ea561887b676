//! What clients may hold that have shown no key, or that send without end.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{ANA, BOB, House, OPERATOR, code, eventually};
use crate::raw::Raw;
use crate::ws_client::WsClient;

const UPGRADE: &str = "GET /graphql HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
    sec-websocket-protocol: graphql-transport-ws\r\n\r\n";

/// A socket of a stranger, byte by byte.
async fn upgraded(addr: SocketAddr) -> Result<(String, Raw)> {
    let mut raw = Raw::connect(addr).await?;
    raw.send(UPGRADE).await?;
    let (head, _) = raw.answer().await?;
    Ok((head[9..12].to_owned(), raw))
}

/// A masked frame with a mask of zeros; `claimed` is the length that it says it has.
fn frame(first: u8, claimed: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0xff];
    bytes.extend(claimed.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The code of the close frame at the end of what is left.
async fn close_code(raw: &mut Raw) -> Result<u16> {
    let rest = raw.rest().await?;
    let at = rest.iter().position(|byte| *byte == 0x88).context("no close frame")?;
    Ok(u16::from_be_bytes([rest[at + 2], rest[at + 3]]))
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_without_a_key_are_bounded_by_address() -> Result<()> {
    let house = House::with(|options| options.max_anonymous_websockets_per_address = 3).await?;
    let mut open = Vec::new();
    for _ in 0..3 {
        let (status, raw) = upgraded(house.addr).await?;
        assert_eq!(status, "101");
        open.push(raw);
    }
    let mut refused = Raw::connect(house.addr).await?;
    refused.send(UPGRADE).await?;
    let (head, body) = refused.answer().await?;
    assert!(head.starts_with("http/1.1 429") && head.contains("retry-after: 1"), "{head}");
    assert_eq!(code(&serde_json::from_str(&body)?), "RATE_LIMITED");
    drop(open);
    eventually("room", || async { Ok((upgraded(house.addr).await?.0 == "101").then_some(())) })
        .await?;
    // One that has shown its key is none of them any more.
    let mut known = Vec::new();
    for _ in 0..5 {
        let next = || async { Ok(WsClient::of(house.addr, ANA).await.ok()) };
        known.push(eventually("a socket with a key", next).await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_one_customer_are_bounded_and_leave_room_to_others() -> Result<()> {
    let house = House::with(|options| options.max_websockets_per_customer = 2).await?;
    let _open = [WsClient::of(house.addr, ANA).await?, WsClient::of(house.addr, ANA).await?];
    let mut third = WsClient::speaking(house.addr).await?;
    let payload = json!({ "apiKey": ANA });
    third.say(json!({ "type": "connection_init", "payload": payload })).await?;
    assert_eq!(third.closed().await?, 1013);
    for key in [BOB, OPERATOR, OPERATOR, OPERATOR] {
        WsClient::of(house.addr, key).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_count_as_connections_as_long_as_they_are_open() -> Result<()> {
    let house = House::with(|options| options.max_connections_per_address = 3).await?;
    let open = try_join_all((0..3).map(|_| WsClient::of(house.addr, OPERATOR))).await?;
    assert!(WsClient::of(house.addr, OPERATOR).await.is_err());
    drop(open);
    eventually("a place", || async { Ok(WsClient::of(house.addr, OPERATOR).await.ok()) }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_count_as_requests_of_their_address() -> Result<()> {
    let house =
        House::with(|options| (options.address_rate, options.address_burst) = (1, 5)).await?;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(upgraded(house.addr).await?.0);
    }
    assert_eq!(statuses[..5], ["101"; 5]);
    assert!(statuses.contains(&"429".to_owned()), "{statuses:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_without_a_key_is_closed_in_time() -> Result<()> {
    let house = House::with(|options| options.ws_anonymous_ms = 300).await?;
    let mut known = WsClient::of(house.addr, ANA).await?;
    let mut stranger = WsClient::speaking(house.addr).await?;
    stranger.say(json!({ "type": "connection_init" })).await?;
    assert_eq!(stranger.hear().await?["type"], "connection_ack");
    assert_eq!(stranger.closed().await?, 4401);
    known.subscribe("1", "{ __typename }", json!({})).await?;
    known.data("1").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_never_ends_is_given_up() -> Result<()> {
    let house = House::with(|options| options.body_timeout_ms = 300).await?;
    // Half a head; half a frame; empty frames of a message, and pings between them.
    let pieces = [
        vec![0x81, 0xff],
        frame(0x81, 100, b"{"),
        [frame(0x01, 0, b""), frame(0x00, 0, b""), frame(0x89, 0, b"")].concat(),
    ];
    for piece in pieces {
        let (_, mut raw) = upgraded(house.addr).await?;
        raw.send(&piece).await?;
        assert_eq!(close_code(&mut raw).await?, 1008, "{piece:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none_are_hung_up_on() -> Result<()> {
    let house = House::open().await?;
    let broken = [
        frame(0x81, u64::MAX >> 1, b""),
        frame(0x81, u64::MAX, b""),
        frame(0x81, 200 << 10, b""),
        // Without a mask; a continuation of nothing; a reserved bit; an unknown kind.
        vec![0x81, 0x02, b'{', b'}'],
        frame(0x80, 2, b"{}"),
        frame(0xc1, 2, b"{}"),
        frame(0x83, 2, b"{}"),
        // A control frame in parts, and one that is too long; text that is not UTF-8.
        frame(0x09, 0, b""),
        frame(0x89, 126, &[0; 126]),
        frame(0x81, 2, b"\xff\xff"),
    ];
    for bytes in broken {
        let (_, mut raw) = upgraded(house.addr).await?;
        raw.send(&bytes).await?;
        assert_eq!(close_code(&mut raw).await?, 1009, "{bytes:?}");
    }
    WsClient::of(house.addr, ANA).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_ends_its_socket() -> Result<()> {
    let house = House::with(|options| options.ws_ping_rate = 1).await?;
    let (_, mut raw) = upgraded(house.addr).await?;
    raw.send(frame(0x89, 0, b"").repeat(50)).await?;
    assert_eq!(close_code(&mut raw).await?, 1008);
    for flood in [json!({ "type": "ping" }), json!({ "type": "complete", "id": "none" })] {
        let mut client = WsClient::of(house.addr, ANA).await?;
        for _ in 0..50 {
            // It is closed in the middle of them, perhaps.
            let _ = client.say(flood.clone()).await;
        }
        assert_eq!(client.closed().await?, 1008, "{flood}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_an_operation_is_short() -> Result<()> {
    let house = House::open().await?;
    let mut client = WsClient::of(house.addr, ANA).await?;
    client.subscribe(&"x".repeat(255), "{ __typename }", json!({})).await?;
    assert_eq!(client.hear().await?["type"], "next");
    let mut client = WsClient::of(house.addr, ANA).await?;
    client.subscribe(&"x".repeat(256), "{ __typename }", json!({})).await?;
    assert_eq!(client.closed().await?, 4400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn long_messages_come_whole_both_ways() -> Result<()> {
    let house = House::open().await?;
    let mut client = WsClient::of(house.addr, OPERATOR).await?;
    let padding = " ".repeat(500 << 10);
    // The answers are long as well.
    let fields = "{ a: __schema { ...types } b: __schema { ...types } }
        fragment types on __Schema { types { name description fields { name description } } }";
    for n in 0..5 {
        client.subscribe(&n.to_string(), &format!("{fields}{padding}"), json!({})).await?;
        let data = client.data(&n.to_string()).await?;
        assert!(data.to_string().len() > 16 << 10);
        assert!(data["b"]["types"].as_array().context("types")?.len() > 20);
        assert_eq!(client.hear().await?["type"], "complete");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bodies_and_messages_of_an_address_are_bounded() -> Result<()> {
    let house = House::with(|options| options.max_request_bytes_per_client = 64 << 10).await?;
    let begin = "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 content-length: 60000\r\n\r\n";
    let part = [begin.as_bytes(), &[b' '; 50_000]].concat();
    let mut first = Raw::connect(house.addr).await?;
    first.send(&part).await?;
    let refused = eventually("a refusal", || async {
        let mut next = Raw::connect(house.addr).await?;
        next.send(&part).await?;
        let answer = next.answer().await?;
        Ok(answer.0.starts_with("http/1.1 429").then_some(answer.0))
    });
    assert!(refused.await?.contains("retry-after: 1"));
    let (_, mut raw) = upgraded(house.addr).await?;
    raw.send(frame(0x81, 60_000, &[b' '; 50_000])).await?;
    assert_eq!(close_code(&mut raw).await?, 1013);
    // Neither a customer nor a small request of the same address has to do with it.
    let small = house.ask(None, "{ __typename }", json!({})).await?;
    assert_eq!(small.0, StatusCode::OK);
    let padding = json!({ "a": " ".repeat(60_000) });
    assert_eq!(house.ask(Some(ANA), "{ __typename }", padding).await?.0, StatusCode::OK);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_key_is_short() -> Result<()> {
    let house = House::with(|options| options.max_anonymous_body_bytes = 1_000).await?;
    let long = json!({ "a": " ".repeat(1_000) });
    let (status, answer) = house.ask(None, "{ __typename }", long.clone()).await?;
    assert_eq!((status, code(&answer)), (StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST"));
    assert_eq!(house.ask(Some(ANA), "{ __typename }", long.clone()).await?.0, StatusCode::OK);
    let mut client = WsClient::speaking(house.addr).await?;
    client.say(json!({ "type": "connection_init", "payload": long })).await?;
    assert_eq!(client.closed().await?, 1009);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_of_one_customer_are_bounded() -> Result<()> {
    let house = House::with(|options| options.max_event_streams_per_client = 2).await?;
    let watch = json!({ "query": "subscription { orderUpdates { cursor } }" });
    let open = async |key: &str| {
        let request = house.http.post(house.url()).bearer_auth(key);
        request.header("accept", "text/event-stream").json(&watch).send().await
    };
    let _open = [open(ANA).await?, open(ANA).await?];
    let refused = open(ANA).await?;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(code(&refused.json::<Value>().await?), "RATE_LIMITED");
    assert_eq!(open(BOB).await?.status(), StatusCode::OK);
    Ok(())
}
