use anyhow::Result;
use comanda_sandbox::registry::{Handle, Service};
use reqwest::Method;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_schema_by_id, get_schema_by_subject, post_schema,
};
use schema_registry_converter::schema_registry_common::{
    SchemaType, SubjectNameStrategy, SuppliedSchema,
};
use serde_json::{Value, json};

use crate::support::{LOCAL, Running};

const V1: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
const V2: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},
    {"name":"b","type":["null","string"],"default":null}]}"#;
const BREAKING: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},
    {"name":"c","type":"int"}]}"#;

async fn start() -> Result<Running<Handle>> {
    let service = Service::bind(LOCAL).await?;
    let (url, handle) = (service.url(), service.handle());
    Ok(Running::new(url, handle, |stop| service.run_until_stopped(stop)))
}

impl Running<Handle> {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method, self.at(path));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/vnd.schemaregistry.v1+json")
                .body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "application/vnd.schemaregistry.v1+json");
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, schema: &str) -> (u16, Value) {
        self.call(Method::POST, path, Some(json!({ "schema": schema }))).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        self.call(Method::DELETE, path, None).await
    }

    async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> (u16, u64) {
        let (status, body) = self.call(method, path, body).await;
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        (status, body["error_code"].as_u64().unwrap())
    }
}

#[tokio::test]
async fn a_schema_has_one_id_in_every_subject() -> Result<()> {
    let registry = start().await?;
    assert_eq!(registry.get("/").await, (200, json!({})));
    let id = json!({ "id": 1 });
    assert_eq!(registry.post("/subjects/one/versions", V1).await, (200, id.clone()));
    assert_eq!(registry.post("/subjects/one/versions", V1).await, (200, id.clone()));
    assert_eq!(registry.post("/subjects/two/versions", V1).await, (200, id));
    assert_eq!(registry.post("/subjects/one/versions", V2).await, (200, json!({ "id": 2 })));

    assert_eq!(registry.get("/subjects").await.1, json!(["one", "two"]));
    assert_eq!(registry.get("/subjects/one/versions").await.1, json!([1, 2]));
    assert_eq!(registry.get("/schemas/ids/1").await.1, json!({ "schema": V1 }));
    let bare: Value = serde_json::from_str(V2)?;
    assert_eq!(registry.get("/schemas/ids/2/schema").await.1, bare);
    assert_eq!(registry.get("/subjects/one/versions/2/schema").await.1, bare);
    assert_eq!(
        registry.get("/schemas/ids/1/versions").await.1,
        json!([{ "subject": "one", "version": 1 }, { "subject": "two", "version": 1 }])
    );
    let place = json!({ "subject": "one", "version": 2, "id": 2, "schema": V2 });
    assert_eq!(registry.get("/subjects/one/versions/latest").await.1, place);
    assert_eq!(registry.get("/subjects/one/versions/2").await.1, place);
    assert_eq!(registry.post("/subjects/one?deleted=true", V2).await.1, place);
    assert_eq!(registry.handle.subjects(), ["one", "two"]);
    assert_eq!(registry.handle.schema(2).as_deref(), Some(V2));
    Ok(())
}

#[tokio::test]
async fn an_incompatible_schema_is_refused_with_its_reason() -> Result<()> {
    let registry = start().await?;
    registry.post("/subjects/s/versions", V1).await;
    let (status, body) = registry.post("/subjects/s/versions", BREAKING).await;
    assert_eq!((status, &body["error_code"]), (409, &json!(409)));
    assert!(body["message"].as_str().unwrap().contains("lacks field c"), "{body}");
    assert_eq!(registry.get("/subjects/s/versions").await.1, json!([1]));

    let put = |level| Some(json!({ "compatibility": level }));
    let answer = registry.call(Method::PUT, "/config/s", put("FORWARD")).await;
    assert_eq!(answer, (200, json!({ "compatibility": "FORWARD" })));
    assert_eq!(registry.post("/subjects/s/versions", BREAKING).await.0, 200);
    Ok(())
}

#[tokio::test]
async fn a_transitive_level_looks_at_every_version() -> Result<()> {
    let registry = start().await?;
    let field = |extra: &str| {
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":"int"}}{extra}]}}"#)
    };
    let optional_text = field(r#",{"name":"b","type":"string","default":""}"#);
    let none = field("");
    let optional_number = field(r#",{"name":"b","type":"int","default":0}"#);
    for schema in [&optional_text, &none] {
        assert_eq!(registry.post("/subjects/s/versions", schema).await.0, 200);
    }
    assert_eq!(registry.post("/subjects/s/versions", &optional_number).await.0, 409);
    registry.call(Method::PUT, "/config", Some(json!({ "compatibility": "FULL" }))).await;
    assert_eq!(registry.post("/subjects/s/versions", &optional_number).await.0, 200);
    Ok(())
}

#[tokio::test]
async fn a_check_tells_without_registering() -> Result<()> {
    let registry = start().await?;
    registry.post("/subjects/s/versions", V1).await;
    let at = |version: &str| format!("/compatibility/subjects/s/versions{version}?verbose=true");
    for version in ["", "/latest", "/1"] {
        let (_, body) = registry.post(&at(version), V2).await;
        assert_eq!(body, json!({ "is_compatible": true, "messages": [] }));
        let (_, body) = registry.post(&at(version), BREAKING).await;
        assert_eq!(body["is_compatible"], false);
        assert_eq!(body["messages"].as_array().unwrap().len(), 1, "{body}");
    }
    let new = "/compatibility/subjects/new/versions/latest";
    assert_eq!(registry.post(new, V1).await, (200, json!({ "is_compatible": true })));
    assert_eq!(registry.post(&at("/9"), V1).await.1["error_code"], 40402);
    assert_eq!(registry.get("/subjects/s/versions").await.1, json!([1]));
    Ok(())
}

#[tokio::test]
async fn levels_are_set_per_subject_and_fall_back_to_the_global_one() -> Result<()> {
    let registry = start().await?;
    let full = json!({ "compatibilityLevel": "FULL_TRANSITIVE" });
    assert_eq!(registry.get("/config").await, (200, full.clone()));
    assert_eq!(registry.refused(Method::GET, "/config/s", None).await, (404, 40408));
    assert_eq!(registry.get("/config/s?defaultToGlobal=true").await.1, full);
    let none = Some(json!({ "compatibility": "NONE" }));
    registry.call(Method::PUT, "/config/s", none).await;
    assert_eq!(registry.get("/config/s").await.1, json!({ "compatibilityLevel": "NONE" }));
    assert_eq!(registry.delete("/config/s").await.0, 200);
    assert_eq!(registry.refused(Method::GET, "/config/s", None).await, (404, 40408));
    let odd = Some(json!({ "compatibility": "SOMEWHAT" }));
    assert_eq!(registry.refused(Method::PUT, "/config", odd).await, (422, 42203));
    assert_eq!(registry.get("/mode").await.1, json!({ "mode": "READWRITE" }));
    assert_eq!(registry.get("/schemas/types").await.1, json!(["AVRO"]));
    Ok(())
}

#[tokio::test]
async fn deletion_is_soft_first_and_ids_stay() -> Result<()> {
    let registry = start().await?;
    registry.post("/subjects/s/versions", V1).await;
    registry.post("/subjects/s/versions", V2).await;
    let gone = |path: &'static str| registry.refused(Method::DELETE, path, None);
    assert_eq!(gone("/subjects/s/versions/1?permanent=true").await, (404, 40407));
    assert_eq!(registry.delete("/subjects/s/versions/1").await, (200, json!(1)));
    assert_eq!(gone("/subjects/s/versions/1").await, (404, 40406));
    assert_eq!(registry.get("/subjects/s/versions").await.1, json!([2]));
    assert_eq!(registry.get("/subjects/s/versions?deleted=true").await.1, json!([1, 2]));
    assert_eq!(gone("/subjects/s?permanent=true").await, (404, 40405));
    assert_eq!(registry.delete("/subjects/s").await, (200, json!([2])));
    assert_eq!(gone("/subjects/s").await, (404, 40404));
    assert_eq!(registry.get("/subjects").await.1, json!([]));
    assert_eq!(registry.get("/schemas/ids/1").await.0, 200);

    assert_eq!(registry.post("/subjects/s/versions", V1).await.1, json!({ "id": 1 }));
    assert_eq!(registry.get("/subjects/s/versions").await.1, json!([3]));
    registry.delete("/subjects/s").await;
    assert_eq!(registry.delete("/subjects/s?permanent=true").await.1, json!([1, 2, 3]));
    assert_eq!(registry.get("/subjects?deleted=true").await.1, json!([]));
    Ok(())
}

#[tokio::test]
async fn each_refusal_has_its_code() -> Result<()> {
    let registry = start().await?;
    registry.post("/subjects/s/versions", V1).await;
    let schema = |text: &str| Some(json!({ "schema": text }));
    let protobuf = Some(json!({ "schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF" }));
    let referring = json!([{ "name": "x", "subject": "x", "version": 1 }]);
    let referring = Some(json!({ "schema": V1, "references": referring }));
    let cases = [
        (Method::GET, "/subjects/none/versions", None, (404, 40401)),
        (Method::GET, "/subjects/s/versions/7", None, (404, 40402)),
        (Method::GET, "/subjects/s/versions/x", None, (422, 42202)),
        (Method::GET, "/schemas/ids/99", None, (404, 40403)),
        (Method::POST, "/subjects/none", schema(V1), (404, 40401)),
        (Method::POST, "/subjects/s", schema(V2), (404, 40403)),
        (Method::POST, "/subjects/s/versions", schema("{\"type\":\"x\"}"), (422, 42201)),
        (Method::POST, "/subjects/s/versions", Some(json!({})), (422, 42201)),
        (Method::POST, "/subjects/s/versions", protobuf, (422, 422)),
        (Method::POST, "/subjects/s/versions", referring, (422, 42201)),
        (Method::POST, "/subjects/s/versions", Some(json!([])), (400, 400)),
        (Method::PATCH, "/subjects", None, (405, 405)),
        (Method::GET, "/nowhere", None, (404, 404)),
    ];
    for (method, path, body, expected) in cases {
        let refused = registry.refused(method.clone(), path, body).await;
        assert_eq!(refused, expected, "{method} {path}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_may_say_json_in_any_of_the_usual_ways_and_no_other() -> Result<()> {
    let registry = start().await?;
    let send = async |kind: &str| {
        let body = json!({ "schema": V1 }).to_string();
        let request = registry.client.post(registry.at("/subjects/s/versions"));
        request.header("content-type", kind).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("application/json; charset=utf-8").await, 200);
    assert_eq!(send("application/vnd.schemaregistry+json").await, 200);
    assert_eq!(send("application/vnd.schemaregistry.v1+json").await, 200);
    assert_eq!(send("text/plain").await, 415);
    Ok(())
}

#[tokio::test]
async fn a_subject_may_hold_any_character() -> Result<()> {
    let registry = start().await?;
    assert_eq!(registry.post("/subjects/a%2Fb%20%C3%A9/versions", V1).await.0, 200);
    assert_eq!(registry.handle.subjects(), ["a/b é"]);
    assert_eq!(registry.get("/subjects/a%2Fb%20%C3%A9/versions").await.1, json!([1]));
    Ok(())
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() -> Result<()> {
    let registry = start().await?;
    let huge = vec![b'x'; (1 << 20) + 1];
    let request = registry.client.post(registry.at("/subjects/s/versions")).body(huge);
    assert_eq!(request.send().await?.status(), 413);
    let doc = "x".repeat(300 << 10);
    let large = format!(r#"{{"type":"record","name":"R","doc":"{doc}","fields":[]}}"#);
    assert_eq!(registry.post("/subjects/s/versions", &large).await.1["error_code"], 42209);
    Ok(())
}

#[tokio::test]
async fn the_rust_client_registers_and_finds_schemas() -> Result<()> {
    let registry = start().await?;
    let settings = SrSettings::new_builder(registry.url.clone()).no_proxy().build()?;
    let supplied = SuppliedSchema::new(Some("R".into()), SchemaType::Avro, V1.into());
    let registered = post_schema(&settings, "t-value".into(), supplied).await?;
    let by_id = get_schema_by_id(registered.id, &settings).await?;
    assert_eq!(by_id.schema, V1);
    let strategy = SubjectNameStrategy::TopicNameStrategy("t".into(), false);
    let latest = get_schema_by_subject(&settings, &strategy).await?;
    assert_eq!((latest.id, latest.schema.as_str()), (registered.id, V1));
    Ok(())
}
