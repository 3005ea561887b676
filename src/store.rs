//! The order store of the roles: opened as soon as it is there, and watched.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use comanda_schemas::{Health, TopicId, headers, url_without_login};
use comanda_store::{Options, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::kafka_watch::Topics;
use crate::readiness::Readiness;

/// Wait between two tries to open the store, and between two looks at whether it answers.
const PAUSE: Duration = Duration::from_secs(2);

/// Opens the store for `part`, as soon as the database answers; `None` when the shutdown came
/// first. A mistake in the settings, or a schema that this build can't use, is an error at once.
pub async fn open(
    options: &Options,
    part: &'static str,
    shutdown: &CancellationToken,
) -> Result<Option<Store>> {
    let url = url_without_login(&options.url);
    loop {
        match Store::open(options).await {
            Ok(store) => {
                info!(url, "order store opened");
                return Ok(Some(store));
            }
            Err(error) if error.is_passing() => {
                let error = headers::error_chain(&error);
                warn!(part, url, error, "the order store is away, trying again");
            }
            Err(error) => {
                return Err(error).with_context(|| format!("opening the order store {url}"));
            }
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return Ok(None);
        }
    }
}

/// Asks the store again and again whether it is there, until `shutdown`, and lets `/readyz` know.
///
/// It is not ready, either, where it was written from another topic than is there now: then it shows
/// what is not in the topics, and its offsets say nothing of them.
pub fn watch(
    store: Store,
    topics: watch::Receiver<Topics>,
    readiness: &Readiness,
    shutdown: CancellationToken,
) {
    let health = Health::default();
    let told = health.clone();
    readiness.add("store", move || told.check());
    tokio::spawn(async move {
        while shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
            match store.topic_ids().await {
                Ok(known) => compare(&health, &known, &topics.borrow().ids),
                Err(error) => debug!(%error, "the order store does not tell its topics"),
            }
            match store.positions().await {
                Ok(_) if health.recovery("reading") => info!("the order store answers again"),
                Ok(_) => {}
                Err(error) => {
                    let error = headers::error_chain(&error);
                    if health.trouble("reading", format!("does not answer: {error}")) {
                        warn!(error, "the order store does not answer");
                    }
                }
            }
        }
    });
}

/// Notes which topics are others than the store was written from.
fn compare(health: &Health, known: &HashMap<String, TopicId>, now: &HashMap<String, TopicId>) {
    for (topic, id) in now {
        let what = format!("topic {topic}");
        if known.get(topic).is_none_or(|known| known == id) {
            health.recovery(&what);
            continue;
        }
        health.trouble(
            &what,
            format!(
                "was deleted and made anew since the store was written from it; `comanda store \
                 reread {topic}` has the new one read in addition, `comanda store rebuild` makes a \
                 store of the topics alone"
            ),
        );
    }
}
