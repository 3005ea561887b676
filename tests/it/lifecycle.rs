//! How a role behaves while what it needs is missing.

use std::time::Duration;

use reqwest::{Client, StatusCode};

use crate::harness::process::{self, Comanda};
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

#[tokio::test]
async fn a_role_that_fails_is_told_and_started_again_and_the_process_goes_on() {
    let [nobody] = free_ports().unwrap();
    let brokers = format!("127.0.0.1:{nobody}");
    let mut registry = Comanda::start(&["sandbox", "registry", "--listen", "127.0.0.1:0"]);
    let registry = registry.banner("Registry").await;
    let settings = ["--brokers", &brokers, "--registry", &registry];
    // No schema is registered, and the role may not register any.
    let role = ["projector", "--set", "registry.auto_register=false"];
    let rest = ["--set", "admin.listen=127.0.0.1:0", "--set", "store.url=sqlite://orders.db"];
    let mut role = Comanda::start(&[&role[..], &settings, &rest].concat());
    let admin = role.logged("admin port listens", "addr").await;
    let http = Client::builder().no_proxy().build().unwrap();
    let told = async |words: &str| {
        eventually(&format!("/readyz says {words:?}"), Duration::from_secs(60), async || {
            let answer = http.get(format!("http://{admin}/readyz")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            let report: serde_json::Value = answer.json().await.unwrap();
            let reason = report["parts"]["projector"].as_str().unwrap();
            reason.contains(words).then(|| report["since"]["projector"].clone())
        })
        .await
    };
    let since = told("`comanda schemas register`").await;
    assert!(since.is_string(), "{since}");
    let registered = process::run(&["schemas", "register", "--registry", &registry]).await;
    assert!(registered.status.success(), "{registered:?}");
    let later = told("has not caught up").await;
    assert_eq!(later, since, "it was not ready all the time");
    assert!(role.is_running());
    role.terminate();
    let ended = role.exit_within(Duration::from_secs(30)).await;
    assert_eq!(ended.code(), Some(0), "{}", role.output());
}

#[tokio::test]
async fn a_registry_url_that_is_wrong_makes_no_schema_compatible() {
    let mut registry = Comanda::start(&["sandbox", "registry", "--listen", "127.0.0.1:0"]);
    let registry = registry.banner("Registry").await;
    let right = process::run(&["schemas", "check", "--registry", &registry]).await;
    assert!(right.status.success(), "{right:?}");
    let wrong = format!("{registry}/apis/nowhere");
    for command in ["check", "register"] {
        let checked = process::run(&["schemas", command, "--registry", &wrong]).await;
        assert_eq!(checked.status.code(), Some(1), "{checked:?}");
        assert!(checked.stderr.contains("registry.url"), "{checked:?}");
        assert!(!checked.stdout.contains(" compatible"), "{checked:?}");
    }
}
