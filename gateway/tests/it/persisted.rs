//! Documents that are asked for by an id.

use anyhow::Result;
use comanda_gateway::{Audience, Error};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{ANA, House, OPERATOR, code, options};
use crate::ws_client::WsClient;

const TEXT: &str = "query Type($skip: Boolean = false) { ... @skip(if: $skip) { __typename } }";
/// `sha256sum` of it.
const HASH: &str = "757c757951df4f91339c7ae0c9d69989df6f6da1aecf75ed72638d697741436e";

fn persisted(hash: &str) -> Value {
    json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } })
}

async fn post(house: &House, key: Option<&str>, body: Value) -> Result<(StatusCode, Value)> {
    let mut request = house.http.post(house.url());
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let request = request.header("accept", "application/graphql-response+json");
    let response = request.json(&body).send().await?;
    Ok((response.status(), response.json().await?))
}

fn typename() -> (StatusCode, Value) {
    (StatusCode::OK, json!({ "data": { "__typename": "Query" } }))
}

/// What Apollo's and urql's clients look at: a status that is none of an error, the message, the
/// code.
fn assert_not_found((status, answer): &(StatusCode, Value)) {
    assert_eq!(*status, StatusCode::OK);
    assert_eq!(answer["errors"][0]["message"], "PersistedQueryNotFound");
    assert_eq!(code(answer), "PERSISTED_QUERY_NOT_FOUND");
    assert_eq!(answer.get("data"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_found_by_its_hash_once_it_was_sent() -> Result<()> {
    let house = House::open().await?;
    let by_hash = json!({ "extensions": persisted(HASH) });
    assert_not_found(&post(&house, None, by_hash.clone()).await?);
    let registering = json!({ "query": TEXT, "extensions": persisted(HASH) });
    assert_eq!(post(&house, None, registering).await?, typename());
    assert_eq!(post(&house, None, by_hash).await?, typename());
    let skipped = json!({ "extensions": persisted(HASH), "variables": { "skip": true } });
    assert_eq!(post(&house, None, skipped).await?.1, json!({ "data": {} }));
    let by_id = json!({ "documentId": format!("sha256:{HASH}") });
    assert_eq!(post(&house, Some(ANA), by_id).await?, typename());

    let get = async |parameters: &[(&str, &str)]| -> Result<(StatusCode, Value)> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(parameters).finish();
        let response = house.http.get(format!("{}?{query}", house.url())).send().await?;
        Ok((response.status(), response.json().await?))
    };
    assert_eq!(get(&[("extensions", &persisted(HASH).to_string())]).await?, typename());
    assert_not_found(&get(&[("extensions", &persisted(&"0".repeat(64)).to_string())]).await?);
    assert_eq!(get(&[("documentId", HASH)]).await?, typename());

    let mut client = WsClient::of(house.addr, ANA).await?;
    let payload = json!({ "extensions": persisted(HASH) });
    client.say(json!({ "type": "subscribe", "id": "1", "payload": payload })).await?;
    assert_eq!(client.data("1").await?, json!({ "__typename": "Query" }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_text_gets_under_a_hash() -> Result<()> {
    let house = House::open().await?;
    let other = json!({ "query": "{ orders { nodes { id } } }", "extensions": persisted(HASH) });
    let (status, answer) = post(&house, Some(OPERATOR), other).await?;
    let mismatch = (StatusCode::BAD_REQUEST, "PERSISTED_QUERY_HASH_MISMATCH");
    assert_eq!((status, code(&answer)), mismatch);
    assert_not_found(&post(&house, None, json!({ "extensions": persisted(HASH) })).await?);
    for version in [json!(2), json!("1"), Value::Null] {
        let wrong = json!({ "persistedQuery": { "version": version, "sha256Hash": HASH } });
        let (status, _) = post(&house, None, json!({ "query": TEXT, "extensions": wrong })).await?;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{version}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_not_valid_is_not_found_by_its_hash() -> Result<()> {
    let house = House::open().await?;
    let hash = "919c0b7aa452b0b2fb42688461501bb8b0c3ef3b9d05ce7b9afd4f28bbe96ceb";
    let registering = json!({ "query": "{ nothing }", "extensions": persisted(hash) });
    let (status, answer) = post(&house, None, registering).await?;
    let invalid = (StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED");
    assert_eq!((status, code(&answer)), invalid);
    assert_not_found(&post(&house, None, json!({ "extensions": persisted(hash) })).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_by_hash_where_none_is_kept_is_told_to_stop() -> Result<()> {
    let house = House::with(|options| options.automatic_persisted_queries = false).await?;
    let registering = json!({ "query": TEXT, "extensions": persisted(HASH) });
    assert_eq!(post(&house, None, registering).await?, typename());
    let (status, answer) = post(&house, None, json!({ "extensions": persisted(HASH) })).await?;
    assert_eq!((status, code(&answer)), (StatusCode::OK, "PERSISTED_QUERY_NOT_SUPPORTED"));
    assert_eq!(answer["errors"][0]["message"], "PersistedQueryNotSupported");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_documents_are_listed_others_are_for_operators_alone() -> Result<()> {
    let manifest = tempfile::NamedTempFile::new()?;
    std::fs::write(manifest.path(), json!({ "type-1": TEXT }).to_string())?;
    let path = manifest.path().to_str().unwrap().to_owned();
    let house = House::with(|options| {
        options.persisted_documents = path;
        options.ad_hoc_documents = Audience::Operators;
    })
    .await?;
    let other = json!({ "query": "{ __typename }" });
    for (caller, is_allowed) in [(None, false), (Some(ANA), false), (Some(OPERATOR), true)] {
        for listed in [
            json!({ "documentId": "type-1" }),
            json!({ "extensions": persisted("type-1") }),
            json!({ "query": TEXT }),
        ] {
            assert_eq!(post(&house, caller, listed).await?, typename());
        }
        let (status, answer) = post(&house, caller, other.clone()).await?;
        if is_allowed {
            assert_eq!((status, answer), typename());
        } else {
            let refused = (StatusCode::FORBIDDEN, "DOCUMENT_NOT_LISTED");
            assert_eq!((status, code(&answer)), refused);
        }
    }
    // What the operator sent is not there for others.
    let hash = "7f56e67dd21ab3f30d1ff8b7bed08893f0a0db86449836189b361dd1e56ddb4b";
    assert_not_found(&post(&house, Some(ANA), json!({ "extensions": persisted(hash) })).await?);
    let mut client = WsClient::of(house.addr, ANA).await?;
    client.subscribe("1", "{ __typename }", json!({})).await?;
    let refused = client.hear().await?;
    assert_eq!(refused["payload"][0]["extensions"]["code"], "DOCUMENT_NOT_LISTED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_can_not_be_used_is_refused_at_the_start() -> Result<()> {
    let house = House::open().await?;
    let manifest = tempfile::NamedTempFile::new()?;
    let path = manifest.path().to_str().unwrap();
    let problem = async |path: &str| -> Result<String> {
        let mut options = options();
        options.persisted_documents = path.into();
        let error = house.another(options).await.err().unwrap().downcast()?;
        assert!(matches!(error, Error::Options { key: "persisted_documents", .. }), "{error}");
        Ok(error.to_string())
    };
    assert!(problem("/no/such/file").await?.contains("can't be read"));
    assert!(problem(path).await?.contains("not a manifest"));
    for broken in ["{", &format!("{{ {} }}", "a ".repeat(20_000))] {
        std::fs::write(path, json!({ "the-broken-one": broken }).to_string())?;
        assert!(problem(path).await?.contains("the-broken-one"));
    }
    let mut alone = options();
    alone.ad_hoc_documents = Audience::Nobody;
    let error = house.another(alone).await.err().unwrap().downcast()?;
    assert!(matches!(error, Error::Options { key: "ad_hoc_documents", .. }), "{error}");
    Ok(())
}
