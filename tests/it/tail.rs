//! `comanda tail` shows what stands in the topics.

use serde_json::Value;

use crate::harness::graphql::{Gateway, order};
use crate::harness::process::{Comanda, FREE_PORTS, run};

#[tokio::test]
async fn tail_prints_the_events_of_each_topic_decoded() {
    let mut up = Comanda::start(&[&["up"], &FREE_PORTS[..]].concat());
    let gateway = Gateway::of(&mut up).await;
    let id = gateway.accepted(order("tail-1")).await;
    let other = gateway.accepted(order("tail-2")).await;
    gateway.order_once(&id, "PAID").await;
    let (brokers, registry) = (up.banner("Kafka").await, up.banner("Registry").await);
    for (topic, kind) in
        [("orders", "PLACED"), ("payments", "SUCCEEDED"), ("notifications", "SENT")]
    {
        let arguments = [
            "tail",
            topic,
            "--from",
            "beginning",
            "--order",
            &id,
            "--count",
            "1",
            "--brokers",
            &brokers,
            "--registry",
            &registry,
        ];
        let finished = run(&arguments).await;
        assert!(finished.status.success(), "{finished:#?}");
        let line: Value = serde_json::from_str(finished.stdout.trim()).unwrap();
        assert_eq!(line["topic"], topic);
        assert_eq!(line["key"], id.as_str());
        assert_eq!(line["value"]["order_id"], id.as_str());
        assert_eq!(line["value"]["type"], kind, "{line}");
        assert_eq!(line["headers"]["ce_id"], line["value"]["event_id"]);
        assert_eq!(line.get("error"), None);
        assert!(!line.to_string().contains(&other));
    }
}
