//! Creating topics and verifying those that are there.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_processors::engine::MAX_MESSAGE_BYTES;
use comanda_schemas::{ClientLog, KafkaOptions, Topic};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use crate::config::Topics;

/// Limit of one request to the broker.
const ASK: Duration = Duration::from_secs(15);

/// What became of a topic.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was created.
    Created,
    /// It was there.
    Present,
}

/// Creates every topic of `topics` that is missing; what became of each, in the pipeline's order.
///
/// A topic that is there with another number of partitions is an error: changing the number would
/// move keys to other partitions, and with that break the order of their events.
pub async fn apply(kafka: &KafkaOptions, topics: &Topics) -> Result<Vec<(String, Applied)>> {
    let admin: AdminClient<ClientLog> = kafka
        .client_config("admin")
        .create_with_context(ClientLog)
        .context("creating the admin client")?;
    let present = partitions(kafka.clone()).await?;
    let names = topics.names().all();
    let retention = topics.retention_ms.to_string();
    let (orders, largest) = (topics.names().name(Topic::Orders), MAX_MESSAGE_BYTES.to_string());
    let missing: Vec<NewTopic<'_>> = names
        .iter()
        .filter(|name| !present.contains_key(*name))
        .map(|name| {
            let topic = NewTopic::new(
                name,
                topics.partitions,
                TopicReplication::Fixed(topics.replication_factor),
            )
            .set("cleanup.policy", "delete")
            .set("retention.ms", &retention);
            // What is made of a record is larger than the record.
            if *name == orders { topic } else { topic.set("max.message.bytes", &largest) }
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let mut created = Vec::new();
    if !missing.is_empty() {
        let results = admin.create_topics(&missing, &options).await.context("creating topics")?;
        for result in results {
            match result {
                // Another process may have been quicker.
                Ok(name) | Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => created.push(name),
                Err((name, code)) => bail!("topic {name} was not created: {code}"),
            }
        }
    }
    for (name, count) in &present {
        if names.contains(name) && *count != topics.partitions as usize {
            bail!(
                "topic {name} has {count} partitions, topics.partitions says {}; set it to {count}, \
                 or choose another topics.prefix",
                topics.partitions
            );
        }
    }
    let applied = names.into_iter().map(|name| {
        let applied = if created.contains(&name) { Applied::Created } else { Applied::Present };
        (name, applied)
    });
    Ok(applied.collect())
}

/// Topics of the cluster with their numbers of partitions.
async fn partitions(kafka: KafkaOptions) -> Result<BTreeMap<String, usize>> {
    let brokers = kafka.brokers.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let config = kafka.client_config("admin");
        let client: AdminClient<ClientLog> = config.create_with_context(ClientLog)?;
        client.inner().fetch_metadata(None, ASK)
    });
    let metadata = asked.await?.with_context(|| {
        format!("Kafka at {brokers} does not answer; is it running, and is --brokers right?")
    })?;
    let topics = metadata.topics().iter();
    Ok(topics.map(|t| (t.name().to_owned(), t.partitions().len())).collect())
}
