//! The payment processor against stripe-mock, Stripe's own double: it refuses each request that does
//! not fit Stripe's OpenAPI description, and its answers are that description's examples. It
//! remembers nothing, so what has a state is answered here, in the words of those examples.

use std::time::Duration;

use comanda_processors::payment::{Options, Payment, Provider};
use comanda_processors::{Input, Outcome, Processor};
use comanda_schemas::{
    FailureReason, OrderEvent, OrderEventType, PaymentEvent, PaymentEventType, PaymentReport,
    Source,
};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::dead_letters::placed;
use crate::harness::run_dir;
use crate::harness::tools::{Tool, have};
use crate::harness::watched::Watched;
use crate::harness::{downloads, eventually};

const INTENTS: &str = "/v1/payment_intents";
const SEARCH: &str = "/v1/payment_intents/search";
const REFUNDS: &str = "/v1/refunds";
const START_LIMIT: Duration = Duration::from_secs(30);
/// What comes before its address.
const LISTENING: &str = "Listening for HTTP at address: ";

/// A running stripe-mock.
struct StripeMock {
    url: String,
    http: Client,
    _server: Watched,
}

impl StripeMock {
    async fn start() -> Self {
        let binary = tokio::task::spawn_blocking(downloads::stripe_mock).await.unwrap().unwrap();
        let binary = binary.display().to_string();
        let folder = run_dir::folder("stripe-mock");
        // With HTTPS on its usual port otherwise, on all interfaces.
        let free = ["-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"];
        let server = Watched::start(&binary, &free, &[], &folder).unwrap();
        let url = eventually("stripe-mock listens", START_LIMIT, async || {
            let said = server.stdout();
            let mut lines = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let address = lines.find_map(|line| line.strip_prefix(LISTENING));
            address.map(|address| format!("http://{}", address.trim_end()))
        })
        .await;
        Self { url, http: Client::builder().no_proxy().build().unwrap(), _server: server }
    }

    /// Its answer to a request to create something.
    async fn example(&self, at: &str, form: &Value) -> Value {
        let request = self.http.post(format!("{}{at}", self.url)).bearer_auth("sk_test_123");
        let answer = request.form(form).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    /// What it says to a request that was made to somebody else.
    async fn says(&self, request: &Request) -> (StatusCode, Value) {
        let mut url: reqwest::Url = self.url.parse().unwrap();
        url.set_path(request.url.path());
        url.set_query(request.url.query());
        let mut headers = request.headers.clone();
        headers.remove(CONTENT_LENGTH);
        let again = self.http.request(request.method.clone(), url).headers(headers);
        let answer = again.body(request.body.clone()).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn each_request_fits_stripes_description_and_its_examples_are_understood() {
    if !have(&[Tool::Go]) {
        return;
    }
    let stripe = StripeMock::start().await;
    let double = MockServer::start().await;
    let payment = processor(&double.uri());

    let order = placed();
    // The description's example, as it would stand for this order once it is charged.
    let create = json!({ "amount": order.order.total_minor, "currency": "eur" });
    let mut charge = stripe.example(INTENTS, &create).await;
    charge["status"] = json!("succeeded");
    charge["metadata"] = json!({ "order_id": order.order_id, "version": "1" });
    let refund = stripe.example(REFUNDS, &json!({ "payment_intent": charge["id"] })).await;
    answer(&double, "POST", INTENTS, &charge).await;
    let paid = emitted(payment.handle(&input(order.clone(), 1)).await);
    assert_eq!((paid.r#type, paid.payment.payment_id), (PaymentEventType::Succeeded, id(&charge)));

    answer(&double, "GET", SEARCH, &found(&[charge.clone()])).await;
    answer(&double, "POST", REFUNDS, &refund).await;
    let again = Input { attempt: 2, ..input(order.clone(), 1) };
    let paid = emitted(processor(&double.uri()).handle(&again).await);
    assert_eq!((paid.r#type, paid.payment.payment_id), (PaymentEventType::Succeeded, id(&charge)));
    let refunded = emitted(payment.handle(&input(cancelled(order), 2)).await);
    assert_eq!(refunded.r#type, PaymentEventType::Refunded);

    let requests = double.received_requests().await.unwrap();
    let asked: Vec<_> = requests.iter().map(|r| (r.method.as_str(), r.url.path())).collect();
    for kind in [("POST", INTENTS), ("GET", SEARCH), ("POST", REFUNDS)] {
        assert!(asked.contains(&kind), "{kind:?} is not in {asked:?}");
    }
    for request in &requests {
        let (status, body) = stripe.says(request).await;
        assert_eq!(status, StatusCode::OK, "{} {}: {body:#}", request.method, request.url);
        let mut wrong = request.clone();
        match request.method {
            Method::GET => drop(wrong.url.query_pairs_mut().append_pair("limit", "many")),
            _ => wrong.body.extend_from_slice(b"&colour=red"),
        }
        let (status, body) = stripe.says(&wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "it refuses nothing: {body:#}");
    }
}

#[tokio::test]
async fn stripes_own_double_is_understood_as_it_is() {
    if !have(&[Tool::Go]) {
        return;
    }
    let stripe = StripeMock::start().await;
    let payment = processor(&stripe.url);
    // Its example of an intent is one that has been tried and still wants a payment method.
    let order = placed();
    let declined = emitted(payment.handle(&input(order.clone(), 1)).await);
    assert_eq!(declined.r#type, PaymentEventType::Failed, "{declined:#?}");
    assert_eq!(declined.payment.reason, Some(FailureReason::Declined));
    assert!(declined.payment.payment_id.is_some_and(|id| id.starts_with("pi_")));
    // Its search finds a payment, of nobody's order.
    let voided = emitted(payment.handle(&input(cancelled(order), 2)).await);
    assert_eq!(voided.r#type, PaymentEventType::Voided, "{voided:#?}");
}

fn processor(url: &str) -> Payment {
    Payment::new(Options {
        provider: Provider::Stripe,
        provider_url: url.into(),
        secret_key: "sk_test_123".to_owned().into(),
        connect_timeout_ms: 5_000,
        request_timeout_ms: 10_000,
        max_attempts: 1,
        give_up_after_ms: 0,
        circuit_failures: 0,
        circuit_pause_ms: 1_000,
        backoff_initial_ms: 1,
        backoff_max_ms: 1,
        search_lag_ms: 0,
        look_up_repeats: true,
        retry_unresolved_ms: 1,
        retry_refused_ms: 1,
    })
    .unwrap()
}

/// Answers so from now on.
async fn answer(double: &MockServer, verb: &str, at: &str, body: &Value) {
    let answer = ResponseTemplate::new(200).set_body_json(body);
    Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(double).await;
}

fn found(payments: &[Value]) -> Value {
    json!({ "object": "search_result", "has_more": false, "url": SEARCH, "data": payments })
}

fn id(intent: &Value) -> Option<String> {
    intent["id"].as_str().map(str::to_owned)
}

/// A call for `event`, at an offset of its own.
fn input(event: OrderEvent, offset: i64) -> Input<OrderEvent> {
    Input::new(event, Source { topic: "orders".into(), partition: 0, offset })
}

/// The cancellation of a new order.
fn cancelled(placed: OrderEvent) -> OrderEvent {
    let (version, r#type) = (2, OrderEventType::Cancelled);
    let event_id = OrderEvent::derive_id(placed.order_id, version, r#type);
    OrderEvent { event_id, r#type, version, ..placed }
}

fn emitted(outcome: Outcome<PaymentEvent, PaymentReport>) -> PaymentEvent {
    match outcome {
        Outcome::Emit(event) => event,
        other => panic!("no payment event but {other:?}"),
    }
}
