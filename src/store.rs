//! The order store of the roles: opened as soon as it is there, and watched.

use std::time::Duration;

use anyhow::{Context as _, Result};
use comanda_schemas::{Health, headers, url_without_login};
use comanda_store::{Options, Store};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

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
pub fn watch(store: Store, readiness: &Readiness, shutdown: CancellationToken) {
    let health = Health::default();
    let told = health.clone();
    readiness.add("store", move || told.check());
    tokio::spawn(async move {
        while shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
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
