//! Pages of other sites.

use anyhow::Result;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::house::House;
use crate::ws_client::WsClient;

const SHOP: &str = "https://shop.example";
const EVIL: &str = "https://evil.example";

async fn preflight(house: &House, origin: &str) -> Result<(StatusCode, HeaderMap)> {
    let request = house.http.request(Method::OPTIONS, house.url()).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    let response = request.header("access-control-request-headers", "authorization").send().await?;
    Ok((response.status(), response.headers().clone()))
}

async fn post(house: &House, origin: &str) -> Result<HeaderMap> {
    let request = house.http.post(house.url()).header("origin", origin);
    let response = request.json(&json!({ "query": "{ __typename }" })).send().await?;
    assert_eq!(response.status(), StatusCode::OK);
    Ok(response.headers().clone())
}

fn says(headers: &HeaderMap, name: &str, word: &str) -> bool {
    let words = headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap().split(','));
    words.map(str::trim).any(|found| found.eq_ignore_ascii_case(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_listed_may_ask_and_read() -> Result<()> {
    let house = House::with(|options| options.cors_origins = vec![SHOP.into()]).await?;
    let (status, headers) = preflight(&house, SHOP).await?;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(headers["access-control-allow-origin"], SHOP);
    assert_eq!(headers["access-control-max-age"], "7200");
    assert!(says(&headers, "access-control-allow-methods", "POST"));
    for header in ["authorization", "content-type", "x-request-id"] {
        assert!(says(&headers, "access-control-allow-headers", header), "{header}");
    }
    assert!(says(&headers, "vary", "origin"));

    let headers = post(&house, SHOP).await?;
    assert_eq!(headers["access-control-allow-origin"], SHOP);
    for header in ["retry-after", "ratelimit", "ratelimit-policy", "x-request-id"] {
        assert!(says(&headers, "access-control-expose-headers", header), "{header}");
    }
    assert!(says(&headers, "vary", "origin") && says(&headers, "vary", "accept"));
    assert!(!headers.contains_key("access-control-allow-credentials"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_listed_may_neither() -> Result<()> {
    let listed = House::with(|options| options.cors_origins = vec![SHOP.into()]).await?;
    let closed = House::open().await?;
    for house in [&listed, &closed] {
        let (status, headers) = preflight(house, EVIL).await?;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(!headers.contains_key("access-control-allow-origin"));
        let headers = post(house, EVIL).await?;
        assert!(!headers.contains_key("access-control-allow-origin"));
        assert_eq!(says(&headers, "vary", "origin"), std::ptr::eq(house, &listed));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_page_may_where_that_is_wanted_but_never_with_cookies() -> Result<()> {
    let house = House::with(|options| options.cors_origins = vec!["*".into()]).await?;
    let (status, headers) = preflight(&house, EVIL).await?;
    assert_eq!(
        (status, headers["access-control-allow-origin"].as_bytes()),
        (StatusCode::NO_CONTENT, &b"*"[..])
    );
    let headers = post(&house, EVIL).await?;
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(!headers.contains_key("access-control-allow-credentials"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_opens_no_websocket() -> Result<()> {
    let house = House::with(|options| options.cors_origins = vec![SHOP.into()]).await?;
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    let open = async |origin: &str| {
        let opened = WsClient::open(house.addr, &[protocol, ("origin", origin)]).await;
        opened.map(drop).map_err(|error| error.to_string())
    };
    let own = format!("http://{}", house.addr);
    for allowed in [SHOP, &own] {
        assert_eq!(open(allowed).await, Ok(()), "{allowed}");
    }
    WsClient::speaking(house.addr).await?;
    for foreign in [EVIL, "null", "http://127.0.0.1:1"] {
        let refused = open(foreign).await.unwrap_err();
        assert!(refused.contains("403"), "{foreign}: {refused}");
    }
    Ok(())
}
