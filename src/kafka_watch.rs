//! Whether Kafka is there, has every topic and a leader for each partition, and whether the topics are
//! still those that they were.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use comanda_schemas::{ClientLog, KafkaOptions, TopicId, diagnosis, hear, topic_ids};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::Metadata;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::readiness::Readiness;

/// How often Kafka is asked whether it is there, and for how long.
const LOOK: Duration = Duration::from_secs(2);
/// How often the thread looks whether it is over.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// What the watch has seen of the topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    /// Their ids, as far as the broker tells them.
    pub ids: HashMap<String, TopicId>,
    /// Partitions without a leader, by topic.
    pub leaderless: BTreeMap<String, Vec<i32>>,
    /// How often a topic was deleted and made anew since the start.
    pub made_anew: u64,
}

impl Topics {
    /// An error where a partition of one of `topics` has no leader.
    pub fn have_leaders<'t>(
        &self,
        topics: impl IntoIterator<Item = &'t String>,
    ) -> Result<(), String> {
        let gone = topics.into_iter().find_map(|topic| self.leaderless.get_key_value(topic));
        gone.map_or(Ok(()), |(topic, partitions)| {
            Err(format!("partitions {partitions:?} of topic {topic} have no leader"))
        })
    }

    /// Takes the ids of a later look.
    fn meet(&mut self, ids: HashMap<String, TopicId>) {
        for (topic, id) in ids {
            let before = self.ids.insert(topic.clone(), id);
            if let Some(before) = before.filter(|before| *before != id) {
                error!(topic, %before, now = %id, "the topic was deleted and made anew");
                self.made_anew += 1;
            }
        }
    }
}

/// Asks Kafka again and again whether it is there, on a thread of its own, and lets `/readyz` and
/// the roles know.
pub fn start(
    kafka: KafkaOptions,
    topics: Vec<String>,
    readiness: &Readiness,
    seen: watch::Sender<Topics>,
    shutdown: CancellationToken,
) {
    let state = Arc::new(Mutex::new(Err("has not answered yet".to_owned())));
    let told = state.clone();
    readiness.add("kafka", move || told.lock().unwrap_or_else(|e| e.into_inner()).clone());
    let details = seen.subscribe();
    readiness.tell("kafka", move || json!({ "leaderless": details.borrow().leaderless }));
    tokio::task::spawn_blocking(move || {
        let client: BaseConsumer<ClientLog> =
            match kafka.client_config("health").create_with_context(ClientLog) {
                Ok(client) => client,
                Err(error) => return error!(%error, "no client to watch Kafka with"),
            };
        let mut last = None;
        while !shutdown.is_cancelled() {
            let asked = Instant::now();
            let found = look(&client, &topics, &seen);
            let is_ready = found.is_ok();
            if last.replace(is_ready) != Some(is_ready) {
                match &found {
                    Ok(()) => info!(brokers = kafka.brokers, "Kafka answers"),
                    Err(error) => warn!(brokers = kafka.brokers, error, "Kafka is not ready"),
                }
            }
            *state.lock().unwrap_or_else(|e| e.into_inner()) = found;
            while !shutdown.is_cancelled() && asked.elapsed() < LOOK {
                std::thread::sleep(STOP_LOOK);
            }
        }
    });
}

fn look(
    client: &BaseConsumer<ClientLog>,
    topics: &[String],
    seen: &watch::Sender<Topics>,
) -> Result<(), String> {
    let metadata = client.fetch_metadata(None, LOOK);
    hear(client);
    let metadata = metadata.map_err(|error| match diagnosis::recent_in_words() {
        Some(why) => format!("does not answer: {why}"),
        None => format!("does not answer: {error}"),
    })?;
    let is_there = |name: &&String| metadata.topics().iter().any(|t| t.name() == name.as_str());
    let there: Vec<String> = topics.iter().filter(is_there).cloned().collect();
    let leaderless = leaderless(&metadata, topics);
    // Where it does not tell them now, it does at the next look.
    let ids = topic_ids(client.client(), &there, LOOK).unwrap_or_default();
    seen.send_if_modified(|seen| {
        let before = seen.clone();
        for (topic, partitions) in &leaderless {
            if !before.leaderless.contains_key(topic) {
                warn!(topic, ?partitions, "partitions have no leader");
            }
        }
        seen.leaderless = leaderless;
        seen.meet(ids);
        *seen != before
    });
    match topics.iter().find(|name| !is_there(name)) {
        None => Ok(()),
        Some(name) => {
            Err(format!("there is no topic {name}; `comanda topics apply` creates the topics"))
        }
    }
}

fn leaderless(metadata: &Metadata, topics: &[String]) -> BTreeMap<String, Vec<i32>> {
    let of_ours = metadata.topics().iter().filter(|t| topics.iter().any(|name| name == t.name()));
    let leaderless = of_ours.map(|topic| {
        let gone = topic.partitions().iter().filter(|partition| partition.leader() < 0);
        (topic.name().to_owned(), gone.map(|partition| partition.id()).collect::<Vec<_>>())
    });
    leaderless.filter(|(_, partitions)| !partitions.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_with_another_id_was_made_anew() {
        let id = |digit: &str| digit.repeat(32).parse::<TopicId>().unwrap();
        let mut topics = Topics::default();
        topics.meet(HashMap::from([("a".to_owned(), id("1")), ("b".to_owned(), id("2"))]));
        topics.meet(HashMap::from([("b".to_owned(), id("2"))]));
        assert_eq!(topics.made_anew, 0, "one is away, and no other");
        topics.meet(HashMap::from([("a".to_owned(), id("3"))]));
        assert_eq!((topics.made_anew, topics.ids["a"]), (1, id("3")));
    }

    #[test]
    fn only_topics_that_a_part_reads_matter_to_it() {
        let mut topics = Topics::default();
        topics.leaderless.insert("orders".into(), vec![1, 4]);
        let told = topics.have_leaders(&["payments".to_owned(), "orders".to_owned()]).unwrap_err();
        assert_eq!(told, "partitions [1, 4] of topic orders have no leader");
        assert_eq!(topics.have_leaders(&["payments".to_owned()]), Ok(()));
    }
}
