//! How SQLite is opened.

use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqliteConnection};

use crate::{Error, Options};

/// What the URL of a SQLite store begins with.
pub(crate) const SCHEME: &str = "sqlite://";

/// What the writer keeps of the file in memory, in KiB (negative: that is how SQLite tells them from
/// pages). Ids are spread over the whole of every index, so with SQLite's 2 MiB nearly each row reads
/// pages of the file again.
const WRITER_CACHE: &str = "-65536";

/// Pages of the journal after which they are moved into the file, 4 KiB each. A page that changes
/// often is written once for all of its changes; SQLite's own 1,000 are two batches.
const CHECKPOINT_PAGES: &str = "8000";

/// How long after "busy" a new file is opened again.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How to connect; the file is created where it is missing.
pub(crate) fn parse(options: &Options) -> Result<SqliteConnectOptions, Error> {
    let path = options.url.strip_prefix(SCHEME).ok_or(Error::Url(None))?;
    // Each connection to a database in memory would see one of its own.
    if path.is_empty() || path.contains(":memory:") || path.contains("mode=memory") {
        return Err(Error::Url(None));
    }
    let connect: SqliteConnectOptions =
        options.url.parse().map_err(|source| Error::Url(Some(source)))?;
    Ok(connect
        .create_if_missing(true)
        // A power cut may take the last batches with it, positions included: it takes the
        // projector too, which reads them from Kafka again.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(options.patience()))
}

/// A connection outside the pools, which also gives a new file its journal; it keeps that.
///
/// Where several change the journal at once, SQLite says "busy" to all but one of them without
/// waiting (two that hold a read lock and wait to write would wait forever), so they try again.
pub(crate) async fn connect(
    connect: &SqliteConnectOptions,
    options: &Options,
) -> Result<SqliteConnection, Error> {
    let connect = connect.clone().journal_mode(SqliteJournalMode::Wal);
    let give_up = Instant::now() + options.patience();
    loop {
        match connect.connect().await.map_err(Error::Open) {
            Err(busy) if busy.is_passing() && Instant::now() < give_up => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// The pool of the writer, then those of the readers by key, of orders and of lists; nothing is
/// connected yet.
pub(crate) fn pools(connect: SqliteConnectOptions, options: &Options) -> [SqlitePool; 4] {
    let pool = |connections| {
        // A connection to a file does not go away by itself; asking it each time costs as much as
        // a small query.
        let pool = SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false);
        pool.acquire_timeout(options.patience())
    };
    // SQLite takes one writer at a time, and a queue is fairer than its lock.
    let writer = connect.clone().pragma("cache_size", WRITER_CACHE);
    let writer = pool(1).connect_lazy_with(writer.pragma("wal_autocheckpoint", CHECKPOINT_PAGES));
    let readers = connect.pragma("query_only", "ON");
    let [keyed, orders, lists] =
        options.readers().map(|count| pool(count).connect_lazy_with(readers.clone()));
    [writer, keyed, orders, lists]
}
