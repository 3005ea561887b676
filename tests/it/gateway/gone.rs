//! Clients that go away before they have their answer.

use comanda_schemas::OrderEvent;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::client::{insist, place};
use super::{Admin, LIMIT};
use crate::harness;
use crate::harness::graphql::{Gateway, PLACE, order};
use crate::harness::installation::Installation;

const REQUESTS: &str = "comanda_gateway_requests_total";
const CONNECTIONS: &str = "comanda_gateway_connections";
const IN_FLIGHT: &str = "comanda_gateway_in_flight_requests";

/// Sends the first `share` of a request, and keeps the connection.
async fn send(gateway: &Gateway, body: &str, share: f64) -> TcpStream {
    let addr = gateway.url.strip_prefix("http://").and_then(|url| url.strip_suffix("/graphql"));
    let addr = addr.expect("the URL of a gateway");
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        gateway.key,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let sent = (body.len() as f64 * share) as usize;
    stream.write_all(&body.as_bytes()[..sent]).await.unwrap();
    stream
}

fn placing(key: &str) -> String {
    json!({ "query": PLACE, "variables": { "input": order(key) } }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_for_a_client_that_is_gone_before_it_has_asked() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "gone").await;
    installation.set("gateway.receipt_wait_ms=600000".to_owned());
    installation.set("gateway.request_timeout_ms=700000".to_owned());
    let (mut process, gateway) = installation.start_gateway().await;
    let admin = Admin::of(&mut process).await;

    let half = send(&gateway, &placing("half"), 0.9).await;
    admin.metric_is(CONNECTIONS, 1.0).await;
    drop(half);
    admin.metric_is(CONNECTIONS, 0.0).await;
    assert_eq!(admin.metric(REQUESTS).await, 0.0);

    // The topic has what was asked for whole, and nothing else.
    let placed = place(&gateway, &order("whole")).await;
    admin.metric_is(REQUESTS, 1.0).await;
    let (id, at) = placed.placed().expect("placed");
    let stored = installation.stored::<OrderEvent>().await;
    let told: Vec<_> = stored.iter().map(|(at, event)| (event.order_id.to_string(), *at)).collect();
    assert_eq!(told, [(id.to_owned(), at)]);

    // No projector runs, so a reader with a receipt waits; for ten minutes, if it were let.
    let payload = gateway.place(order("whole")).await;
    let query = "query($id: ID!, $receipt: String) { order(id: $id, receipt: $receipt) { id } }";
    let variables = json!({ "id": id, "receipt": payload["receipt"]["token"] });
    let body = json!({ "query": query, "variables": variables }).to_string();
    let waiting = send(&gateway, &body, 1.0).await;
    admin.metric_is(IN_FLIGHT, 1.0).await;
    drop(waiting);
    admin.metric_is(IN_FLIGHT, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_on_its_way_goes_on_without_its_client_and_is_told_to_the_next() {
    let Some(parts) = harness::own_parts().await else { return };
    let mut installation = Installation::new(parts, "left").await;
    installation.set("producer.delivery_timeout_ms=120000".to_owned());
    installation.set("gateway.request_timeout_ms=200000".to_owned());
    let (mut process, gateway) = installation.start_gateway().await;
    let admin = Admin::of(&mut process).await;
    assert!(place(&gateway, &order("before")).await.placed().is_some());

    parts.kafka.pause();
    let left = send(&gateway, &placing("left"), 1.0).await;
    admin.metric_is("comanda_producer_in_flight_records", 1.0).await;
    drop(left);
    admin.metric_is(IN_FLIGHT, 0.0).await;
    // The same request waits for the one that is on its way.
    let waits = tokio::spawn({
        let gateway = gateway.clone();
        async move { insist(&gateway, &order("left")).await }
    });
    admin.metric_is(IN_FLIGHT, 1.0).await;
    assert_eq!(admin.metric("comanda_producer_in_flight_records").await, 1.0);
    parts.kafka.unpause();
    let answers = tokio::time::timeout(LIMIT, waits).await.unwrap().unwrap();
    let again = place(&gateway, &order("left")).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].placed(), again.placed());
    let stored = installation.stored::<OrderEvent>().await;
    assert_eq!(stored.len(), 2, "{stored:#?}");
    let (id, at) = again.placed().expect("placed");
    assert!(stored.iter().any(|(place, event)| *place == at && event.order_id.to_string() == id));
}
