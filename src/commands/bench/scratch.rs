//! The topics of a run: made for one case, gone after it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_schemas::{ClientLog, KafkaOptions, Stage, Topic, TopicNames};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::{Settings, Topics};
use crate::signals;

/// Limit of one request to the broker.
const ASK: Duration = Duration::from_secs(15);

/// Does `work` until it is done or a signal comes, and deletes what is left of its topics: what came
/// of the work, and of that. The token stops whoever `work` leaves behind.
pub async fn with<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Scratch, CancellationToken) -> Result<T>,
) -> Result<(Result<T>, Result<()>)> {
    let shutdown = signals::shutdown_token()?;
    let scratch = Scratch::open(&settings.kafka, &settings.topics)?;
    let stop = shutdown.child_token();
    let done = tokio::select! {
        done = work(&scratch, stop.clone()) => done,
        () = shutdown.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    // Whoever still writes into the topics has to stop first.
    stop.cancel();
    note!("deleting the topics …");
    let deleted = scratch.delete().await;
    Ok((done, deleted))
}

/// Makes topics under names of their own, and remembers which.
pub struct Scratch {
    admin: Arc<AdminClient<ClientLog>>,
    brokers: String,
    topics: Topics,
    run: String,
    made: Mutex<Vec<TopicNames>>,
}

impl Scratch {
    /// For one run; nothing is made yet.
    fn open(kafka: &KafkaOptions, topics: &Topics) -> Result<Self> {
        let admin: AdminClient<ClientLog> = kafka
            .client_config("bench-admin")
            .create_with_context(ClientLog)
            .context("creating the admin client")?;
        let run = uuid::Uuid::new_v4().simple().to_string();
        let (brokers, topics) = (kafka.brokers.clone(), topics.clone());
        let admin = Arc::new(admin);
        Ok(Self { admin, brokers, topics, run: run[..8].to_owned(), made: Mutex::default() })
    }

    /// New topics for one case.
    pub async fn make(&self, case: &str) -> Result<TopicNames> {
        let mut made = self.made.lock().await;
        let prefix = format!("{}bench-{}-{}-{case}.", self.topics.prefix, self.run, made.len());
        let names = TopicNames { prefix, ..self.topics.names() };
        made.push(names.clone());
        let all = all(&names);
        let Topics { partitions, replication_factor, .. } = self.topics;
        let new = all.iter().map(|name| {
            NewTopic::new(name, partitions, TopicReplication::Fixed(replication_factor))
        });
        let results = self
            .admin
            .create_topics(&new.collect::<Vec<_>>(), &options())
            .await
            .with_context(|| format!("Kafka at {} does not answer", self.brokers))?;
        for result in results {
            if let Err((name, code)) = result {
                bail!("topic {name} was not created: {code}");
            }
        }
        Ok(names)
    }

    /// How many records the orders topic of a case has ever got.
    pub async fn stored(&self, names: &TopicNames) -> Result<u64> {
        let (admin, topic) = (self.admin.clone(), names.name(Topic::Orders));
        let partitions = self.topics.partitions;
        let count = move || {
            let ends = (0..partitions).map(|partition| {
                let (_, end) = admin.inner().fetch_watermarks(&topic, partition, ASK)?;
                anyhow::Ok(end.unsigned_abs())
            });
            ends.sum::<Result<u64>>()
        };
        tokio::task::spawn_blocking(count).await?.context("counting the records")
    }

    /// Deletes whatever is left of all cases: topics and groups.
    pub async fn delete(&self) -> Result<()> {
        let mut made = self.made.lock().await;
        let topics: Vec<String> = made.iter().flat_map(all).collect();
        if topics.is_empty() {
            return Ok(());
        }
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let results = self.admin.delete_topics(&topics, &options()).await;
        for result in results.context("deleting topics")? {
            if let Err((name, code)) = result {
                bail!("topic {name} was not deleted: {code}");
            }
        }
        let groups: Vec<String> = made.iter().map(|names| names.group(Stage::Payment)).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        // A case that ran without Kafka has none, and that of a killed process lives a while on.
        let _ = self.admin.delete_groups(&groups, &options()).await;
        made.clear();
        Ok(())
    }
}

fn all(names: &TopicNames) -> Vec<String> {
    let dead_letters = names.dead_letters(Stage::Payment);
    Topic::ALL.into_iter().map(|topic| names.name(topic)).chain([dead_letters]).collect()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK))
}
