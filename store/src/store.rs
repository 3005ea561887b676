//! Opening the store.

use std::time::Duration;

use serde::Deserialize;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::Error;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Settings of the order store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `sqlite://` and the path of the database file, which is created where it is missing.
    pub url: String,
    /// Connections for reading, at least 1; writing has one of its own.
    pub max_connections: u32,
    /// How long to wait for another process that writes, and for a free connection, in
    /// milliseconds.
    pub busy_timeout_ms: u64,
}

/// The order store; clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    /// One connection: SQLite takes one writer at a time, and a queue is fairer than its lock.
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
}

impl Store {
    /// Opens the database and brings its tables to this build's form. Several processes may open
    /// the same file, also at the same time.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let patience = Duration::from_millis(options.busy_timeout_ms);
        let connect = parse(&options.url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A power cut may take the last batches with it, positions included: they are read
            // from Kafka again.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(patience);
        let pool = |connections| {
            SqlitePoolOptions::new().max_connections(connections).acquire_timeout(patience)
        };
        let writer = pool(1).connect_with(connect.clone()).await.map_err(Error::Open)?;
        migrate(&writer).await?;
        let readers = pool(options.max_connections.max(1))
            .connect_with(connect)
            .await
            .map_err(Error::Open)?;
        Ok(Self { writer, readers })
    }
}

fn parse(url: &str) -> Result<SqliteConnectOptions, Error> {
    let path = url.strip_prefix("sqlite://").ok_or(Error::Url(None))?;
    // Each connection to a database in memory would see one of its own.
    if path.is_empty() || path.contains(":memory:") || path.contains("mode=memory") {
        return Err(Error::Url(None));
    }
    url.parse().map_err(|source| Error::Url(Some(source)))
}

/// Within one transaction, as other processes may be at it too.
async fn migrate(writer: &SqlitePool) -> Result<(), Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(Error::Open)?;
    // `Migrator::run` on a connection gives a future that the compiler can't prove to be `Send`.
    let all = None;
    MIGRATIONS.run_direct(all, &mut *transaction, false).await.map_err(Error::Migrate)?;
    transaction.commit().await.map_err(Error::Open)
}
