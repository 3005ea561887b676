//! Creating topics and verifying those that are there.

mod findings;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_processors::engine::MAX_MESSAGE_BYTES;
use comanda_schemas::{ClientLog, KafkaOptions, Topic, hear};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{MetadataBroker, MetadataTopic};

use crate::config::Topics;
use findings::{Findings, Found};

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

/// The topics as they are now.
#[derive(Debug)]
pub struct Outcome {
    /// What became of each, in the pipeline's order.
    pub topics: Vec<(String, Applied)>,
    /// What an operator should know of them.
    pub remarks: Vec<String>,
}

/// Creates every topic of `topics` that is missing, and verifies all of them.
///
/// An error are topics that break a promise: those with another number of partitions (changing the
/// number would move keys to other partitions, and with that break the order of their events), and
/// those with settings as [`findings`] tells.
pub async fn apply(kafka: &KafkaOptions, topics: &Topics) -> Result<Outcome> {
    let admin: AdminClient<ClientLog> = kafka
        .client_config("admin")
        .create_with_context(ClientLog)
        .context("creating the admin client")?;
    let Cluster { topics: present, .. } = cluster(kafka.clone()).await?;
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
            .set("message.timestamp.type", "CreateTime")
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
    for (name, found) in &present {
        let count = found.partitions;
        if names.contains(name) && count != topics.partitions as usize {
            bail!(
                "topic {name} has {count} partitions, topics.partitions says {}; set it to {count}, \
                 or choose another topics.prefix",
                topics.partitions
            );
        }
    }
    let remarks = verify(&admin, kafka, topics, &names, &options).await?;
    let applied = names.into_iter().map(|name| {
        let applied = if created.contains(&name) { Applied::Created } else { Applied::Present };
        (name, applied)
    });
    Ok(Outcome { topics: applied.collect(), remarks })
}

/// What is to be said of the topics; an error where they break a promise.
async fn verify(
    admin: &AdminClient<ClientLog>,
    kafka: &KafkaOptions,
    topics: &Topics,
    names: &[String],
    options: &AdminOptions,
) -> Result<Vec<String>> {
    // Once more: those that were created have replicas now.
    let cluster = cluster(kafka.clone()).await?;
    let asked = names.iter().map(|name| ResourceSpecifier::Topic(name));
    let asked = asked.chain(cluster.broker.map(ResourceSpecifier::Broker));
    let asked: Vec<ResourceSpecifier<'_>> = asked.collect();
    let answers = admin.describe_configs(&asked, options).await.context("asking for settings")?;
    let (mut findings, mut offsets_retention) = (Findings::default(), None);
    for (resource, answer) in asked.iter().zip(answers) {
        let entries = match answer {
            Ok(found) => found.entries,
            Err(code) => {
                findings.unknown(resource, code);
                continue;
            }
        };
        let get = |key: &str| entries.iter().find(|e| e.name == key).and_then(|e| e.value.clone());
        match resource {
            ResourceSpecifier::Topic(name) => {
                let is_orders = *name == topics.names().name(Topic::Orders);
                let replicas = cluster.topics.get(*name).map_or(0, |found| found.replicas);
                findings.look_at(&Found { name, is_orders, replicas, get: &get }, topics);
            }
            ResourceSpecifier::Broker(_) => offsets_retention = get("offsets.retention.minutes"),
            ResourceSpecifier::Group(_) => {}
        }
    }
    findings.compare_offsets_retention(offsets_retention.as_deref(), topics);
    if !findings.problems.is_empty() {
        bail!("the topics can't be used as they are:\n  {}", findings.problems.join("\n  "));
    }
    Ok(findings.remarks)
}

/// What the cluster has.
struct Cluster {
    topics: BTreeMap<String, Shape>,
    /// One of its brokers.
    broker: Option<i32>,
}

/// The form of a topic.
struct Shape {
    partitions: usize,
    /// Replicas of its partition with the fewest.
    replicas: usize,
}

async fn cluster(kafka: KafkaOptions) -> Result<Cluster> {
    let brokers = kafka.brokers.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let config = kafka.client_config("admin");
        let client: BaseConsumer<ClientLog> = config.create_with_context(ClientLog)?;
        let metadata = client.fetch_metadata(None, ASK);
        hear(&client);
        metadata
    });
    let metadata = asked.await?.with_context(|| {
        format!("Kafka at {brokers} does not answer; is it running, and is --brokers right?")
    })?;
    let shape = |topic: &MetadataTopic| {
        let replicas = topic.partitions().iter().map(|p| p.replicas().len()).min();
        let shape = Shape { partitions: topic.partitions().len(), replicas: replicas.unwrap_or(0) };
        (topic.name().to_owned(), shape)
    };
    Ok(Cluster {
        topics: metadata.topics().iter().map(shape).collect(),
        broker: metadata.brokers().first().map(MetadataBroker::id),
    })
}
