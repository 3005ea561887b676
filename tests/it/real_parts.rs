//! The real broker and registry do what the other tests take for granted.

use std::time::Duration;

use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{Topic, TopicNames};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{Message as _, util::Timeout};

use crate::harness;

#[tokio::test]
async fn the_broker_shows_committed_records_and_hides_aborted_ones() {
    let Some(parts) = harness::real_parts().await else { return };
    let prefix = harness::unique("self-test");
    let topic = format!("{prefix}records");
    parts.kafka.create_topics(&[&topic], 1).await.unwrap();
    let options = parts.kafka.options();
    let values = tokio::task::spawn_blocking(move || {
        let mut config = options.client_config("it-producer");
        config.set("transactional.id", format!("{prefix}producer"));
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
        producer.init_transactions(Timeout::Never).unwrap();
        for (value, commit) in [("kept", true), ("dropped", false), ("kept too", true)] {
            producer.begin_transaction().unwrap();
            producer.send(BaseRecord::to(&topic).key("k").payload(value)).unwrap();
            if commit {
                producer.commit_transaction(Timeout::Never).unwrap();
            } else {
                producer.flush(Timeout::Never).unwrap();
                producer.abort_transaction(Timeout::Never).unwrap();
            }
        }
        let mut scan = Scan::open(&options, &topic, From::Beginning).unwrap();
        let mut values = Vec::new();
        loop {
            match scan.next(Duration::from_secs(20)).unwrap() {
                Step::Record(record) => {
                    values.push(String::from_utf8(record.payload().unwrap().to_vec()).unwrap());
                }
                Step::End => break values,
                Step::Idle => panic!("the broker does not answer"),
            }
        }
    });
    assert_eq!(values.await.unwrap(), ["kept", "kept too"]);
}

#[tokio::test]
async fn the_registry_takes_the_bundled_schemas_and_gives_them_back_by_id() {
    let Some(parts) = harness::real_parts().await else { return };
    let names = TopicNames {
        prefix: harness::unique("self-test"),
        orders: "orders".into(),
        payments: "payments".into(),
        notifications: "notifications".into(),
        payment_reports: "payment-reports".into(),
    };
    let registry = parts.registry.client();
    for topic in Topic::ALL {
        let subject = names.subject(topic);
        let id = registry.resolve(&names, topic).await.unwrap();
        assert_eq!(registry.register(&subject, topic).await.unwrap(), id, "{subject}");
        assert_eq!(registry.lookup(&subject, topic).await.unwrap(), id, "{subject}");
        let url = format!("{}/schemas/ids/{id}", parts.registry.url());
        let answer: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let schema: serde_json::Value =
            serde_json::from_str(answer["schema"].as_str().unwrap()).unwrap();
        let bundled: serde_json::Value = serde_json::from_str(topic.schema_json()).unwrap();
        assert_eq!(schema, bundled, "{subject}");
    }
}
