//! Whether Kafka is there, and has every topic.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use comanda_schemas::{ClientLog, KafkaOptions, diagnosis, hear};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::readiness::Readiness;

/// How often Kafka is asked whether it is there, and for how long.
const LOOK: Duration = Duration::from_secs(2);
/// How often the thread looks whether it is over.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// Asks Kafka again and again whether it is there, on a thread of its own, and lets `/readyz`
/// know.
pub fn start(
    kafka: KafkaOptions,
    topics: Vec<String>,
    readiness: &Readiness,
    shutdown: CancellationToken,
) {
    let state = Arc::new(Mutex::new(Err("has not answered yet".to_owned())));
    let told = state.clone();
    readiness.add("kafka", move || told.lock().unwrap_or_else(|e| e.into_inner()).clone());
    tokio::task::spawn_blocking(move || {
        let client: BaseConsumer<ClientLog> =
            match kafka.client_config("health").create_with_context(ClientLog) {
                Ok(client) => client,
                Err(error) => return error!(%error, "no client to watch Kafka with"),
            };
        let mut last = None;
        while !shutdown.is_cancelled() {
            let asked = Instant::now();
            let found = look(&client, &topics);
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

fn look(client: &BaseConsumer<ClientLog>, topics: &[String]) -> Result<(), String> {
    let metadata = client.fetch_metadata(None, LOOK);
    hear(client);
    let metadata = metadata.map_err(|error| match diagnosis::recent_in_words() {
        Some(why) => format!("does not answer: {why}"),
        None => format!("does not answer: {error}"),
    })?;
    let is_there = |name: &&String| metadata.topics().iter().any(|t| t.name() == name.as_str());
    match topics.iter().find(|name| !is_there(name)) {
        None => Ok(()),
        Some(name) => {
            Err(format!("there is no topic {name}; `comanda topics apply` creates the topics"))
        }
    }
}
