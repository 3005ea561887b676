//! `comanda bench` in small: that it measures what it says, and leaves nothing behind.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::Value;

use crate::harness::process::{self, Comanda};
use crate::harness::{self, RealParts, eventually};

/// A bench of the gateway that takes seconds, on topics below `prefix`.
fn arguments(parts: &RealParts, prefix: &str, more: &[&str]) -> Vec<String> {
    let arguments = ["bench", "gateway", "--json", "--seconds", "1", "--connections", "8"];
    let settings = [
        format!("kafka.brokers={}", parts.kafka.brokers()),
        format!("registry.url={}", parts.registry.url()),
        format!("topics.prefix={prefix}"),
    ];
    let settings = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
    arguments.iter().chain(more).map(|text| (*text).to_owned()).chain(settings).collect()
}

fn texts(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// Topics of the broker whose names begin with `prefix`.
async fn topics(parts: &RealParts, prefix: &str) -> Vec<String> {
    let options = parts.kafka.options();
    let read = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = options.client_config("it-topics").create().unwrap();
        let metadata = client.fetch_metadata(None, Duration::from_secs(30)).unwrap();
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect::<Vec<_>>()
    });
    read.await.unwrap().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

#[tokio::test]
async fn the_gateway_is_measured_in_every_case_and_no_topic_is_left() {
    let Some(parts) = harness::real_parts().await else { return };
    let _alone = harness::heavy().await;
    let prefix = harness::unique("bench");
    let small = ["--rounds", "1", "--subscriptions", "20"];
    let finished = process::run(&texts(&arguments(parts, &prefix, &small))).await;
    assert!(finished.status.success(), "{finished:#?}");

    let report = finished.json();
    let positive = |value: &Value| value.as_f64().is_some_and(|number| number > 0.0);
    for ratio in ["gateway_vs_raw", "gateway_vs_no_publish", "no_key_vs_key", "batch_vs_single"] {
        assert!(positive(&report["ratios"][ratio]), "{ratio}: {report:#}");
    }
    assert!(report["ratios"]["added_median_ms"].is_number(), "{report:#}");
    let gateways =
        ["gateway", "gateway_no_key", "gateway_no_publish", "gateway_batch", "gateway_paced"];
    for case in gateways.into_iter().chain(["raw", "raw_paced"]) {
        for figure in ["orders_per_second", "cpu_us_per_order", "peak_rss_bytes"] {
            assert!(positive(&report[figure][case]), "{figure} of {case}: {report:#}");
        }
        for part in ["median", "p99", "p999"] {
            assert!(positive(&report["latency_ms"][case][part]), "{part} of {case}: {report:#}");
        }
        let load = &report["load_cpu_us_per_order"][case];
        assert_eq!(load.is_number(), gateways.contains(&case), "{case}: {report:#}");
    }
    assert!(positive(&report["memory"]["idle_gateway_rss_bytes"]), "{report:#}");
    assert!(report["memory"]["bytes_per_idle_subscription"].is_number(), "{report:#}");
    assert_eq!(report["memory"]["idle_subscriptions"], 20);
    for case in gateways {
        assert!(finished.stdout.contains(&format!("\n{case} ")), "{}", finished.stdout);
    }

    let gone = async || topics(parts, &prefix).await.is_empty().then_some(());
    eventually("the topics are gone", Duration::from_secs(30), gone).await;
}

#[tokio::test]
async fn an_interrupted_bench_leaves_no_topic() {
    let Some(parts) = harness::real_parts().await else { return };
    let _alone = harness::heavy().await;
    let prefix = harness::unique("bench");
    let long = ["--rounds", "100", "--only", "gateway"];
    let mut bench = Comanda::start(&texts(&arguments(parts, &prefix, &long)));
    let there = async || {
        let topics = topics(parts, &prefix).await;
        topics.iter().any(|name| name.contains("-gateway.")).then_some(())
    };
    eventually("the topics of a gateway", Duration::from_secs(60), there).await;
    bench.terminate();
    let ended = bench.exit_within(Duration::from_secs(60)).await;
    assert_eq!(ended.code(), Some(1), "{}", bench.output());
    assert!(bench.output().contains("interrupted"), "{}", bench.output());
    let gone = async || topics(parts, &prefix).await.is_empty().then_some(());
    eventually("the topics are gone", Duration::from_secs(30), gone).await;
}
