//! `comanda store migrate`, `store rebuild`.

mod rebuild;

use anyhow::{Context as _, Result};
use comanda_schemas::url_without_login;
use comanda_store::{Migrated, Store};

use crate::cli::StoreAction;
use crate::config::Loaded;
use crate::output;

/// Runs one of them.
pub async fn run(loaded: Loaded, action: StoreAction) -> Result<()> {
    match action {
        StoreAction::Migrate => migrate(loaded).await,
        StoreAction::Rebuild(args) => rebuild::run(loaded, args).await,
    }
}

async fn migrate(loaded: Loaded) -> Result<()> {
    let options = &loaded.settings.store;
    let url = url_without_login(&options.url);
    let migrated = Store::migrate(options).await.with_context(|| format!("order store {url}"))?;
    let Migrated { from, to } = migrated;
    let what = match from == to {
        true => format!("has version {to} already"),
        false => format!("migrated from version {from} to {to}"),
    };
    output::print(&format!("order store {url}: {what}\n"))
}
