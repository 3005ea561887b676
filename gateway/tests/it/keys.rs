//! API keys in a file, which change while the gateway runs.

use anyhow::{Context, Result};
use comanda_gateway::hash_key;
use reqwest::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::events::EVENTS;
use crate::house::{ANA, House, PATIENCE, eventually};
use crate::ws_client::WsClient;

const OLD: &str = "the-old-key-of-carla-1";
const NEW: &str = "the-new-key-of-carla-1";
const LIST: &str = "{ orders { nodes { id } } }";

/// A file with keys of one customer.
fn file(keys: &[&str]) -> String {
    let entry = |key: &&str| {
        let (name, hash) = (&key[4..7], hash_key(key));
        format!(
            "[[api_keys]]\nname = \"carla-{name}\"\nsha256 = \"{hash}\"\nrole = \"customer\"\n\
             customer_id = \"carla\"\n"
        )
    };
    keys.iter().map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_without_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, file(&[OLD]))?;
    let house = House::with(|options| options.api_keys_file = path.display().to_string()).await?;
    let status = async |key: &str| -> Result<StatusCode> {
        Ok(house.ask(Some(key), LIST, json!({})).await?.0)
    };
    let becomes = async |key: &str, expected: StatusCode| {
        let look = || async { Ok((status(key).await? == expected).then_some(())) };
        eventually("another answer", look).await
    };
    let (good, bad) = (StatusCode::OK, StatusCode::UNAUTHORIZED);
    let now = [status(OLD).await?, status(NEW).await?, status(ANA).await?];
    assert_eq!(now, [good, bad, good]);
    let mut watching = WsClient::of(house.addr, OLD).await?;
    watching.subscribe("1", "subscription { orderUpdates { cursor } }", json!({})).await?;
    let mut other = WsClient::of(house.addr, ANA).await?;
    let stream = house.http.post(house.url()).bearer_auth(OLD).header("accept", EVENTS);
    let query = json!({ "query": "subscription { orderUpdates { cursor } }" });
    let stream = stream.json(&query).send().await?;
    assert_eq!(stream.status(), StatusCode::OK);

    std::fs::write(&path, file(&[OLD, NEW]))?;
    becomes(NEW, good).await?;
    assert_eq!(status(OLD).await?, good, "both for a while");
    let mut renewed = WsClient::of(house.addr, NEW).await?;
    std::fs::write(&path, file(&[NEW]))?;
    becomes(OLD, bad).await?;
    assert_eq!(watching.closed().await?, 4403);
    let told = timeout(PATIENCE, stream.text()).await.context("the stream goes on")??;
    assert!(told.contains("UNAUTHENTICATED") && told.ends_with("event: complete\ndata:\n\n"));
    for client in [&mut renewed, &mut other] {
        client.subscribe("1", LIST, json!({})).await?;
        client.data("1").await?;
    }
    std::fs::write(&path, "api_keys = []")?;
    becomes(NEW, bad).await?;
    assert_eq!(renewed.closed().await?, 4403);
    assert_eq!(status(ANA).await?, good);
    Ok(())
}
