//! What comes with every answer.

use anyhow::Result;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::house::{House, OPERATOR, code};

const SCHEMA: &str = "{ __schema { types { name description } } }";

async fn ask(house: &House, query: &str, headers: &[(&str, &str)]) -> Result<Response> {
    // One that decodes nothing by itself.
    let http = reqwest::Client::builder().no_proxy().no_gzip().no_zstd().build()?;
    let request = http.post(house.url()).bearer_auth(OPERATOR).json(&json!({ "query": query }));
    let add = |request: reqwest::RequestBuilder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    Ok(headers.iter().fold(request, add).send().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_the_name_it_came_with_or_gets_one() -> Result<()> {
    let house = House::open().await?;
    let id_of = async |given: &str| -> Result<String> {
        let response = ask(&house, "{ __typename }", &[("x-request-id", given)]).await?;
        Ok(response.headers()["x-request-id"].to_str()?.to_owned())
    };
    assert_eq!(id_of("order-17/3").await?, "order-17/3");
    for unfit in ["with space", "{\"json\":1}", &"x".repeat(200)] {
        let id: uuid::Uuid = id_of(unfit).await?.parse()?;
        assert_eq!(id.get_version_num(), 7, "{unfit}");
    }
    for path in ["", "nothing", "graphql"] {
        let response = house.http.get(format!("http://{}/{path}", house.addr)).send().await?;
        assert!(response.headers().contains_key("x-request-id"), "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_request_is_told() -> Result<()> {
    let house = House::open().await?;
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = ask(&house, "{ __typename }", &[("traceparent", given)]).await?;
    assert_eq!(response.headers()["traceparent"], given);
    let response = ask(&house, "{ __typename }", &[("traceparent", "nonsense")]).await?;
    let made = response.headers()["traceparent"].to_str()?;
    assert!(made.len() == 55 && made.starts_with("00-"), "{made}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_compressed_as_the_client_takes_it() -> Result<()> {
    let house = House::open().await?;
    let plain = ask(&house, SCHEMA, &[]).await?;
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = plain.bytes().await?;
    assert!(plain.len() > 1024);
    for (accept, encoding, magic) in [
        ("gzip", "gzip", &[0x1f, 0x8b][..]),
        ("zstd", "zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
        ("gzip;q=0.5, zstd", "zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
    ] {
        let answer = ask(&house, SCHEMA, &[("accept-encoding", accept)]).await?;
        assert_eq!(answer.headers()["content-encoding"], encoding);
        let mut vary = answer.headers().get_all("vary").iter();
        assert!(vary.any(|vary| vary.to_str().unwrap().contains("accept-encoding")));
        let body = answer.bytes().await?;
        assert!(body.starts_with(magic) && body.len() < plain.len() / 2);
    }
    for (query, accept) in [("{ __typename }", "gzip"), (SCHEMA, "identity"), (SCHEMA, "gzip;q=0")]
    {
        let answer = ask(&house, query, &[("accept-encoding", accept)]).await?;
        assert!(!answer.headers().contains_key("content-encoding"), "{query} {accept}");
    }
    let request = house.http.post(house.url()).json(&json!({ "query": SCHEMA }));
    assert_eq!(request.send().await?.bytes().await?, plain, "and comes out as it went in");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compressed_where_that_is_off() -> Result<()> {
    let house = House::with(|options| options.compress_min_bytes = 0).await?;
    let answer = ask(&house, SCHEMA, &[("accept-encoding", "gzip, zstd")]).await?;
    assert!(!answer.headers().contains_key("content-encoding"));
    assert!(answer.bytes().await?.len() > 1024);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_is_refused() -> Result<()> {
    let house = House::open().await?;
    for encoding in ["gzip", "zstd", "br", "x-unknown", "identity, gzip"] {
        let response = ask(&house, "{ __typename }", &[("content-encoding", encoding)]).await?;
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
        assert_eq!(response.headers()["accept-encoding"], "identity");
        assert_eq!(code(&response.json::<Value>().await?), "BAD_REQUEST");
    }
    let plain = ask(&house, "{ __typename }", &[("content-encoding", "identity")]).await?;
    assert_eq!(plain.status(), StatusCode::OK);
    Ok(())
}
