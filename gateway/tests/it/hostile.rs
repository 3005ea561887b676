//! What is sent to hurt: it gets a clear answer, quickly, and never a 5xx.

use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{House, OPERATOR, code, order};

/// The status and code of a document, and that the answer came at once.
async fn send(house: &House, document: &str) -> Result<(StatusCode, String)> {
    let began = Instant::now();
    let (status, answer) = house.ask(Some(OPERATOR), document, json!({})).await?;
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    assert_eq!(answer["data"], Value::Null);
    assert!(answer["errors"].as_array().unwrap().len() <= 50);
    assert_eq!(answer["errors"][0]["extensions"]["retriable"], json!(false));
    Ok((status, code(&answer).to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_wide_and_circular_documents_are_refused() -> Result<()> {
    let house = House::open().await?;
    let limit = (StatusCode::BAD_REQUEST, "LIMIT_EXCEEDED".to_owned());
    let invalid = (StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED".to_owned());
    let deep = format!("{}{}", "{a".repeat(10_000), "}".repeat(10_000));
    assert_eq!(send(&house, &deep).await?, limit);
    assert_eq!(send(&house, &"{a".repeat(100_000)).await?, limit);
    let list = format!("{{ order(id: {}1{}) {{ id }} }}", "[".repeat(9_000), "]".repeat(9_000));
    assert_eq!(send(&house, &list).await?, limit);
    let nested =
        format!("{{ orders {}{{ nodes {{ id }} }}{} }}", "{ edges ".repeat(20), "}".repeat(20));
    assert_eq!(send(&house, &nested).await?, limit);
    let aliases: String = (0..10_000).map(|n| format!("a{n}: __typename ")).collect();
    assert_eq!(send(&house, &format!("{{ {aliases} }}")).await?, limit);
    let pages: String = (0..10)
        .map(|n| {
            format!("p{n}: orders(first: 100) {{ nodes {{ id status version note currency }} }} ")
        })
        .collect();
    assert_eq!(send(&house, &format!("{{ {pages} }}")).await?, limit);
    let cycle = "{ ...f } fragment f on Query { ...g } fragment g on Query { ...f ...f }";
    assert_eq!(send(&house, cycle).await?, invalid);
    let unknown: String = (0..2_000).map(|n| format!("nothing{n} ")).collect();
    let unknown = format!("{{ order(id: \"x\") {{ {unknown} }} }}");
    assert_eq!(send(&house, &unknown).await?, invalid);
    let doubling: String = (0..60)
        .map(|n| format!("fragment f{n} on Query {{ ...f{next} ...f{next} }} ", next = n + 1))
        .collect();
    let doubling = format!("{{ ...f0 }} {doubling} fragment f60 on Query {{ __typename }}");
    assert_eq!(send(&house, &doubling).await?, limit);
    let parse = (StatusCode::BAD_REQUEST, "GRAPHQL_PARSE_FAILED".to_owned());
    for broken in ["{", "", "query", "{ a", "}{", "\u{0}", "{ order(id: \"\\u{110000}\") { id } }"]
    {
        assert_eq!(send(&house, broken).await?, parse, "{broken}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_directives_roots_operations_and_variables_have_limits() -> Result<()> {
    let house = House::open().await?;
    let limit = (StatusCode::BAD_REQUEST, "LIMIT_EXCEEDED".to_owned());
    let many = |n: usize, part: &dyn Fn(usize) -> String| (0..n).map(part).collect::<String>();
    let aliases = many(1_000, &|n| format!("a{n}: id "));
    assert_eq!(send(&house, &format!("{{ order(id: \"x\") {{ {aliases} }} }}")).await?, limit);
    let directives = "@skip(if: false) ".repeat(1_000);
    assert_eq!(
        send(&house, &format!("{{ order(id: \"x\") {directives} {{ id }} }}")).await?,
        limit
    );
    assert_eq!(send(&house, &format!("query {directives} {{ __typename }}")).await?, limit);
    let roots = "__typename ".repeat(1_000);
    assert_eq!(send(&house, &format!("{{ {roots} }}")).await?, limit);
    let spread = "...f ".repeat(100);
    let spread = format!("{{ {spread} }} fragment f on Query {{ a: __typename b: __typename }}");
    assert_eq!(send(&house, &spread).await?, limit);
    let operations = many(500, &|n| format!("query q{n} {{ __typename }} "));
    assert_eq!(send(&house, &operations).await?, limit);
    let chain = many(500, &|n| format!("fragment f{n} on Query {{ ...f{} }} ", n + 1));
    assert_eq!(send(&house, &format!("{{ ...f0 }} {chain}")).await?, limit);
    let doubling = many(25, &|n| {
        let next = n + 1;
        format!("fragment f{n} on Query {{ ...f{next} ...f{next} }} ")
    });
    assert_eq!(send(&house, &format!("{{ ...f0 }} {doubling}")).await?, limit);

    let deep = (0..50).fold(json!(1), |inner, _| json!([inner]));
    for variables in [json!({ "a": vec![0; 100_000] }), json!({ "a": deep })] {
        let (status, answer) = house.ask(Some(OPERATOR), "{ __typename }", variables).await?;
        assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "LIMIT_EXCEEDED"));
    }
    let batch = "mutation($inputs: [PlaceOrderInput!]!) { placeOrders(inputs: $inputs) {
        order { id } } }";
    let inputs = json!({ "inputs": vec![order("ana", None); 1_000] });
    let (status, answer) = house.ask(Some(OPERATOR), batch, inputs).await?;
    assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "LIMIT_EXCEEDED"));
    assert_eq!(answer["data"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_limit_in_size_and_time() -> Result<()> {
    let house = House::with(|options| options.body_timeout_ms = 300).await?;
    let post = |body: Vec<u8>| {
        let request = house.http.post(house.url()).header("content-type", "application/json");
        request.body(body).send()
    };
    let large = post(vec![b' '; 2 << 20]).await?;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(large.json::<Value>().await?["errors"][0]["extensions"]["code"], "BAD_REQUEST");
    for broken in [&b""[..], b"{", b"\xff\xfe", b"[[[[", b"null"] {
        assert_eq!(post(broken.to_vec()).await?.status(), StatusCode::BAD_REQUEST);
    }

    let mut slow = TcpStream::connect(house.addr).await?;
    let head = "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await?;
    let mut answer = vec![0; 1024];
    let read = slow.read(&mut answer).await?;
    assert!(answer[..read].starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_nonsense_in_it_is_told_what_is_wrong() -> Result<()> {
    let house = House::open().await?;
    let errors = async |edit: &dyn Fn(&mut Value)| -> Result<Vec<(String, String)>> {
        let mut input = order("ana", None);
        edit(&mut input);
        let payload = house.place(OPERATOR, input).await?;
        assert_eq!((&payload["order"], &payload["receipt"]), (&Value::Null, &Value::Null));
        let errors = payload["errors"].as_array().unwrap().iter().map(|e| {
            assert_eq!(e["retriable"], json!(false));
            let path = e["path"].as_array().unwrap().iter().map(|p| p.as_str().unwrap());
            (e["code"].as_str().unwrap().to_owned(), path.collect::<Vec<_>>().join("."))
        });
        Ok(errors.collect())
    };
    let one = |code: &str, path: &str| vec![(code.to_owned(), path.to_owned())];
    let found = errors(&|i| i["lines"][1]["unitPriceMinor"] = json!(-1)).await?;
    assert_eq!(found, one("OUT_OF_RANGE", "input.lines.1.unitPriceMinor"));
    let found = errors(&|i| i["currency"] = json!("XXQ")).await?;
    assert_eq!(found, one("UNKNOWN_CURRENCY", "input.currency"));
    let line = order("ana", None)["lines"][0].clone();
    let found = errors(&|i| i["lines"] = json!(vec![line.clone(); 8_000])).await?;
    assert_eq!(found, one("TOO_MANY", "input.lines"));
    let found = errors(&|i| i["paymentMethod"] = json!("4242 4242 4242 4242")).await?;
    assert_eq!(found, one("CARD_NUMBER", "input.paymentMethod"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_number_is_repeated_nowhere() -> Result<()> {
    let house = House::open().await?;
    let card = 4242_4242_4242_4242u64;
    let text = card.to_string();
    for (field, value) in [
        ("paymentMethod", json!(text)),
        ("paymentMethod", json!(card)),
        ("paymentMethod", json!([text])),
        ("contact", json!(text)),
        ("lines", json!(text)),
        ("lines", json!([[card]])),
    ] {
        let mut input = order("ana", None);
        input[field] = value;
        let variables = json!({ "input": input });
        let (_, answer) = house.ask(Some(OPERATOR), crate::house::PLACE, variables).await?;
        assert!(answer["errors"].is_array() || answer["data"]["placeOrder"]["order"].is_null());
        assert!(!answer.to_string().contains("4242"), "{answer}");
    }
    let document = format!("mutation {{ placeOrder(input: {{ paymentMethod: \"{text}) }} }}");
    for body in [json!({ "query": document }), json!({ "query": "{a}", "variables": text })] {
        let request = house.http.post(house.url()).bearer_auth(OPERATOR).json(&body);
        let answer = request.send().await?.text().await?;
        assert!(answer.contains("errors") && !answer.contains("4242"), "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_the_wrong_type_are_a_clear_error() -> Result<()> {
    let house = House::open().await?;
    for (field, value) in [
        ("lines", json!("x")),
        ("currency", json!(5)),
        ("contact", Value::Null),
        ("customerId", json!({})),
        ("unknown", json!(1)),
    ] {
        let mut input = order("ana", None);
        input[field] = value;
        let variables = json!({ "input": input });
        let (status, answer) = house.ask(Some(OPERATOR), crate::house::PLACE, variables).await?;
        let expected = (StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED");
        assert_eq!((status, code(&answer)), expected, "{field}: {answer}");
    }
    for price in [json!(1.5), json!("650"), json!(1e30), json!(u64::MAX)] {
        let mut input = order("ana", None);
        input["lines"][0]["unitPriceMinor"] = price.clone();
        let variables = json!({ "input": input });
        let (status, answer) = house.ask(Some(OPERATOR), crate::house::PLACE, variables).await?;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{price}: {answer}");
    }
    Ok(())
}
