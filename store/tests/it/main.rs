//! Tests of the store through its public face, each on real SQLite files and on a real PostgreSQL.

mod apply;
mod fold;
mod harness;
mod history;
mod listing;
mod measure;
mod migration;
mod model;
mod opening;
mod outages;
mod plans;
mod samples;
mod sessions;
mod stuck;
mod topics;
mod writers;

use comanda_store::{Options, Store};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use harness::postgres::Postgres;

/// A new store.
pub struct TestStore {
    /// The store.
    pub store: Store,
    /// How it was opened.
    pub options: Options,
    /// Goes with it.
    _folder: Option<TempDir>,
}

impl TestStore {
    /// One of each database; without PostgreSQL where that can't be had.
    pub async fn each() -> Vec<Self> {
        let mut stores = vec![Self::sqlite().await];
        if let Some(server) = harness::postgres::shared().await {
            stores.push(Self::postgres(server).await);
        }
        stores
    }

    /// A new SQLite file.
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::open(sqlite_url(&folder), Some(folder)).await
    }

    /// A new database of a PostgreSQL.
    pub async fn postgres(server: &Postgres) -> Self {
        Self::open(server.create_database().await, None).await
    }

    async fn open(url: String, folder: Option<TempDir>) -> Self {
        let options = options(url);
        let store = Store::open(&options).await.unwrap();
        Self { store, options, _folder: folder }
    }

    /// Runs SQL that both databases understand, beside the store.
    pub async fn execute(&self, sql: &str) {
        execute(&self.options.url, sql).await;
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- on {}", self.options.url);
        }
    }
}

/// URL of a file in `folder`.
pub fn sqlite_url(folder: &TempDir) -> String {
    format!("sqlite://{}", folder.path().join("orders.db").display())
}

/// Options for a store at `url`, patient enough for a busy machine.
pub fn options(url: String) -> Options {
    Options {
        url,
        max_connections: 2,
        keyed_connections: 2,
        busy_timeout_ms: 30_000,
        statement_timeout_ms: 30_000,
        auto_migrate: true,
    }
}

/// Runs SQL in the database at `url`.
pub async fn execute(url: &str, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
}

/// Runs an async body within a property's case.
pub fn block_on<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body)
}
