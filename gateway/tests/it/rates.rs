//! How much a client may ask for.

use anyhow::Result;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::house::{ANA, BOB, House, OPERATOR, PLACE, code, order};
use crate::ws_client::WsClient;

const HELLO: &str = "{ __typename }";
const PLACE_ALL: &str = "mutation($inputs: [PlaceOrderInput!]!) {
    placeOrders(inputs: $inputs) { order { id } errors { code } } }";

/// Asks as somebody whom a proxy calls `from`.
async fn ask_from(house: &House, from: &str, key: Option<&str>) -> Result<Response> {
    let request = house.http.post(house.url()).json(&json!({ "query": HELLO }));
    let request = request.header("x-forwarded-for", from);
    Ok(match key {
        Some(key) => request.bearer_auth(key).send().await?,
        None => request.send().await?,
    })
}

/// Requests that are let through before one is refused, and that one. What comes back meanwhile is
/// counted, too.
async fn until_refused(
    mut ask: impl AsyncFnMut() -> Result<Response>,
) -> Result<(usize, Response)> {
    for passed in 0..1_000 {
        let response = ask().await?;
        if response.status() != StatusCode::OK {
            return Ok((passed, response));
        }
    }
    anyhow::bail!("nothing was refused")
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_beyond_its_burst_is_told_when_to_come_back() -> Result<()> {
    let house = House::with(|options| {
        options.max_batch = 1;
        options.customer_rate = 1;
        options.customer_burst = 8;
    })
    .await?;
    for accept in ["application/json", "application/graphql-response+json"] {
        let ask = async || {
            let request = house.http.post(house.url()).bearer_auth(ANA).header("accept", accept);
            Ok(request.json(&json!({ "query": HELLO })).send().await?)
        };
        let (_, refused) = until_refused(ask).await?;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        let header = |name: &str| refused.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), format!("{accept}; charset=utf-8"));
        assert_eq!(header("ratelimit-policy"), r#""customer";q=8;w=8"#);
        let wait = header("retry-after");
        assert!(number(&wait) >= 1);
        assert_eq!(header("ratelimit"), format!("\"customer\";r=0;t={wait}"));
        let answer: Value = refused.json().await?;
        assert_eq!((code(&answer), &answer["data"]), ("RATE_LIMITED", &Value::Null));
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["retriable"], json!(true));
        assert_eq!(extensions["retryAfterSeconds"], json!(number(&wait)));
    }
    for other in [BOB, OPERATOR] {
        house.data(other, HELLO, json!({})).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_of_its_allowance_before_it_is_used_up() -> Result<()> {
    let house = House::with(|options| {
        options.max_batch = 1;
        options.customer_rate = 1;
        options.customer_burst = 8;
    })
    .await?;
    let mut warned = None;
    let (passed, _) = until_refused(async || {
        let request = house.http.post(house.url()).bearer_auth(ANA);
        let response = request.json(&json!({ "query": HELLO })).send().await?;
        if response.status() == StatusCode::OK && response.headers().contains_key("ratelimit") {
            warned = Some(response.headers()["ratelimit"].to_str()?.to_owned());
        }
        Ok(response)
    })
    .await?;
    assert!(passed >= 8, "{passed}");
    assert_eq!(warned.as_deref(), Some(r#""customer";r=0;t=1"#));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_of_a_batch_counts() -> Result<()> {
    let house = House::with(|options| {
        options.max_batch = 1_000;
        options.max_aliases = 1_000;
        options.max_root_fields = 1_000;
        options.customer_rate = 1;
        options.customer_burst = 1_000;
    })
    .await?;
    let batch = |n: usize| json!({ "inputs": vec![order("ana", None); n] });
    let data = house.data(ANA, PLACE_ALL, batch(600)).await?;
    assert_eq!(data["placeOrders"].as_array().unwrap().len(), 600);
    let (status, answer) = house.ask(Some(ANA), PLACE_ALL, batch(600)).await?;
    assert_eq!((status, code(&answer)), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    assert!(answer["errors"][0]["extensions"]["retryAfterSeconds"].as_u64().unwrap() > 100);
    let aliases: String =
        (0..600).map(|n| format!("a{n}: placeOrder(input: $i) {{ order {{ id }} }} ")).collect();
    let many = format!("mutation($i: PlaceOrderInput!) {{ {aliases} }}");
    let (status, answer) = house.ask(Some(ANA), &many, json!({ "i": order("ana", None) })).await?;
    assert_eq!((status, code(&answer)), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    Ok(())
}

/// After the wait that it was told of, the same request passes.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_counts_by_the_rows_that_it_may_return() -> Result<()> {
    let house = House::with(|options| {
        options.max_batch = 1;
        options.customer_rate = 20;
        options.customer_burst = 50;
    })
    .await?;
    let page = |n| format!("a{n}: orders(first: 100) {{ nodes {{ id }} }} ");
    let pages: String = (0..20).map(page).collect();
    let query = format!("{{ {pages} }}");
    house.data(ANA, &query, json!({})).await?;
    house.data(ANA, &query, json!({})).await?;
    let wait = loop {
        let request = house.http.post(house.url()).bearer_auth(ANA);
        let refused = request.json(&json!({ "query": query })).send().await?;
        if refused.status() == StatusCode::OK {
            continue;
        }
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        let wait = number(refused.headers()["retry-after"].to_str()?);
        let answer: Value = refused.json().await?;
        assert_eq!((code(&answer), answer.get("data")), ("RATE_LIMITED", None));
        break wait;
    };
    assert!((1..=2).contains(&wait), "{wait}");
    house.data(BOB, &query, json!({})).await?;
    house.data(OPERATOR, &query, json!({})).await?;
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    house.data(ANA, &query, json!({})).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_on_a_websocket_count_as_requests_do() -> Result<()> {
    let house = House::with(|options| {
        options.max_batch = 1;
        options.customer_rate = 1;
        options.customer_burst = 8;
    })
    .await?;
    let mut client = WsClient::of(house.addr, ANA).await?;
    for passed in 0..1_000 {
        client.subscribe("1", HELLO, json!({})).await?;
        let message = client.hear().await?;
        if message["type"] == "next" {
            assert_eq!(client.hear().await?["type"], "complete");
            continue;
        }
        assert!(passed >= 8, "{passed}: {message}");
        let extensions = &message["payload"][0]["extensions"];
        assert_eq!(
            (&message["type"], &extensions["code"]),
            (&json!("error"), &json!("RATE_LIMITED"))
        );
        assert!(extensions["retryAfterSeconds"].as_u64().unwrap() >= 1);
        return Ok(());
    }
    anyhow::bail!("nothing was refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_wrong_keys_of_an_address_are_told_so_and_a_good_one_passes() -> Result<()> {
    let house = House::with(|options| {
        options.trusted_proxies = vec!["127.0.0.0/8".into()];
        options.wrong_keys_per_minute = 1;
        options.wrong_keys_burst = 3;
    })
    .await?;
    let bad = "192.0.2.1";
    for _ in 0..3 {
        let wrong = ask_from(&house, bad, Some("wrong")).await?;
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    }
    let refused = ask_from(&house, bad, Some("wrong")).await?;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["ratelimit-policy"], r#""authentication";q=3;w=180"#);
    assert!(number(refused.headers()["retry-after"].to_str()?) >= 1);
    for good in [None, Some(ANA)] {
        assert_eq!(ask_from(&house, bad, good).await?.status(), StatusCode::OK);
    }
    let elsewhere = ask_from(&house, "192.0.2.2", Some("wrong")).await?;
    assert_eq!(elsewhere.status(), StatusCode::UNAUTHORIZED);

    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    let open =
        async |from| WsClient::open(house.addr, &[protocol, ("x-forwarded-for", from)]).await;
    let init = |key: &str| json!({ "type": "connection_init", "payload": { "apiKey": key } });
    let mut barred = open(bad).await?;
    barred.say(init("wrong")).await?;
    assert_eq!(barred.closed().await?, 1013);
    let mut welcome = open(bad).await?;
    welcome.say(init(ANA)).await?;
    assert_eq!(welcome.hear().await?, json!({ "type": "connection_ack" }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_on_websockets_count_too() -> Result<()> {
    let house = House::with(|options| {
        options.wrong_keys_per_minute = 1;
        options.wrong_keys_burst = 2;
    })
    .await?;
    let wrong = json!({ "type": "connection_init", "payload": { "apiKey": "wrong" } });
    for expected in [4403, 4403, 1013] {
        let mut client = WsClient::speaking(house.addr).await?;
        client.say(wrong.clone()).await?;
        assert_eq!(client.closed().await?, expected);
    }
    let (status, answer) = house.ask(Some("wrong"), HELLO, json!({})).await?;
    assert_eq!((status, code(&answer)), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_those_that_trusted_proxies_name() -> Result<()> {
    let limits = |options: &mut comanda_gateway::Options| {
        options.address_rate = 1;
        options.address_burst = 8;
    };
    let house = House::with(|options| {
        limits(options);
        options.trusted_proxies = vec!["127.0.0.1".into()];
    })
    .await?;
    let ask = |from: &'static str, key| ask_from(&house, from, key);
    let (passed, refused) = until_refused(|| ask("2001:db8:0:1::1", None)).await?;
    assert!(passed >= 8, "{passed}");
    assert_eq!(refused.headers()["ratelimit-policy"], r#""address";q=8;w=8"#);
    let (passed, _) = until_refused(|| ask("2001:db8:0:1::2", None)).await?;
    assert!(passed < 8, "{passed}: its neighbour in the /64 has used it up");
    let (passed, _) = until_refused(|| ask("2001:db8:0:1::2", Some(ANA))).await?;
    assert!(passed >= 8, "{passed}: strangers take nothing from customers");
    let (passed, _) = until_refused(|| ask("2001:db8:0:1::3", Some(BOB))).await?;
    assert!(passed < 8, "{passed}: all customers of the /64 have one allowance");
    assert_eq!(ask("2001:db8:0:1::1", Some(OPERATOR)).await?.status(), StatusCode::OK);
    assert_eq!(ask("2001:db8:0:2::1", None).await?.status(), StatusCode::OK);

    let direct = House::with(limits).await?;
    let mut number = 0;
    let (passed, _) = until_refused(|| {
        number += 1;
        let from = format!("192.0.2.{}", number % 250);
        let direct = &direct;
        async move { ask_from(direct, &from, None).await }
    })
    .await?;
    assert!(passed >= 8, "{passed}: what nobody trusted says is not believed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_counts_once() -> Result<()> {
    let house = House::with(|options| {
        options.max_batch = 1;
        options.customer_rate = 1;
        options.customer_burst = 8;
    })
    .await?;
    let (passed, _) = until_refused(async || {
        let body = json!({ "query": PLACE, "variables": { "input": order("ana", None) } });
        Ok(house.http.post(house.url()).bearer_auth(ANA).json(&body).send().await?)
    })
    .await?;
    assert!(passed >= 8, "{passed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_strangers_nor_a_greedy_customer_use_up_an_address_for_others() -> Result<()> {
    let house = House::with(|options| {
        options.max_batch = 1;
        options.customer_rate = 1;
        options.customer_burst = 5;
        options.address_rate = 1;
        options.address_burst = 20;
    })
    .await?;
    for key in [None, Some(ANA)] {
        let ask = async || {
            let request = house.http.post(house.url()).json(&json!({ "query": HELLO }));
            Ok(match key {
                Some(key) => request.bearer_auth(key).send().await?,
                None => request.send().await?,
            })
        };
        let (_, refused) = until_refused(&ask).await?;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{key:?}");
        for _ in 0..50 {
            ask().await?;
        }
    }
    house.data(BOB, HELLO, json!({})).await?;
    Ok(())
}
