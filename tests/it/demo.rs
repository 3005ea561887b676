//! `comanda demo` and `comanda audit`: nothing lost, nothing doubled, on both kinds of broker.

use serde_json::Value;

use crate::harness::{self, process};

/// Checks the JSON of a demo of `orders` orders that went well.
fn assert_clean(demo: &Value, orders: u64) {
    let count =
        |key: &str| demo[key].as_u64().unwrap_or_else(|| panic!("{key} is not a count in {demo}"));
    assert_eq!(count("orders"), orders, "{demo}");
    assert_eq!(count("accepted"), orders, "{demo}");
    assert_eq!(count("rejected"), 0, "{demo}");
    assert_eq!(count("paid") + count("failed"), orders, "{demo}");
    assert!(count("paid") > count("failed") && count("failed") > 0, "not varied: {demo}");
    assert_eq!(count("mails"), orders, "{demo}");
    assert_eq!(count("lost"), 0, "{demo}");
    assert_eq!(count("duplicated"), 0, "{demo}");
    let number = |key: &str| demo[key].as_f64().unwrap_or_else(|| panic!("no {key} in {demo}"));
    assert!(number("seconds") > 0.0, "{demo}");
    assert!(0.0 < number("p50_ms") && number("p50_ms") <= number("p99_ms"), "{demo}");
}

#[tokio::test]
async fn on_the_sandbox_every_order_has_one_result_and_one_mail() {
    let _alone = harness::heavy().await;
    let demo = process::run(&["demo", "--orders", "500", "--json"]).await;
    assert!(demo.status.success(), "{demo:#?}");
    assert_clean(&demo.json(), 500);
}

#[tokio::test]
async fn on_a_real_kafka_every_order_has_one_result_and_one_mail() {
    let Some(parts) = harness::real_parts().await else { return };
    let _alone = harness::heavy().await;
    let prefix = format!("topics.prefix={}", harness::unique("demo"));
    let on = ["--brokers", parts.kafka.brokers(), "--registry", parts.registry.url()];
    let on = [&on[..], &["--set", &prefix]].concat();
    let demo = [&["demo", "--orders", "500", "--json"], &on[..]].concat();
    // The second run counts only its own orders.
    for _ in 0..2 {
        let demo = process::run(&demo).await;
        assert!(demo.status.success(), "{demo:#?}");
        assert_clean(&demo.json(), 500);
    }
    let audit = process::run(&[&["audit", "--json"], &on[..]].concat()).await;
    assert!(audit.status.success(), "{audit:#?}");
    let report = audit.json();
    for (key, count) in [
        ("order_events", 1000),
        ("results", 1000),
        ("notifications", 1000),
        ("lost", 0),
        ("duplicated", 0),
        ("out_of_order", 0),
        ("unnotified", 0),
        ("dead_letters", 0),
    ] {
        assert_eq!(report[key], count, "{key} in {report}");
    }
}
