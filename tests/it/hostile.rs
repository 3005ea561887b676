//! Hostile input: a clear refusal each time, never a 5xx, never a panic, and it goes on working.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::graphql::{Gateway, order};
use crate::harness::process::{Comanda, FREE_PORTS};

async fn up() -> (Comanda, Gateway) {
    let mut up = Comanda::start(&[&["up"], &FREE_PORTS[..]].concat());
    let gateway = Gateway::of(&mut up).await;
    (up, gateway)
}

/// After whatever was done to it: nothing has panicked, and an order still goes through.
async fn assert_well(mut up: Comanda, gateway: &Gateway) {
    assert!(up.is_running());
    assert!(!up.output().contains("panicked"), "{}", up.output());
    let id = gateway.accepted(order("after the attack")).await;
    gateway.order_once(&id, "PAID").await;
}

#[tokio::test]
async fn bodies_that_are_no_requests_get_a_4xx() {
    let (up, gateway) = up().await;
    let bodies: [(&str, Vec<u8>); 11] = [
        ("nothing", vec![]),
        ("broken JSON", b"{\"query\": \"{ __typename }\"".to_vec()),
        ("no object", b"[1, 2]".to_vec()),
        ("a number", b"7".to_vec()),
        ("no query", b"{}".to_vec()),
        ("a query that is no text", b"{\"query\": 7}".to_vec()),
        ("variables that are no object", b"{\"query\": \"{a}\", \"variables\": 7}".to_vec()),
        ("no UTF-8", b"{\"query\": \"\xff\xfe\"}".to_vec()),
        ("deep JSON", [b"[".repeat(100_000), b"]".repeat(100_000)].concat()),
        ("2 MB of JSON", json!({ "query": "#".repeat(2_000_000) }).to_string().into_bytes()),
        ("2 MB of zeros", vec![0; 2_000_000]),
    ];
    for (name, body) in bodies {
        let (status, answer) = gateway.post(body).await;
        assert!(status.is_client_error(), "{name}: {status} {answer}");
    }
    for (method, content_type, path, status) in [
        (Method::POST, "text/plain", "", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::PUT, "application/json", "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "application/json", "/../nowhere", StatusCode::NOT_FOUND),
    ] {
        let url = format!("{}{path}", gateway.url);
        let request = gateway.http.request(method, url).bearer_auth(&gateway.key);
        let request = request.header("content-type", content_type);
        let answer = request.body("{\"query\": \"{ __typename }\"}").send().await.unwrap();
        assert_eq!(answer.status(), status, "{content_type} {path}");
    }
    assert_well(up, &gateway).await;
}

#[tokio::test]
async fn queries_that_cost_too_much_are_refused() {
    let (up, gateway) = up().await;
    let deep = format!(
        "{{ __schema {{ types {{ fields {{ type {{ {} name {} }} }} }} }} }}",
        "ofType { ".repeat(200),
        "} ".repeat(200)
    );
    let wide: String = (0..20_000).map(|n| format!("a{n}: __typename ")).collect();
    let orders: String = (0..5_000)
        .map(|n| format!("a{n}: orders(first: 100) {{ edges {{ node {{ id }} }} }} "))
        .collect();
    let fragments = "query { ...A } fragment A on Query { ...B } fragment B on Query { ...A }";
    for (name, query) in [
        ("deep", deep),
        ("wide", format!("{{ {wide} }}")),
        ("many lists", format!("{{ {orders} }}")),
        ("circular fragments", fragments.to_owned()),
        ("a page too long", "{ orders(first: 1000000) { edges { node { id } } } }".to_owned()),
        ("deep brackets", format!("{{ orders(filter: {}", "[".repeat(50_000))),
    ] {
        let (status, answer) = gateway.post(json!({ "query": query }).to_string()).await;
        let refused = answer["errors"].as_array().is_some_and(|e| !e.is_empty());
        assert!(!status.is_server_error(), "{name}: {status} {answer}");
        assert!(refused || status.is_client_error(), "{name}: {status} {answer}");
    }
    assert_well(up, &gateway).await;
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused_with_the_path_of_the_mistake() {
    let (up, gateway) = up().await;
    let line = |quantity: i64, price: i64| json!([{ "sku": "A", "name": "A", "quantity": quantity, "unitPriceMinor": price }]);
    let many = |n: usize| Value::from(vec![line(1, 100)[0].clone(); n]);
    let with = |field: &str, value: Value| {
        let mut input = order("");
        input.as_object_mut().unwrap().remove("idempotencyKey");
        *input.pointer_mut(&format!("/{field}")).unwrap() = value;
        input
    };
    for (field, value, path) in [
        ("lines", line(-1, 100), "lines"),
        ("lines", line(0, 100), "lines"),
        ("lines", line(1, -100), "lines"),
        ("lines", line(2_000_000_000, 9_000_000_000_000), "lines"),
        ("lines", json!([]), "lines"),
        ("lines", many(10_000), "lines"),
        ("currency", json!("ABC"), "currency"),
        ("currency", json!("eur€"), "currency"),
        ("contact/email", json!("no address"), "contact"),
        ("contact/email", json!("a@example.com\r\nBcc: b@example.com"), "contact"),
        ("contact/name", json!("x".repeat(100_000)), "contact"),
        ("paymentMethod", json!("4242424242424242"), "paymentMethod"),
        ("paymentMethod", json!("4242 4242 4242 4242"), "paymentMethod"),
        ("customerId", json!(""), "customerId"),
    ] {
        let input = with(field, value.clone());
        let payload = gateway.place(input).await;
        let told = &payload["errors"][0]["path"];
        let told = told.as_array().unwrap_or_else(|| panic!("{field} was accepted: {payload}"));
        assert!(told.iter().any(|part| part == path), "{field}: {payload}");
        assert_eq!(payload["order"], Value::Null, "{field}");
    }
    assert_well(up, &gateway).await;
}

#[tokio::test]
async fn requests_without_a_known_key_are_unauthenticated() {
    let (up, gateway) = up().await;
    let body = json!({ "query": "{ orders(first: 1) { edges { node { id } } } }" }).to_string();
    let (status, answer) = gateway.post(body.clone()).await;
    assert!(status.is_success() && answer.get("errors").is_none(), "{status} {answer}");
    let long = "x".repeat(5_000);
    for key in ["unknown", "", "demo-00000000000000000000000000000000", &long] {
        let stranger = Gateway { key: key.to_owned(), ..gateway.clone() };
        let (status, answer) = stranger.post(body.clone()).await;
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{key:?}: {answer}");
        assert_eq!(code, "UNAUTHENTICATED", "{key:?}: {answer}");
    }
    assert_well(up, &gateway).await;
}
