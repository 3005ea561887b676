//! `comanda topics apply` on topics that somebody else has made.

use comanda_schemas::{Topic, TopicNames};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::harness::{self, process, unique};

#[tokio::test]
async fn topics_that_would_break_a_promise_are_refused_by_name_and_others_told_of() {
    let Some(parts) = harness::real_parts().await else { return };
    let admin: AdminClient<DefaultClientContext> =
        parts.kafka.options().client_config("it-admin").create().unwrap();
    for (key, value, is_refused) in [
        ("cleanup.policy", "compact", true),
        ("message.timestamp.type", "LogAppendTime", true),
        ("retention.ms", "60000", false),
        ("max.message.bytes", "50000", false),
    ] {
        let names = TopicNames {
            prefix: unique("apply"),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
            payment_reports: "payment-reports".into(),
        };
        let orders = names.name(Topic::Orders);
        let made = NewTopic::new(&orders, 6, TopicReplication::Fixed(1)).set(key, value);
        admin.create_topics([&made], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
        let prefix = format!("topics.prefix={}", names.prefix);
        let apply = ["topics", "apply", "--brokers", parts.kafka.brokers(), "--set", &prefix];
        // The second time all are there.
        for _ in 0..2 {
            let applied = process::run(&apply).await;
            let told = if is_refused { &applied.stderr } else { &applied.stdout };
            assert_eq!(applied.status.success(), !is_refused, "{applied:#?}");
            assert!(told.contains(&orders), "{applied:#?}");
            let words = if key == "retention.ms" { "topics.retention_ms" } else { key };
            assert!(applied.stderr.contains(words), "{words}: {applied:#?}");
            assert!(applied.stderr.contains("offsets.retention.minutes") || is_refused);
        }
    }
}
