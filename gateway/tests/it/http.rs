//! GraphQL over HTTP. The 61 audits of graphql-http say more, but need Node.

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::house::{House, OPERATOR, code};
use crate::raw::Raw;

#[tokio::test(flavor = "multi_thread")]
async fn the_media_type_of_the_answer_is_what_the_client_takes() -> Result<()> {
    let house = House::open().await?;
    for (accept, expected) in [
        ("application/graphql-response+json", "application/graphql-response+json; charset=utf-8"),
        ("application/json", "application/json; charset=utf-8"),
        ("*/*", "application/json; charset=utf-8"),
    ] {
        let request = house.http.post(house.url()).header("accept", accept);
        let response = request.json(&json!({ "query": "{ __typename }" })).send().await?;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], expected);
        assert_eq!(response.text().await?, r#"{"data":{"__typename":"Query"}}"#);
    }
    let request = house.http.post(house.url()).header("accept", "text/html");
    let response = request.json(&json!({ "query": "{ __typename }" })).send().await?;
    assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_json_is_posted_and_only_queries_are_got() -> Result<()> {
    let house = House::open().await?;
    let post = |content_type: &str| {
        let request = house.http.post(house.url()).header("content-type", content_type);
        request.body(r#"{"query":"{ __typename }"}"#).send()
    };
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        assert_eq!(post(wrong).await?.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{wrong}");
    }
    let get = |query: &str| {
        let query =
            form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        house.http.get(format!("{}?{query}", house.url())).bearer_auth(OPERATOR).send()
    };
    assert_eq!(get("{ __typename }").await?.status(), StatusCode::OK);
    let mutation = get("mutation { placeOrders(inputs: []) { order { id } } }").await?;
    assert_eq!(mutation.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(mutation.headers()["allow"], "POST");
    for method in [Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let response = house.http.request(method, house.url()).send().await?;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET, POST");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_nothing_else_is_beside_graphql() -> Result<()> {
    let house = House::open().await?;
    let root = format!("http://{}/", house.addr);
    let page = house.http.get(&root).send().await?;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.headers()["content-security-policy"].to_str()?.contains("frame-ancestors 'none'"));
    assert!(page.text().await?.contains("<form id=\"plain\">"));
    let post = house.http.post(&root).send().await?;
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    for path in ["graphql/", "graphqlx", "favicon.ico", "%2e%2e/etc/passwd", "?x"] {
        let response = house.http.get(format!("{root}{path}")).send().await?;
        let expected = if path == "?x" { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(response.status(), expected, "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_at_once_and_none_is_nobody_in_particular() -> Result<()> {
    let house = House::open().await?;
    let (status, answer) = house.ask(Some("wrong"), "{ __typename }", json!({})).await?;
    assert_eq!((status, code(&answer)), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"));
    let request = house.http.post(house.url()).header("x-api-key", "wrong");
    let response = request.json(&json!({ "query": "{ __typename }" })).send().await?;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.headers().contains_key("www-authenticate"));

    let (status, answer) =
        house.ask(None, "{ __schema { queryType { name } } }", json!({})).await?;
    assert_eq!((status, &answer["errors"]), (StatusCode::OK, &json!(null)));
    let (status, answer) = house.ask(None, "{ orders { nodes { id } } }", json!({})).await?;
    assert_eq!((status, code(&answer)), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"));
    assert_eq!(answer["data"], json!(null));
    assert_eq!(answer["errors"][0]["extensions"]["retriable"], json!(false));
    let (status, answer) = house.ask(None, r#"{ order(id: "x") { id } }"#, json!({})).await?;
    assert_eq!((status, code(&answer)), (StatusCode::OK, "UNAUTHENTICATED"));
    assert_eq!(answer["data"], json!({ "order": null }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_over_http_is_sent_to_the_websocket() -> Result<()> {
    let house = House::open().await?;
    let query = "subscription { orderUpdates { cursor } }";
    let (status, answer) = house.ask(Some(OPERATOR), query, json!({})).await?;
    assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "BAD_USER_INPUT"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_and_field_is_described() -> Result<()> {
    let house = House::open().await?;
    let query = "{ __schema { types { name description
        fields { name description args { name description } }
        inputFields { name description } enumValues { name description } } } }";
    let (status, answer) = house.ask(None, query, json!({})).await?;
    assert_eq!(status, StatusCode::OK);
    let types = answer["data"]["__schema"]["types"].as_array().unwrap();
    let builtin = ["ID", "Int", "Float", "String", "Boolean"];
    let is_ours = |name: &str| !name.starts_with("__") && !builtin.contains(&name);
    let ours = types.iter().filter(|kind| is_ours(kind["name"].as_str().unwrap()));
    let mut seen = 0;
    let mut check = |of: &serde_json::Value, inside: &str| {
        seen += 1;
        let described = of["description"].as_str().is_some_and(|d| !d.is_empty());
        assert!(described, "{inside} {} has no description", of["name"]);
    };
    for kind in ours {
        let name = kind["name"].as_str().unwrap();
        check(kind, "type");
        for list in ["fields", "inputFields", "enumValues"] {
            for field in kind[list].as_array().into_iter().flatten() {
                check(field, name);
                for argument in field["args"].as_array().into_iter().flatten() {
                    check(argument, name);
                }
            }
        }
    }
    assert!(seen > 100, "{seen}");
    Ok(())
}

#[test]
fn the_schema_has_the_surface_of_the_design() {
    let sdl = comanda_gateway::sdl();
    for line in [
        "placeOrder(",
        "placeOrders(",
        "order(",
        "orders(",
        "orderUpdates(",
        "idempotencyKey: String\n",
        "customerId: ID!\n",
        "unitPriceMinor: Long!\n",
        "errors: [UserError!]!\n",
        "path: [String!]!\n",
        "scalar DateTime",
        "scalar Long",
    ] {
        assert!(sdl.contains(line), "{line} is not in\n{sdl}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_http_1_1_has_one_host_and_no_proxy_is_here() -> Result<()> {
    let house = House::open().await?;
    let body = r#"{"query":"{ __typename }"}"#;
    let post = |version: &str, hosts: &str| {
        format!(
            "POST /graphql HTTP/{version}\r\n{hosts}content-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (request, status) in [
        (post("1.1", "host: x\r\n"), "200"),
        (post("1.1", ""), "400"),
        (post("1.1", "host: x\r\nhost: y\r\n"), "400"),
        (post("1.0", ""), "200"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "400"),
        ("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n".to_owned(), "405"),
    ] {
        let mut raw = Raw::connect(house.addr).await?;
        raw.send(&request).await?;
        let (head, _) = raw.answer().await?;
        assert_eq!(&head[9..12], status, "{request}: {head}");
        assert_eq!(status == "405", head.contains("allow: "));
    }
    Ok(())
}
