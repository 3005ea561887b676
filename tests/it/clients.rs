//! Clients of others: data teams' libraries read the topics, an audit suite asks the gateway.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::graphql::{Gateway, order};
use crate::harness::process::{self, Comanda, FREE_PORTS};
use crate::harness::tools::{self, Tool};
use crate::harness::{self, RealParts, downloads, run_dir};

const ORDERS: u64 = 150;

/// The topics of a demo of [`ORDERS`] orders on the real broker, each with its number of records.
async fn demo(parts: &RealParts) -> BTreeMap<String, u64> {
    let _alone = harness::heavy().await;
    let prefix = harness::unique("clients");
    let run = process::run(&[
        "demo",
        "--orders",
        &ORDERS.to_string(),
        "--brokers",
        parts.kafka.brokers(),
        "--registry",
        parts.registry.url(),
        "--set",
        &format!("topics.prefix={prefix}"),
    ])
    .await;
    assert!(run.status.success(), "{run:#?}");
    ["orders", "payments", "notifications"].map(|t| (format!("{prefix}{t}"), ORDERS)).into()
}

/// The JSON that a program prints; panics with its complaints where it fails.
async fn json_of(mut command: Command) -> Value {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {complaints}"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(name)
}

/// `python3` with the clients' packages.
async fn python<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let packages = tokio::task::spawn_blocking(downloads::python_clients).await.unwrap().unwrap();
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages).args(arguments);
    python
}

/// `node` with a script. The scripts are copied: imports are looked up from where they lie. Once, since
/// a copy in the making is an empty module to whoever imports it.
async fn node(name: &'static str) -> Command {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    let fill = || {
        let folder = downloads::node_clients().unwrap();
        for entry in std::fs::read_dir(script("")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "mjs") {
                std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
            }
        }
        folder
    };
    let filled = async || tokio::task::spawn_blocking(fill).await.unwrap();
    let folder = FOLDER.get_or_init(filled).await;
    let mut node = Command::new("node");
    node.arg(folder.join(name));
    node
}

#[tokio::test]
async fn confluents_python_client_reads_every_record() {
    if !tools::have(&[Tool::Python]) {
        return;
    }
    let Some(parts) = harness::real_parts().await else { return };
    let mut python = python(&[script("read.py")]).await;
    let written = demo(parts).await;
    python.args([parts.kafka.brokers(), parts.registry.url()]).args(written.keys());
    assert_eq!(json_of(python).await, json!(written));
}

#[tokio::test]
async fn kafkajs_reads_every_record() {
    if !tools::have(&[Tool::Node, Tool::Npm]) {
        return;
    }
    let Some(parts) = harness::real_parts().await else { return };
    let mut node = node("read.mjs").await;
    let written = demo(parts).await;
    node.args([parts.kafka.brokers(), parts.registry.url()]);
    node.args(written.iter().map(|(topic, count)| format!("{topic}={count}")));
    assert_eq!(json_of(node).await, json!(written));
}

/// A client that is told of an order until its mail.
async fn watches_an_order_until_its_mail(name: &'static str) {
    if !tools::have(&[Tool::Node, Tool::Npm]) {
        return;
    }
    let mut node = node(name).await;
    let mut up = Comanda::start(&[&["up"], &FREE_PORTS[..]].concat());
    let gateway = Gateway::of(&mut up).await;
    let mut input = order("watched");
    input["paymentMethod"] = json!("pm_sandbox_slow");
    let id = gateway.accepted(input).await;
    node.args([&gateway.url, &gateway.key, &id]).args(["PAYMENT_SUCCEEDED", "NOTIFICATION_SENT"]);
    let mut updates = json_of(node).await;
    // Of different topics, so either can come first.
    updates.as_array_mut().expect("a list")[1..].sort_by_key(|u| u["type"] == "NOTIFICATION_SENT");
    let update = |kind: &str, status: &str| json!({ "type": kind, "order": { "status": status } });
    let expected = [
        update("ORDER_PLACED", "PENDING"),
        update("PAYMENT_SUCCEEDED", "PAID"),
        update("NOTIFICATION_SENT", "PAID"),
    ];
    assert_eq!(updates, json!(expected));
}

/// Places, reads and watches an order by what `client` makes of a URL, a key and an order.
async fn shops(mut client: Command) {
    let mut up = Comanda::start(&[&["up"], &FREE_PORTS[..]].concat());
    let gateway = Gateway::of(&mut up).await;
    let mut input = order("shopping");
    input["paymentMethod"] = json!("pm_sandbox_slow");
    client.args([&gateway.url, &gateway.key, &input.to_string()]);
    let seen = json_of(client).await;
    assert_eq!(seen, json!({ "placed": "PENDING", "read": "PENDING", "watched": "PAID" }));
}

#[tokio::test]
async fn apollo_client_places_reads_and_watches_an_order() {
    if tools::have(&[Tool::Node, Tool::Npm]) {
        shops(node("apollo.mjs").await).await;
    }
}

#[tokio::test]
async fn urql_places_reads_and_watches_an_order() {
    if tools::have(&[Tool::Node, Tool::Npm]) {
        shops(node("urql.mjs").await).await;
    }
}

#[tokio::test]
async fn gql_places_reads_and_watches_an_order() {
    if tools::have(&[Tool::Python]) {
        shops(python(&[script("shop.py")]).await).await;
    }
}

#[tokio::test]
async fn schemathesis_finds_no_failure_of_the_server() {
    if !tools::have(&[Tool::Python]) {
        return;
    }
    let mut up = Comanda::start(&[&["up"], &FREE_PORTS[..]].concat());
    let gateway = Gateway::of(&mut up).await;
    let run = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())";
    let mut fuzz = python(&["-c", run]).await;
    fuzz.args(["run", &gateway.url, "--header", &format!("Authorization: Bearer {}", gateway.key)]);
    fuzz.args(["--phases", "fuzzing", "--max-examples", "50", "--seed", "1", "--no-color"]);
    fuzz.current_dir(run_dir::folder("schemathesis"));
    let output = tokio::task::spawn_blocking(move || fuzz.output()).await.unwrap().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    // ST206 says that we refuse an argument that fits its type, as what is no receipt's token.
    let found =
        report.lines().filter(|line| line.starts_with("  ❌ ST") && !line.contains("ST206"));
    assert_eq!(found.collect::<Vec<_>>(), [""; 0], "{report}");
    let whole = report.contains("Tested: 7") && report.contains("Test cases:");
    assert!(whole && !report.contains("Errors:"), "{report}");
    assert!(up.is_running() && !up.output().contains("panicked"));
}

#[tokio::test]
async fn graphql_ws_watches_an_order_until_its_mail() {
    watches_an_order_until_its_mail("watch.mjs").await;
}

#[tokio::test]
async fn graphql_sse_watches_an_order_until_its_mail() {
    watches_an_order_until_its_mail("watch-sse.mjs").await;
}

#[tokio::test]
async fn the_gateway_passes_all_graphql_over_http_audits() {
    if !tools::have(&[Tool::Node, Tool::Npm]) {
        return;
    }
    let mut node = node("audit.mjs").await;
    let mut up = Comanda::start(&[&["up"], &FREE_PORTS[..]].concat());
    let gateway = Gateway::of(&mut up).await;
    node.args([&gateway.url, &gateway.key]);
    let audits = json_of(node).await;
    let audits = audits.as_array().expect("a list");
    assert_eq!(audits.len(), 61);
    let missed: Vec<&Value> = audits.iter().filter(|audit| audit["status"] != "ok").collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
