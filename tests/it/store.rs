//! The order store of running roles: away, back again, of another version, rebuilt.

use std::time::Duration;

use comanda_schemas::{Event as _, OrderEvent, Topic};
use comanda_store::Store;
use reqwest::StatusCode;
use serde_json::json;

use crate::engine::place;
use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::{Installation, sqlite_url};
use crate::harness::postgres::{self, Postgres};
use crate::harness::process::{self, Comanda};
use crate::harness::{self, eventually};
use crate::projectors::{has_read_all, open};

const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `/readyz` of a process says this of `part`, among more.
async fn ready_says(process: &mut Comanda, part: &str, state: &str) {
    let admin = process.logged("admin port listens", "addr").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    eventually(&format!("{part} of /readyz is {state:?}"), LIMIT, async || {
        let answer = http.get(format!("http://{admin}/readyz")).send().await.ok()?;
        let report: serde_json::Value = answer.json().await.ok()?;
        let said = report["parts"][part].as_str()?;
        (said == state || state != "ready" && said.contains(state)).then_some(())
    })
    .await;
}

/// Code of the error of a question about the order `id`.
async fn error_code(gateway: &Gateway, id: &str) -> Option<String> {
    let query = format!("{{ order(id: \"{id}\") {{ id }} }}");
    let (status, answer) = gateway.post(json!({ "query": query }).to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["errors"][0]["extensions"]["code"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_is_away_is_waited_for_at_the_start_and_later() {
    if !postgres::is_available() {
        return;
    }
    let Some(parts) = harness::real_parts().await else { return };
    let server = Postgres::start().await.unwrap();
    let mut installation = Installation::new(parts, "store-away").await;
    installation.use_store(server.create_database().await);
    installation.set("store.busy_timeout_ms=1000".to_owned());
    server.kill9();
    let mut projector = installation.start(&["projector"]);
    let mut gateway = installation.start(&["gateway"]);
    for (role, part) in [(&mut projector, "projector"), (&mut gateway, "gateway")] {
        role.line("the order store is away").await;
        ready_says(role, part, "waits for the order store").await;
    }

    server.restart().await.unwrap();
    ready_says(&mut projector, "projector", "ready").await;
    let client = installation.gateway(&mut gateway).await;
    let first = client.accepted(order("store-away-1")).await;
    client.order_once(&first, "PENDING").await;

    server.kill9();
    assert_eq!(error_code(&client, &first).await.as_deref(), Some("STORE_UNAVAILABLE"));
    ready_says(&mut gateway, "store", "does not answer").await;
    // Stored on Kafka meanwhile, and so in the store later.
    place(&installation, 1).await;
    projector.line("order store failed, trying again").await;
    assert!(gateway.is_running() && projector.is_running());

    server.restart().await.unwrap();
    ready_says(&mut gateway, "store", "ready").await;
    has_read_all::<OrderEvent>(&installation, &open(installation.store_url()).await).await;
    client.order_once(&first, "PENDING").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_refuses_an_older_schema_until_it_is_migrated() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "store-schema").await;
    installation.set("store.auto_migrate=false".to_owned());
    let refused = process::run(&installation.arguments(&["projector"])).await;
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("comanda store migrate"), "{refused:#?}");

    for told in ["from version 0 to 5", "has version 5 already"] {
        let migrated = process::run(&installation.arguments(&["store", "migrate"])).await;
        assert!(migrated.status.success() && migrated.stdout.contains(told), "{migrated:#?}");
    }
    let mut projector = installation.start(&["projector"]);
    ready_says(&mut projector, "projector", "ready").await;
}

/// From a SQLite file into a PostgreSQL, while the file is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_store_has_what_the_one_in_use_has_and_a_projector_goes_on_with_it() {
    let Some(server) = postgres::shared().await else { return };
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "store-rebuild").await;
    let mut projector = installation.start(&["projector"]);
    place(&installation, 500).await;
    let old = open(installation.store_url()).await;
    has_read_all::<OrderEvent>(&installation, &old).await;

    let into = server.create_database().await;
    let rebuild = async |into: &str| {
        process::run(&installation.arguments(&["store", "rebuild", "--into", into])).await
    };
    let rebuilt = rebuild(&into).await;
    assert!(rebuilt.status.success(), "{rebuilt:#?}");
    assert!(rebuilt.stdout.contains("500 records in"), "{rebuilt:#?}");
    let new = open(&into).await;
    has_same_orders(&installation, &old, &new).await;
    let again = rebuild(&into).await;
    assert!(!again.status.success() && again.stderr.contains("has records already"), "{again:#?}");

    // The projectors had their partitions all the while.
    place(&installation, 10).await;
    has_read_all::<OrderEvent>(&installation, &old).await;
    projector.terminate();
    projector.exit_within(LIMIT).await;
    installation.use_store(into);
    let _projector = installation.start(&["projector"]);
    has_read_all::<OrderEvent>(&installation, &new).await;
    has_same_orders(&installation, &old, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_have_lost_records_are_not_rebuilt_from_unasked() {
    let Some(parts) = harness::real_parts().await else { return };
    let installation = Installation::new(parts, "store-partial").await;
    place(&installation, 100).await;
    parts.kafka.delete_records(&installation.names.name(Topic::Orders), 0, 1).await.unwrap();
    let into = sqlite_url("partial");
    let mut command = installation.arguments(&["store", "rebuild", "--into", &into]);
    let refused = process::run(&command).await;
    assert!(!refused.status.success() && refused.stderr.contains("--partial"), "{refused:#?}");
    command.push("--partial");
    let partial = process::run(&command).await;
    assert!(partial.status.success() && partial.stdout.contains("99 records"), "{partial:#?}");
}

async fn has_same_orders(installation: &Installation, old: &Store, new: &Store) {
    let events = installation.events::<OrderEvent>().await;
    assert!(events.len() >= 500);
    for event in events {
        let id = event.order_id();
        let order = new.order(id).await.unwrap();
        assert!(order.is_some());
        assert_eq!(order, old.order(id).await.unwrap(), "{id}");
    }
}
