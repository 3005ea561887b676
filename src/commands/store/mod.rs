//! `comanda store migrate`, `store rebuild`.

mod rebuild;

use anyhow::{Context as _, Result};
use comanda_schemas::url_without_login;
use comanda_store::{Migrated, Store};

use crate::cli::{MigrateArgs, StoreAction};
use crate::config::Loaded;
use crate::output;

/// Runs one of them.
pub async fn run(loaded: Loaded, action: StoreAction) -> Result<()> {
    match action {
        StoreAction::Migrate(args) => migrate(loaded, args).await,
        StoreAction::Rebuild(args) => rebuild::run(loaded, args).await,
    }
}

async fn migrate(loaded: Loaded, args: MigrateArgs) -> Result<()> {
    let options = &loaded.settings.store;
    let url = url_without_login(&options.url);
    let migrated = Store::migrate(options).await.with_context(|| format!("order store {url}"))?;
    let Migrated { from, to, copied } = migrated;
    let mut what = match from == to {
        true => format!("has version {to} already"),
        false => format!("migrated from version {from} to {to}"),
    };
    if copied > 0 {
        what.push_str(&format!(
            "; {copied} events were copied from the tables of the older form, which stay for \
             processes of the last build: `comanda store migrate --drop-old-tables` removes them"
        ));
    }
    if args.drop_old_tables {
        let store = Store::open(options).await.with_context(|| format!("order store {url}"))?;
        store.drop_old_tables().await.with_context(|| format!("order store {url}"))?;
        store.close().await;
        what.push_str("; the tables of the older form are removed");
    }
    output::print(&format!("order store {url}: {what}\n"))
}
