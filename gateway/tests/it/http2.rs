//! HTTP/2 with prior knowledge, and what is done to hurt with it.

use anyhow::Result;
use futures_util::future::try_join_all;
use reqwest::{StatusCode, Version};
use serde_json::{Value, json};

use crate::house::{ANA, House, OPERATOR, PLACE, order};
use crate::raw::Raw;

fn client() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().http2_prior_knowledge().build()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_placed_over_one_connection_at_one_time() -> Result<()> {
    let house = House::open().await?;
    let http = client()?;
    // More than there may be streams: the client waits with the rest.
    let placing = (0..300).map(|n| {
        let input = order("ana", Some(&format!("table {n}")));
        let body = json!({ "query": PLACE, "variables": { "input": input } });
        http.post(house.url()).bearer_auth(ANA).json(&body).send()
    });
    for response in try_join_all(placing).await? {
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
        assert!(response.headers().contains_key("x-request-id"));
        let answer: Value = response.json().await?;
        assert_eq!(answer["data"]["placeOrder"]["errors"], json!([]), "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_too_large_are_refused() -> Result<()> {
    let house = House::open().await?;
    let request = client()?.post(house.url()).bearer_auth(OPERATOR);
    let request = request.header("x-long", "y".repeat(40_000));
    match request.json(&json!({ "query": "{ __typename }" })).send().await {
        Ok(response) => {
            assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        // The client knows the limit, and may not even send it.
        Err(error) => assert!(error.is_request(), "{error:?}"),
    }
    house.data(OPERATOR, "{ __typename }", json!({})).await?;
    Ok(())
}

/// A frame of RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_opens_and_resets_is_hung_up_on() -> Result<()> {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: u32 = 11;
    let house = House::open().await?;
    let mut hostile = Raw::connect(house.addr).await?;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(SETTINGS, 0, 0, &[]));
    // :method GET, :scheme http, :path /, :authority x
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
    for stream in (1..2_000).step_by(2) {
        flood.extend(frame(HEADERS, 0x4 | 0x1, stream, &head));
        flood.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    // Hung up on in the middle of it, perhaps.
    let _ = hostile.send(flood).await;
    let mut rest = &hostile.rest().await?[..];
    let mut reasons = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        if head[3] == GOAWAY {
            reasons.push(u32::from_be_bytes(payload[4..8].try_into()?));
        }
        rest = after;
    }
    assert_eq!(reasons, [ENHANCE_YOUR_CALM]);
    house.data(OPERATOR, "{ __typename }", json!({})).await?;
    Ok(())
}
