//! `comanda store migrate`, `store rebuild`, `store reread`.

mod rebuild;

use anyhow::{Context as _, Result, ensure};
use comanda_schemas::{Topic, url_without_login};
use comanda_store::{Migrated, Store};

use crate::cli::{MigrateArgs, StoreAction};
use crate::config::Loaded;
use crate::output;

/// Runs one of them.
pub async fn run(loaded: Loaded, action: StoreAction) -> Result<()> {
    match action {
        StoreAction::Migrate(args) => migrate(loaded, args).await,
        StoreAction::Rebuild(args) => rebuild::run(loaded, args).await,
        StoreAction::Reread(args) => reread(loaded, &args.topic).await,
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

async fn reread(loaded: Loaded, topic: &str) -> Result<()> {
    let names = loaded.settings.topics.names();
    let all = Topic::ALL.map(|topic| names.name(topic));
    ensure!(
        all.iter().any(|name| name == topic),
        "{topic} is no topic that the order store is written from; those are {}",
        all.join(", ")
    );
    let options = &loaded.settings.store;
    let url = url_without_login(&options.url);
    let store = Store::open(options).await.with_context(|| format!("order store {url}"))?;
    store.forget_topic(topic).await.with_context(|| format!("order store {url}"))?;
    store.close().await;
    output::print(&format!(
        "order store {url}: the projector reads topic {topic} from its beginning as soon as it \
         starts its partitions; what the store has stays\n"
    ))
}
