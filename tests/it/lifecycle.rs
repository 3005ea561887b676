//! How a role behaves while what it needs is missing.

use std::time::Duration;

use reqwest::{Client, StatusCode};

use crate::harness::process::Comanda;
use crate::harness::{eventually, free_ports};

#[tokio::test]
async fn a_role_without_kafka_keeps_trying_says_so_and_stops_cleanly() {
    let [nobody] = free_ports().unwrap();
    let brokers = format!("127.0.0.1:{nobody}");
    let mut registry = Comanda::start(&["sandbox", "registry", "--listen", "127.0.0.1:0"]);
    let registry = registry.banner("Registry").await;
    for role in ["gateway", "payment", "notifier", "projector"] {
        let mut role = Comanda::start(&[
            role,
            "--brokers",
            &brokers,
            "--registry",
            &registry,
            "--set",
            "admin.listen=127.0.0.1:0",
            "--set",
            "gateway.listen=127.0.0.1:0",
            "--set",
            "store.url=sqlite://orders.db",
        ]);
        let admin = role.logged("admin port listens", "addr").await;
        let http = Client::builder().no_proxy().build().unwrap();
        let ask = async |path: &str| {
            let answer = http.get(format!("http://{admin}{path}")).send().await.unwrap();
            (answer.status(), answer.text().await.unwrap())
        };
        role.line(&brokers).await;
        assert_eq!(ask("/livez").await.0, StatusCode::OK);
        eventually("/readyz tells why", Duration::from_secs(10), async || {
            let (status, report) = ask("/readyz").await;
            (status == StatusCode::SERVICE_UNAVAILABLE && !report.contains("registry"))
                .then_some(())
        })
        .await;
        assert!(role.is_running());
        role.terminate();
        let ended = role.exit_within(Duration::from_secs(30)).await;
        assert_eq!(ended.code(), Some(0), "{}", role.output());
    }
}
