//! GraphQL over Server-Sent Events, event by event.

use anyhow::{Context, Result, bail};
use comanda_schemas::PaymentEvent;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::house::{ANA, House, OPERATOR, PATIENCE, PLACE, code, eventually, order};
use crate::updates::{WATCH, charge, cursor, kind};

/// What a client of event streams accepts.
pub const EVENTS: &str = "text/event-stream";
const WATCH_ALL: &str = "subscription { orderUpdates { cursor } }";

/// An open stream.
struct Stream {
    response: Response,
    read: String,
}

#[derive(Debug, PartialEq)]
enum Event {
    Next(Value),
    Complete,
}

impl Stream {
    /// The next event; `None` at the end.
    async fn event(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                match event.lines().collect::<Vec<_>>()[..] {
                    [":"] => {}
                    ["event: complete", "data:"] => return Ok(Some(Event::Complete)),
                    ["event: next", data] => {
                        let data = data.strip_prefix("data: ").context("no data")?;
                        return Ok(Some(Event::Next(serde_json::from_str(data)?)));
                    }
                    _ => bail!("not an event: {event:?}"),
                }
            } else if !self.more().await? {
                assert_eq!(self.read, "");
                return Ok(None);
            }
        }
    }

    async fn more(&mut self) -> Result<bool> {
        let chunk = timeout(PATIENCE, self.response.chunk()).await.context("nothing came")??;
        let Some(chunk) = chunk else { return Ok(false) };
        self.read += std::str::from_utf8(&chunk)?;
        Ok(true)
    }

    /// The data of the next event, which has to be a result.
    async fn data(&mut self) -> Result<Value> {
        match self.event().await? {
            Some(Event::Next(answer)) if answer["errors"].is_null() => Ok(answer["data"].clone()),
            other => bail!("{other:?}"),
        }
    }

    /// All events up to the end.
    async fn all(mut self) -> Result<Vec<Event>> {
        let mut all = Vec::new();
        while let Some(event) = self.event().await? {
            all.push(event);
        }
        Ok(all)
    }
}

async fn post(house: &House, accept: &str, key: &str, body: Value) -> Result<Response> {
    let request = house.http.post(house.url()).bearer_auth(key).header("accept", accept);
    Ok(request.json(&body).send().await?)
}

async fn open(house: &House, key: &str, query: &str, variables: Value) -> Result<Stream> {
    stream(post(house, EVENTS, key, json!({ "query": query, "variables": variables })).await?)
}

fn stream(response: Response) -> Result<Stream> {
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-cache");
    assert_eq!(headers["x-accel-buffering"], "no");
    Ok(Stream { response, read: String::new() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_or_a_mutation_is_one_result() -> Result<()> {
    let house = House::open().await?;
    let query = open(&house, ANA, "{ __typename }", json!({})).await?.all().await?;
    let result = Event::Next(json!({ "data": { "__typename": "Query" } }));
    assert_eq!(query, [result, Event::Complete]);
    let mut mutation = open(&house, ANA, PLACE, json!({ "input": order("ana", None) })).await?;
    assert_eq!(mutation.data().await?["placeOrder"]["order"]["status"], "PENDING");
    assert_eq!(mutation.all().await?, [Event::Complete]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_watched_and_after_a_break_from_where_it_was_left() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let payments = house.producer::<PaymentEvent>().await?;
    let (id, _) = house.placed(ANA, order("ana", None)).await?;
    let mut watching = open(&house, ANA, WATCH, json!({ "id": id })).await?;
    let state = watching.data().await?;
    assert_eq!(kind(&state), ("ORDER_PLACED", "PENDING"));
    charge(&house, &payments, &id).await?;
    assert_eq!(kind(&watching.data().await?), ("PAYMENT_SUCCEEDED", "PAID"));
    drop(watching);
    let variables = json!({ "id": id, "after": cursor(&state) });
    let mut late = open(&house, ANA, WATCH, variables).await?;
    assert_eq!(kind(&late.data().await?), ("PAYMENT_SUCCEEDED", "PAID"));

    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", WATCH)
        .append_pair("variables", &json!({ "id": id }).to_string())
        .finish();
    let get = house.http.get(format!("{}?{query}", house.url())).bearer_auth(ANA);
    let mut got = stream(get.header("accept", EVENTS).send().await?)?;
    assert_eq!(kind(&got.data().await?), ("PAYMENT_SUCCEEDED", "PAID"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_both_gets_json_unless_it_subscribes() -> Result<()> {
    let house = House::open().await?;
    let urql = "application/graphql-response+json, application/graphql+json, application/json, \
                text/event-stream, multipart/mixed";
    let answer = post(&house, urql, ANA, json!({ "query": "{ __typename }" })).await?;
    assert_eq!(answer.json::<Value>().await?, json!({ "data": { "__typename": "Query" } }));
    let answer = post(&house, urql, ANA, json!({ "query": "{" })).await?;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let mut watching = stream(post(&house, urql, ANA, json!({ "query": WATCH_ALL })).await?)?;
    assert!(watching.more().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_operation_is_a_result_and_with_the_request_a_status() -> Result<()>
{
    let house = House::open().await?;
    let order = r#"subscription { orderUpdates(orderId: "x") { cursor } }"#;
    for (query, expected) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { __typename } query B { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        (order, "NOT_FOUND"),
    ] {
        match &open(&house, ANA, query, json!({})).await?.all().await?[..] {
            [Event::Next(answer), Event::Complete] => assert_eq!(code(answer), expected),
            other => bail!("{query}: {other:?}"),
        }
    }
    let wrong = post(&house, EVENTS, "wrong", json!({ "query": WATCH_ALL })).await?;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let nothing = post(&house, EVENTS, ANA, json!({})).await?;
    assert_eq!(nothing.status(), StatusCode::BAD_REQUEST);
    let mutation = "mutation { placeOrders(inputs: []) { order { id } } }";
    let query =
        form_urlencoded::Serializer::new(String::new()).append_pair("query", mutation).finish();
    let get = house.http.get(format!("{}?{query}", house.url())).bearer_auth(OPERATOR);
    let refused = get.header("accept", EVENTS).send().await?;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_makes_room_for_another() -> Result<()> {
    let house = House::with(|options| options.max_event_streams = 1).await?;
    let first = open(&house, OPERATOR, WATCH_ALL, json!({})).await?;
    let watch_all = || post(&house, EVENTS, OPERATOR, json!({ "query": WATCH_ALL }));
    let refused = watch_all().await?;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(code(&refused.json().await?), "OVERLOADED");
    drop(first);
    let again = || async {
        let response = watch_all().await?;
        Ok((response.status() == StatusCode::OK).then_some(response))
    };
    stream(eventually("room for another", again).await?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_events_is_kept_alive() -> Result<()> {
    let house = House::with(|options| options.event_stream_ping_ms = 10).await?;
    let mut watching = open(&house, OPERATOR, WATCH_ALL, json!({})).await?;
    while watching.read.matches(":\n\n").count() < 5 {
        assert!(watching.more().await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shutdown_completes_the_streams() -> Result<()> {
    let mut house = House::open().await?;
    let mut watching = Vec::new();
    for _ in 0..3 {
        let mut stream = open(&house, OPERATOR, WATCH_ALL, json!({})).await?;
        assert!(stream.more().await?);
        watching.push(stream);
    }
    house.shutdown.cancel();
    for stream in watching {
        match &stream.all().await?[..] {
            [Event::Next(answer), Event::Complete] => {
                assert_eq!(code(answer), "SHUTTING_DOWN");
                assert_eq!(answer["errors"][0]["extensions"]["retriable"], json!(true));
            }
            other => bail!("{other:?}"),
        }
    }
    timeout(PATIENCE, house.serving.take().unwrap()).await???;
    Ok(())
}
