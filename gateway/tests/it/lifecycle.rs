//! Starting and stopping.

use std::time::Duration;

use anyhow::Result;
use comanda_gateway::{ApiKey, Error};
use serde_json::json;
use tokio::time::timeout;

use crate::house::{ANA, House, OPERATOR, PATIENCE, PLACE, eventually, options, order};
use crate::raw::Raw;
use crate::ws_client::WsClient;

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_request_is_finished_after_the_shutdown() -> Result<()> {
    let mut house = House::open().await?;
    house.placed(ANA, order("ana", None)).await?;
    let round_trip = Duration::from_millis(700);
    house.broker.with_cluster(move |cluster| cluster.broker_round_trip_time(1, round_trip))?;
    let placing = house.place(ANA, order("ana", None));
    let producer = house.gateways_producer.clone().unwrap();
    let stopping = async {
        let is_on_its_way = || async { Ok((!producer.drain(Duration::ZERO).await).then_some(())) };
        eventually("a record on its way", is_on_its_way).await?;
        house.shutdown.cancel();
        Ok::<_, anyhow::Error>(())
    };
    let (placed, stopping) = tokio::join!(placing, stopping);
    stopping?;
    assert_eq!(placed?["errors"], json!([]));
    let serving = house.serving.take().unwrap();
    timeout(PATIENCE, serving).await???;
    assert!(house.http.post(house.url()).send().await.is_err(), "nobody listens any more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_are_closed_as_going_away() -> Result<()> {
    let mut house = House::open().await?;
    let mut idle = WsClient::of(house.addr, OPERATOR).await?;
    let mut watching = WsClient::of(house.addr, OPERATOR).await?;
    watching.subscribe("1", "subscription { orderUpdates { cursor } }", json!({})).await?;
    let mut placing = WsClient::of(house.addr, ANA).await?;
    placing.subscribe("1", PLACE, json!({ "input": order("ana", None) })).await?;
    placing.data("1").await?;
    house.shutdown.cancel();
    for client in [&mut idle, &mut watching, &mut placing] {
        assert_eq!(client.closed().await?, 1001);
    }
    timeout(PATIENCE, house.serving.take().unwrap()).await???;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_kept_are_told_to_go() -> Result<()> {
    let mut house = House::open().await?;
    let mut idle = Raw::connect(house.addr).await?;
    idle.post(OPERATOR, r#"{"query":"{ __typename }"}"#).await?;
    assert!(!idle.answer().await?.0.contains("connection: close"));
    house.placed(ANA, order("ana", None)).await?;
    let round_trip = Duration::from_millis(700);
    house.broker.with_cluster(move |cluster| cluster.broker_round_trip_time(1, round_trip))?;
    let mut placing = Raw::connect(house.addr).await?;
    let body = json!({ "query": PLACE, "variables": { "input": order("ana", None) } });
    placing.post(ANA, &body.to_string()).await?;
    let producer = house.gateways_producer.clone().unwrap();
    let is_on_its_way = || async { Ok((!producer.drain(Duration::ZERO).await).then_some(())) };
    eventually("a record on its way", is_on_its_way).await?;
    house.shutdown.cancel();
    assert_eq!(idle.rest().await?, b"", "nothing is asked for on it");
    let (head, body) = placing.answer().await?;
    assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
    assert!(body.contains(r#""errors":[]"#), "{body}");
    assert_eq!(placing.rest().await?, b"");
    timeout(PATIENCE, house.serving.take().unwrap()).await???;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_are_refused_before_anything_starts() -> Result<()> {
    let house = House::open().await?;
    let refused = async |edit: &dyn Fn(&mut comanda_gateway::Options)| -> Result<&'static str> {
        let mut options = options();
        edit(&mut options);
        let error = house.another(options).await.err().unwrap();
        match error.downcast()? {
            Error::Options { key, .. } => Ok(key),
            other @ Error::Bind { .. } => Err(other.into()),
        }
    };
    assert_eq!(refused(&|o| o.max_batch = 0).await?, "max_batch");
    assert_eq!(refused(&|o| o.max_depth = 1000).await?, "max_depth");
    assert_eq!(refused(&|o| o.ws_ping_ms = 0).await?, "ws_ping_ms");
    assert_eq!(refused(&|o| o.request_timeout_ms = 0).await?, "request_timeout_ms");
    assert_eq!(refused(&|o| o.customer_rate = 2_000_000).await?, "customer_rate");
    let short = |o: &mut comanda_gateway::Options| {
        (o.customer_rate, o.customer_burst) = (1, o.max_batch - 1);
    };
    assert_eq!(refused(&short).await?, "customer_burst");
    assert_eq!(refused(&|o| o.trusted_proxies = vec!["x".into()]).await?, "trusted_proxies");
    assert_eq!(refused(&|o| o.cors_origins = vec!["x".into()]).await?, "cors_origins");
    let twice = |o: &mut comanda_gateway::Options| o.api_keys.push(ApiKey::operator("ops", "x"));
    assert_eq!(refused(&twice).await?, "api_keys");
    let taken = house.addr;
    let mut same = options();
    same.listen = taken;
    let error = house.another(same).await.err().unwrap();
    assert!(matches!(error.downcast()?, Error::Bind { addr, .. } if addr == taken));
    Ok(())
}
