use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::{NotificationEvent, OrderEvent, TopicNames};

fn names() -> TopicNames {
    TopicNames {
        prefix: "t.".into(),
        orders: "orders".into(),
        payments: "payments".into(),
        notifications: "notifications".into(),
        payment_reports: "payment-reports".into(),
    }
}

fn registry(url: &str, auto_register: bool) -> Registry {
    Registry::new(&RegistryOptions {
        url: format!("{url}/"),
        username: String::new(),
        password: String::new().into(),
        auto_register,
        timeout_ms: 2_000,
    })
    .unwrap()
}

async fn answer(server: &MockServer, at: &str, status: u16, body: serde_json::Value, times: u64) {
    Mock::given(path(at))
        .respond_with(ResponseTemplate::new(status).set_body_json(body))
        .up_to_n_times(times)
        .mount(server)
        .await;
}

fn refusal(code: u32) -> serde_json::Value {
    serde_json::json!({ "error_code": code, "message": "as told" })
}

/// A value in the wire format with an empty datum, which decodes under a schema without fields.
const EMPTY: &[u8] = &[0, 0, 0, 0, 5];
const NO_FIELDS: &str = r#"{"type":"record","name":"Nothing","fields":[]}"#;

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Nothing {}

#[tokio::test]
async fn a_failure_of_the_registry_is_not_remembered() {
    let server = MockServer::start().await;
    answer(&server, "/schemas/ids/5", 503, refusal(50302), 1).await;
    answer(&server, "/schemas/ids/5", 500, refusal(50001), 1).await;
    answer(&server, "/schemas/ids/5", 404, refusal(40403), 1).await;
    let schema = serde_json::json!({ "schema": NO_FIELDS });
    answer(&server, "/schemas/ids/5", 200, schema, 1).await;
    let registry = registry(&server.uri(), true);
    for expected in ["503", "500", "404"] {
        let error = registry.read::<Nothing>(EMPTY).await.unwrap_err();
        let ReadError::Registry(error) = error else { panic!("{expected}: {error:?}") };
        assert_eq!(error.is_retriable(), expected != "404", "{error:?}");
    }
    assert_eq!(registry.read::<Nothing>(EMPTY).await.unwrap(), Nothing {});
    // Answered once by the registry, from now on known.
    assert_eq!(registry.read::<Nothing>(EMPTY).await.unwrap(), Nothing {});
}

#[tokio::test]
async fn an_outage_after_the_start_stops_nobody() {
    // Built, not started from the pool, so that dropping it closes its port.
    let server = MockServer::builder().start().await;
    answer(&server, "/subjects/t.orders-value/versions", 200, serde_json::json!({"id": 9}), 1)
        .await;
    let registry = registry(&server.uri(), true);
    assert_eq!(registry.resolve(&names(), Topic::Orders).await.unwrap(), 9);
    drop(server);
    let decoded = registry.read::<OrderEvent>(&[0, 0, 0, 0, 9, 1]).await;
    // The bytes are at fault, not the registry: it was not asked.
    assert!(matches!(decoded, Err(ReadError::Decode(DecodeError::Datum { schema_id: 9, .. }))));
    let unknown = registry.read::<NotificationEvent>(&[0, 0, 0, 0, 8, 1]).await.unwrap_err();
    assert!(ReadTries::default().again_after(&unknown), "{unknown}");
}

#[tokio::test]
async fn without_leave_to_register_a_schema_is_only_looked_up() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/subjects/t.orders-value"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(serde_json::json!({ "subject": "t.orders-value", "id": 3 })),
        )
        .mount(&server)
        .await;
    answer(&server, "/subjects/t.payments-value", 404, refusal(40401), 1).await;
    let registry = registry(&server.uri(), false);
    assert_eq!(registry.resolve(&names(), Topic::Orders).await.unwrap(), 3);
    let missing = registry.resolve(&names(), Topic::Payments).await.unwrap_err();
    assert!(matches!(missing, RegistryError::NotFound { .. }) && !missing.is_retriable());
}

#[tokio::test]
async fn an_incompatible_schema_is_told_apart_from_a_refusal() {
    let server = MockServer::start().await;
    answer(&server, "/subjects/t.orders-value/versions", 409, refusal(409), 20).await;
    answer(&server, "/subjects/t.orders-value", 404, refusal(40403), 20).await;
    answer(&server, "/subjects/t.payments-value/versions", 401, refusal(401), 1).await;
    let registry = registry(&server.uri(), true);
    let error = registry.resolve(&names(), Topic::Orders).await.unwrap_err();
    assert!(matches!(error, RegistryError::Incompatible { .. }), "{error:?}");
    let error = registry.resolve(&names(), Topic::Payments).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { .. }) && !error.is_retriable(), "{error:?}");
}

/// What Apicurio answers when two processes register a new subject at the same time.
#[tokio::test]
async fn a_schema_that_another_process_is_registering_is_found() {
    let server = MockServer::start().await;
    answer(&server, "/subjects/t.orders-value/versions", 409, refusal(409), 2).await;
    answer(&server, "/subjects/t.orders-value", 404, refusal(40403), 1).await;
    answer(&server, "/subjects/t.orders-value", 200, serde_json::json!({ "id": 4 }), 1).await;
    let registry = registry(&server.uri(), true);
    assert_eq!(registry.resolve(&names(), Topic::Orders).await.unwrap(), 4);
}

#[tokio::test]
async fn a_record_is_given_up_only_when_it_is_at_fault() {
    let server = MockServer::start().await;
    answer(&server, "/schemas/ids/5", 401, refusal(401), 1).await;
    answer(&server, "/schemas/ids/5", 404, refusal(40403), 20).await;
    let no_avro = serde_json::json!({ "schema": "syntax = \"proto3\";" });
    answer(&server, "/schemas/ids/6", 200, no_avro, 1).await;
    let registry = registry(&server.uri(), true);
    let mut tries = ReadTries::default();
    let mut read = 0;
    loop {
        let error = registry.read::<Nothing>(EMPTY).await.unwrap_err();
        read += 1;
        if !tries.again_after(&error) {
            break;
        }
    }
    // The refusal of our credentials says nothing about the record; eight denials do.
    assert_eq!(read, 9);
    let error = registry.read::<Nothing>(&[0, 0, 0, 0, 6]).await.unwrap_err();
    assert!(matches!(error, ReadError::Decode(DecodeError::Schema { schema_id: 6, .. })));
    assert!(!ReadTries::default().again_after(&error));
}

/// What an ingress answers for a path that it does not route, or while no registry is behind it.
async fn page(server: &MockServer, status: u16) {
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(status).set_body_string("<html>404 not found</html>"))
        .mount(server)
        .await;
}

#[tokio::test]
async fn a_404_that_is_not_the_registrys_says_nothing_about_a_schema() {
    for status in [404, 400, 405, 409, 422, 502] {
        let server = MockServer::start().await;
        page(&server, status).await;
        let registry = registry(&server.uri(), false);
        let error = registry.read::<Nothing>(EMPTY).await.unwrap_err();
        let mut tries = ReadTries::default();
        assert!((0..100).all(|_| tries.again_after(&error)), "{status}: {error:?}");
        let subject = names().subject(Topic::Orders);
        let error = registry.is_compatible(&subject, Topic::Orders).await.unwrap_err();
        assert!(error.is_retriable(), "{status}: {error:?}");
        assert!(crate::headers::error_chain(&error).contains("registry.url"), "{error:?}");
        let error = registry.resolve(&names(), Topic::Orders).await.unwrap_err();
        assert!(error.is_retriable(), "{status}: {error:?}");
        let error = registry.require_full_compatibility(&subject).await.unwrap_err();
        assert!(error.is_retriable(), "{status}: {error:?}");
    }
}

#[tokio::test]
async fn a_page_with_status_200_confirms_nothing() {
    let server = MockServer::start().await;
    page(&server, 200).await;
    let registry = registry(&server.uri(), false);
    let subject = names().subject(Topic::Orders);
    assert!(registry.is_compatible(&subject, Topic::Orders).await.unwrap_err().is_retriable());
    assert!(registry.lookup(&subject, Topic::Orders).await.unwrap_err().is_retriable());
    assert!(registry.require_full_compatibility(&subject).await.unwrap_err().is_retriable());
    let server = MockServer::start().await;
    answer(&server, "/subjects/t.orders-value", 200, serde_json::json!({}), 1).await;
    let registry = self::registry(&server.uri(), false);
    assert!(registry.lookup(&subject, Topic::Orders).await.unwrap_err().is_retriable());
}

#[tokio::test]
async fn a_schema_is_read_with_those_that_it_refers_to() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Inner {
        n: i64,
    }
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Middle {
        inner: Inner,
    }
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Outer {
        a: Middle,
        b: Inner,
    }
    let server = MockServer::start().await;
    let record = |name: &str, fields: serde_json::Value| {
        let schema = serde_json::json!({
            "type": "record", "name": name, "namespace": "n", "fields": fields
        });
        schema.to_string()
    };
    let refers =
        |subject: &str| serde_json::json!({ "name": "x", "subject": subject, "version": 1 });
    let outer = serde_json::json!({
        "schema": record("Outer", serde_json::json!([
            { "name": "a", "type": "n.Middle" }, { "name": "b", "type": "n.Inner" },
        ])),
        "references": [refers("middle"), refers("inner")],
    });
    let middle = serde_json::json!({
        "subject": "middle", "version": 1, "id": 6,
        "schema": record("Middle", serde_json::json!([{ "name": "inner", "type": "n.Inner" }])),
        "references": [refers("inner")],
    });
    let inner = serde_json::json!({
        "subject": "inner", "version": 1, "id": 7,
        "schema": record("Inner", serde_json::json!([{ "name": "n", "type": "long" }])),
    });
    let schemas = [
        ("/schemas/ids/5", outer),
        ("/subjects/middle/versions/1", middle),
        ("/subjects/inner/versions/1", inner),
    ];
    answer(&server, "/subjects/inner/versions/1", 503, refusal(50_302), 1).await;
    for (at, schema) in schemas {
        answer(&server, at, 200, schema, 2).await;
    }
    let registry = registry(&server.uri(), true);
    let value = [0, 0, 0, 0, 5, 2, 4];
    let away = registry.read::<Outer>(&value).await.unwrap_err();
    assert!(ReadTries::default().again_after(&away), "{away:?}");
    let read = registry.read::<Outer>(&value).await.unwrap();
    assert_eq!(read, Outer { a: Middle { inner: Inner { n: 1 } }, b: Inner { n: 2 } });
    let json = registry.read_json(&value).await.unwrap();
    assert_eq!(json, serde_json::json!({ "a": { "inner": { "n": 1 } }, "b": { "n": 2 } }));
}

#[tokio::test]
async fn a_login_in_the_registrys_url_is_in_no_error() {
    let registry = Registry::new(&RegistryOptions {
        url: "http://ana:secret@127.0.0.1:1/base/".into(),
        username: String::new(),
        password: String::new().into(),
        auto_register: true,
        timeout_ms: 500,
    });
    let error = registry.unwrap().read::<Nothing>(EMPTY).await.unwrap_err();
    let text = crate::headers::error_chain(&error);
    assert!(text.contains("@127.0.0.1:1/base"), "{text}");
    assert!(!text.contains("secret") && !text.contains("ana"), "{text}");
}
