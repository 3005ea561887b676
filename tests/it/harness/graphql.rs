//! A client of the gateway.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::eventually;
use super::process::Comanda;

pub const PLACE: &str = "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) {
    order { id status totalMinor note } receipt { topic partition offset token }
    errors { code message path retriable } } }";

const ORDER: &str = "query($id: ID!) { order(id: $id) { id status version customerId
    payment { status paymentId amountMinor currency attempts }
    timeline { type version at } notifications { status channel } } }";

/// A gateway and a key for it.
#[derive(Clone)]
pub struct Gateway {
    pub url: String,
    pub key: String,
    pub http: Client,
}

impl Gateway {
    pub fn new(url: String, key: String) -> Self {
        // Below the gateway's head_timeout_ms: a request on a connection that it is just closing
        // would be lost.
        let idle = Duration::from_secs(5);
        let http = Client::builder().no_proxy().pool_idle_timeout(idle);
        let http = http.timeout(Duration::from_secs(30));
        Self { url, key, http: http.build().expect("no certificates to load") }
    }

    /// The gateway of a `comanda up`, as its banner tells.
    pub async fn of(up: &mut Comanda) -> Self {
        Self::new(up.banner("GraphQL").await, up.banner("API key").await)
    }

    /// Posts a body as it is; the status and the answer, `null` where it is not JSON.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let request = self.http.post(&self.url).bearer_auth(&self.key).body(body);
        let answer = request.header("content-type", "application/json").send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// The `data` of a request that must not fail.
    pub async fn ask(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let (status, mut answer) = self.post(body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer.get("errors"), None, "{answer}");
        answer["data"].take()
    }

    /// The payload of `placeOrder`.
    pub async fn place(&self, input: Value) -> Value {
        self.ask(PLACE, json!({ "input": input })).await["placeOrder"].take()
    }

    /// The id of an order that must be accepted.
    pub async fn accepted(&self, input: Value) -> String {
        let payload = self.place(input).await;
        assert_eq!(payload["errors"], json!([]), "{payload}");
        payload["order"]["id"].as_str().expect("an id").to_owned()
    }

    /// The order, as soon as its status is `status`.
    pub async fn order_once(&self, id: &str, status: &str) -> Value {
        let what = format!("order {id} is {status}");
        eventually(&what, Duration::from_secs(30), async || {
            let order = self.ask(ORDER, json!({ "id": id })).await["order"].take();
            (order["status"] == status).then_some(order)
        })
        .await
    }
}

/// An order that any gateway accepts and that the sandbox charges; tests change what they need.
pub fn order(key: &str) -> Value {
    json!({
        "idempotencyKey": key,
        "customerId": "table-12",
        "contact": { "name": "Noor Haddad", "email": "noor@example.com" },
        "currency": "EUR",
        "lines": [
            { "sku": "MEZ-01", "name": "Hummus", "quantity": 2, "unitPriceMinor": 590 },
            { "sku": "MEZ-07", "name": "Fattoush", "quantity": 1, "unitPriceMinor": 740 },
        ],
        "paymentMethod": "pm_card_visa",
    })
}
