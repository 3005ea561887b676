//! What Stripe reports through the webhook.

use anyhow::Result;
use comanda_schemas::{OrderId, Timestamp, Topic};
use futures_util::future::try_join_all;
use hmac::{Hmac, KeyInit, Mac};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::house::{House, PATIENCE};

fn event(id: &str, kind: &str, metadata: Value) -> String {
    let object = json!({ "id": "pi_1", "metadata": metadata });
    json!({ "id": id, "type": kind, "created": 1_700_000_000, "data": { "object": object } })
        .to_string()
}

fn succeeded(id: &str) -> String {
    let metadata = json!({ "order_id": OrderId::random().to_string(), "version": "1" });
    event(id, "payment_intent.succeeded", metadata)
}

fn signature(secret: &str, body: &str, off: i64) -> String {
    let at = Timestamp::now().as_millis() / 1000 + off;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// A delivery of a body that is signed by `secret`, `off` seconds from now.
fn delivery(house: &House, secret: &str, body: &str, off: i64) -> RequestBuilder {
    let request = house.http.post(format!("http://{}/webhooks/stripe", house.addr));
    request.header("stripe-signature", signature(secret, body, off)).body(body.to_owned())
}

async fn deliver(house: &House, secret: &str, body: &str, off: i64) -> Result<Response> {
    let request = delivery(house, secret, body, off);
    Ok(request.header("content-type", "application/json; charset=utf-8").send().await?)
}

/// Records in the topic of payment reports.
async fn stored(house: &House) -> Result<i64> {
    let brokers = house.broker.bootstrap_servers().to_owned();
    let topic = house.names.name(Topic::PaymentReports);
    let count = move || {
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer = config.set("bootstrap.servers", brokers).create()?;
        (0..3).try_fold(0, |sum, partition| {
            Ok(sum + consumer.fetch_watermarks(&topic, partition, PATIENCE)?.1)
        })
    };
    tokio::task::spawn_blocking(count).await?
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_stripe_signed_just_now_is_taken() -> Result<()> {
    let house = House::open().await?;
    let body = succeeded("evt_1");
    for (secret, off) in [("whsec_wrong", 0), ("whsec_new", -600), ("whsec_new", 600)] {
        let answer = deliver(&house, secret, &body, off).await?;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{secret} {off}");
    }
    assert_eq!(stored(&house).await?, 0);
    for (secret, id) in [("whsec_new", "evt_2"), ("whsec_old", "evt_3")] {
        assert_eq!(deliver(&house, secret, &succeeded(id), 0).await?.status(), StatusCode::OK);
    }
    assert_eq!(stored(&house).await?, 2);
    let large = " ".repeat(2 << 20);
    let answer = deliver(&house, "whsec_new", &large, 0).await?;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_delivery_is_refused_though_it_is_signed() -> Result<()> {
    let house = House::open().await?;
    let body = succeeded("evt_1");
    for (media_type, encoding) in [
        (None, None),
        (Some("text/plain"), None),
        (Some("application/x-www-form-urlencoded"), None),
        (Some("application/json; charset=latin1"), None),
        (Some("application/json"), Some("gzip")),
    ] {
        let mut request = delivery(&house, "whsec_new", &body, 0);
        for (name, value) in [("content-type", media_type), ("content-encoding", encoding)] {
            request = value.into_iter().fold(request, |request, value| request.header(name, value));
        }
        let status = request.send().await?.status();
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{media_type:?} {encoding:?}");
    }
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let (client, mut request) = delivery(&house, "whsec_new", &body, 0).build_split();
        *request.as_mut().unwrap().method_mut() = method.clone();
        let answer = client.execute(request?).await?;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers()["allow"], "POST");
    }
    assert_eq!(stored(&house).await?, 0);
    assert_eq!(deliver(&house, "whsec_new", &body, 0).await?.status(), StatusCode::OK);
    assert_eq!(stored(&house).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_beyond_its_rate_is_told_when_to_come_back() -> Result<()> {
    let house = House::with(|options| {
        (options.address_rate, options.address_burst) = (1, 1);
        (options.webhook.rate, options.webhook.burst) = (1, 5);
    })
    .await?;
    let mut taken = 0;
    let refused = loop {
        let answer = deliver(&house, "whsec_new", &succeeded(&format!("evt_{taken}")), 0).await?;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        taken += 1;
        assert!(taken < 1_000, "nothing is refused");
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(taken >= 5, "{taken} are below the burst");
    assert_eq!(stored(&house).await?, taken);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_100_times_is_stored_once() -> Result<()> {
    let house = House::open().await?;
    let body = succeeded("evt_1");
    let at_once = (0..50).map(|_| deliver(&house, "whsec_new", &body, 0));
    let mut answers = try_join_all(at_once).await?;
    for _ in 0..50 {
        answers.push(deliver(&house, "whsec_new", &body, 0).await?);
    }
    assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
    assert_eq!(stored(&house).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_of_ours_is_taken_and_left() -> Result<()> {
    let house = House::open().await?;
    let ours = json!({ "order_id": OrderId::random().to_string(), "version": "1" });
    for body in [
        event("evt_1", "customer.created", ours),
        event("evt_2", "payment_intent.succeeded", json!({})),
        event("evt_3", "payment_intent.succeeded", json!({ "order_id": "4711", "version": "1" })),
        json!({ "id": "evt_4", "object": "v2.core.event", "created": "2025-09-17T06:20:52.246Z",
            "type": "v2.core.event_destination.ping" })
        .to_string(),
    ] {
        assert_eq!(deliver(&house, "whsec_new", &body, 0).await?.status(), StatusCode::OK);
    }
    assert_eq!(stored(&house).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_there_is_no_webhook() -> Result<()> {
    let house = House::with(|options| options.webhook.stripe_secrets.clear()).await?;
    let answer = deliver(&house, "whsec_new", &succeeded("evt_1"), 0).await?;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_stripe_is_asked_to_try_again() -> Result<()> {
    let house = House::open().await?;
    let body = succeeded("evt_1");
    house.broker.with_cluster(|cluster| cluster.broker_down(1))?;
    let answer = deliver(&house, "whsec_new", &body, 0).await?;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    house.broker.with_cluster(|cluster| cluster.broker_up(1))?;
    assert_eq!(deliver(&house, "whsec_new", &body, 0).await?.status(), StatusCode::OK);
    assert_eq!(stored(&house).await?, 1);
    assert_eq!(deliver(&house, "whsec_new", &body, 0).await?.status(), StatusCode::OK);
    assert_eq!(stored(&house).await?, 1);
    Ok(())
}
