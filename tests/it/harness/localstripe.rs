//! A real localstripe: a double of Stripe's API that has a state and ignores idempotency keys.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::tools::{self, Tool};
use super::watched::Watched;
use super::{downloads, eventually, run_dir};

pub const INTENTS: &str = "/v1/payment_intents";
pub const REFUNDS: &str = "/v1/refunds";
const SERVE: &str = "tests/it/localstripe/serve.py";
const START_LIMIT: Duration = Duration::from_secs(60);
/// More than any test has.
const ALL: u32 = 1_000_000;

/// A running localstripe with nothing in its books; stops when dropped, or with the test process.
pub struct LocalStripe {
    url: String,
    http: Client,
    server: Watched,
}

/// A payment in its books.
#[derive(Debug, Clone, Deserialize)]
pub struct Intent {
    pub id: String,
    pub status: String,
    pub amount: i64,
    pub currency: String,
    pub metadata: HashMap<String, String>,
}

impl Intent {
    pub fn is_charged(&self) -> bool {
        self.status == "succeeded"
    }

    /// What of our metadata it carries.
    pub fn of(&self, name: &str) -> &str {
        self.metadata.get(name).unwrap_or_else(|| panic!("no {name} with {self:?}"))
    }
}

/// A refund in its books.
#[derive(Debug, Clone, Deserialize)]
pub struct Refund {
    pub amount: i64,
    pub payment_intent: String,
    pub status: String,
    pub metadata: HashMap<String, String>,
}

/// A request that it carried out.
#[derive(Debug, Clone, Deserialize)]
pub struct Request {
    /// The secret key of who asked.
    pub by: String,
    pub method: String,
    pub path: String,
    /// The idempotency key.
    pub key: Option<String>,
    pub order_id: Option<String>,
    pub status: u16,
    /// The state of each payment that a look-up found.
    pub found: Vec<String>,
}

impl Request {
    /// Whether it asks for a charge, whatever came of it.
    pub fn charges(&self) -> bool {
        self.method == "POST" && self.path == INTENTS
    }
}

impl LocalStripe {
    /// One that takes `latency_ms` for each request.
    pub async fn start(latency_ms: u32) -> Self {
        let packages = tokio::task::spawn_blocking(downloads::localstripe).await.unwrap().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(SERVE).display().to_string();
        let folder = run_dir::folder("localstripe");
        let path = [("PYTHONPATH".to_owned(), packages.display().to_string())];
        let arguments = [script, latency_ms.to_string()];
        let mut server = Watched::start("python3", &arguments, &path, &folder).unwrap();
        let url = eventually("localstripe listens", START_LIMIT, async || {
            let ended = server.ended();
            let said = said(&server).into_iter().next();
            assert!(said.is_some() || ended.is_none(), "it ended: {}", server.stderr());
            said.map(|said| said["url"].as_str().expect("its URL").to_owned())
        })
        .await;
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(120)).build().unwrap();
        Self { url, http, server }
    }

    /// Base URL of its API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All payments, charged or not.
    pub async fn intents(&self) -> Vec<Intent> {
        self.list(INTENTS).await
    }

    pub async fn refunds(&self) -> Vec<Refund> {
        self.list(REFUNDS).await
    }

    /// What was asked so far, in the order in which it was carried out.
    pub fn requests(&self) -> Vec<Request> {
        let requests = said(&self.server).into_iter().skip(1);
        requests.map(|request| serde_json::from_value(request).expect("a request")).collect()
    }

    async fn list<T: DeserializeOwned>(&self, at: &str) -> Vec<T> {
        let request = self.http.get(format!("{}{at}?limit={ALL}", self.url));
        let answer = request.bearer_auth("sk_test_it").send().await.unwrap();
        let mut list: Value = answer.error_for_status().unwrap().json().await.unwrap();
        assert_eq!(list["has_more"], json!(false));
        serde_json::from_value(list["data"].take()).unwrap()
    }
}

/// The lines it has written.
fn said(server: &Watched) -> Vec<Value> {
    let output = server.stdout();
    // Without the line that is being written.
    let lines = output.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// A charge of an order `o`, under the key `o:1`.
fn charge(stripe: &LocalStripe) -> RequestBuilder {
    let form = json!({ "amount": 1150, "currency": "eur", "payment_method": "pm_card_visa",
        "confirm": true, "metadata[order_id]": "o" });
    let request = stripe.http.post(format!("{}{INTENTS}", stripe.url)).form(&form);
    request.bearer_auth("sk_test_it").header("Idempotency-Key", "o:1")
}

/// Else what other tests say of it would mean nothing.
#[tokio::test]
async fn what_is_sent_twice_under_one_key_is_charged_twice() {
    if !tools::have(&[Tool::Python]) {
        return;
    }
    let stripe = LocalStripe::start(0).await;
    for _ in 0..2 {
        assert_eq!(charge(&stripe).send().await.unwrap().status(), StatusCode::OK);
    }
    let charged: Vec<_> = stripe.intents().await.into_iter().filter(Intent::is_charged).collect();
    assert_eq!(charged.len(), 2, "{charged:#?}");
    let requests = stripe.requests();
    let keys: Vec<_> = requests.iter().filter(|r| r.charges()).map(|r| r.key.as_deref()).collect();
    assert_eq!(keys, [Some("o:1"); 2]);
}

/// As after a kill.
#[tokio::test]
async fn what_nobody_waits_for_is_charged() {
    if !tools::have(&[Tool::Python]) {
        return;
    }
    let stripe = LocalStripe::start(4_000).await;
    // Time for it to get there, and not for it to be carried out.
    let gone = charge(&stripe).timeout(Duration::from_millis(500)).send().await;
    assert!(gone.unwrap_err().is_timeout());
    assert!(stripe.requests().is_empty(), "it was carried out before its client left");
    eventually("it is carried out", START_LIMIT, async || stripe.requests().pop()).await;
    let [intent] = &stripe.intents().await[..] else { panic!("not one payment") };
    assert!(intent.is_charged());
}
