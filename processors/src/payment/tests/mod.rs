//! The processor against a provider that answers as told, over real HTTP.

mod again;
mod away;
mod charge;
mod doubt;
mod life;
mod log;
mod model;
mod race;
mod repeats;
mod reports;

use std::time::Duration;

use comanda_schemas::{
    Contact, Currency, Order, OrderEvent, OrderEventType, OrderId, OrderLine, PaymentEvent,
    PaymentReport, Source, Timestamp,
};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::{Options, Payment, api};
use crate::{HandlerError, Input, Outcome, Processor};

const CHARGE: &str = "/v1/payment_intents";
const SEARCH: &str = "/v1/payment_intents/search";
const REFUND: &str = "/v1/refunds";

fn options(url: &str) -> Options {
    Options {
        provider: api::Provider::Stripe,
        provider_url: url.into(),
        secret_key: "sk_test_hidden".to_owned().into(),
        connect_timeout_ms: 1_000,
        request_timeout_ms: 300,
        max_attempts: 4,
        give_up_after_ms: 0,
        circuit_failures: 0,
        circuit_pause_ms: 1_000,
        backoff_initial_ms: 1,
        backoff_max_ms: 4,
        search_lag_ms: 0,
        look_up_repeats: true,
        retry_unresolved_ms: 5_000,
        retry_refused_ms: 60_000,
    }
}

fn order_id() -> OrderId {
    OrderId::derive("c-1", "k-1")
}

fn event(r#type: OrderEventType, version: i32) -> OrderEvent {
    OrderEvent {
        event_id: OrderEvent::derive_id(order_id(), version, r#type),
        r#type,
        order_id: order_id(),
        version,
        occurred_at: Timestamp::now(),
        customer_id: "c-1".into(),
        order: Order {
            currency: Currency::parse("EUR").unwrap(),
            total_minor: 2400,
            lines: vec![OrderLine {
                sku: "PIZ-1".into(),
                name: "Margherita".into(),
                quantity: 2,
                unit_price_minor: 1200,
            }],
            contact: Contact { name: "Ana Ruiz".into(), email: "ana@example.com".into() },
            payment_method: "pm_card_visa".into(),
            note: None,
        },
        reason: None,
        seen_offset: None,
    }
}

fn placed() -> OrderEvent {
    event(OrderEventType::Placed, 1)
}

fn input(event: OrderEvent, attempt: u32) -> Input<OrderEvent> {
    let source = Source { topic: "orders".into(), partition: 3, offset: 42 };
    Input { attempt, ..Input::new(event, source) }
}

/// A payment as the provider shows it.
fn intent(version: i32, status: &str) -> Value {
    json!({
        "id": format!("pi_{version}"), "object": "payment_intent", "status": status,
        "amount": 2400, "currency": "eur", "last_payment_error": null,
        "metadata": { "order_id": order_id().to_string(), "version": version.to_string() },
    })
}

fn error(status: u16, r#type: &str, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({
        "error": { "type": r#type, "code": code, "message": "card of ana@example.com" },
    }))
}

fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

/// A provider and what it was asked.
struct Provider(MockServer);

impl Provider {
    async fn start() -> Self {
        Self(MockServer::start().await)
    }

    /// The usual answer to a charge; answers given with [`Provider::first`] come before it.
    async fn charging(self, answer: ResponseTemplate) -> Self {
        self.answering("POST", CHARGE, answer).await
    }

    async fn finding(self, payments: &[Value]) -> Self {
        let found = json!({ "object": "search_result", "has_more": false, "data": payments });
        self.answering("GET", SEARCH, ok(found)).await
    }

    async fn answering(self, verb: &str, at: &str, answer: ResponseTemplate) -> Self {
        Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(&self.0).await;
        self
    }

    /// The answer to the first `times` requests, before the usual one.
    async fn first(self, times: u64, verb: &str, at: &str, answer: ResponseTemplate) -> Self {
        let mock = Mock::given(method(verb)).and(path(at)).respond_with(answer);
        mock.up_to_n_times(times).with_priority(1).mount(&self.0).await;
        self
    }

    fn payment(&self) -> Payment {
        Payment::new(options(&self.0.uri())).unwrap()
    }

    async fn handle(&self, event: OrderEvent) -> Outcome<PaymentEvent, PaymentReport> {
        self.payment().handle(&input(event, 1)).await
    }

    async fn asked(&self, verb: &str, at: &str) -> Vec<Request> {
        let all = self.0.received_requests().await.expect("requests are recorded");
        all.into_iter().filter(|r| r.method.as_str() == verb && r.url.path() == at).collect()
    }

    async fn charges(&self) -> Vec<Request> {
        self.asked("POST", CHARGE).await
    }

    async fn searches(&self) -> Vec<Request> {
        self.asked("GET", SEARCH).await
    }

    async fn refunds(&self) -> Vec<Request> {
        self.asked("POST", REFUND).await
    }
}

fn emitted(outcome: Outcome<PaymentEvent, PaymentReport>) -> PaymentEvent {
    match outcome {
        Outcome::Emit(event) => event,
        other => panic!("no payment event but {other:?}"),
    }
}

/// Put off with its outcome open.
fn held(outcome: Outcome<PaymentEvent, PaymentReport>) -> (HandlerError, Option<PaymentReport>) {
    match outcome {
        Outcome::Hold { error, note, .. } => (error, note),
        other => panic!("not held but {other:?}"),
    }
}

/// Put off, whether something is open or not.
fn put_off(outcome: Outcome<PaymentEvent, PaymentReport>) -> (u64, HandlerError) {
    match outcome {
        Outcome::Retry { after, error }
        | Outcome::Wait { after, error }
        | Outcome::Hold { after, error, .. } => (u64::try_from(after.as_millis()).unwrap(), error),
        other => panic!("not put off but {other:?}"),
    }
}

fn header<'r>(request: &'r Request, name: &str) -> &'r str {
    request.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

fn form(request: &Request) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!(
        "http://form/?{}",
        std::str::from_utf8(&request.body).unwrap()
    ));
    url.unwrap().query_pairs().into_owned().collect()
}
