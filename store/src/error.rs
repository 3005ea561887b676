//! Why the store could not do what it was asked.

use std::borrow::Cow;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names neither a SQLite file nor a PostgreSQL database.
    #[error(
        "the order store's URL has to name a SQLite file or a PostgreSQL database, e.g. \
         sqlite:///var/lib/orders.db or postgres://comanda@db.example.com/orders"
    )]
    Url(#[source] Option<sqlx::Error>),
    /// A setting is below 1.
    #[error("the order store's max_connections and statement_timeout_ms have to be at least 1")]
    Settings,
    /// The database could not be opened.
    #[error("the order store does not open")]
    Open(#[source] sqlx::Error),
    /// The tables could not be brought to this build's form.
    #[error("the order store's tables could not be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The tables have another form than this build's, and may not or can't be migrated.
    #[error(
        "the order store's schema has version {found}, this build needs {wanted}{}",
        if found < wanted { ": run `comanda store migrate`" } else { ": take a newer build" }
    )]
    Schema {
        /// The version of the tables; 0 where there are none.
        found: i64,
        /// The version that this build needs.
        wanted: i64,
    },
    /// The database failed or is busy; the same call can succeed later.
    #[error("the order store failed to {doing}")]
    Query {
        /// What it was about to do.
        doing: &'static str,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// A stored event is not one this build can read.
    #[error("event {event_id} of the order store does not read")]
    Corrupt {
        /// The event.
        event_id: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The text is not a cursor that a listing gave.
    #[error("not a cursor of a list of orders")]
    Cursor,
}

impl Error {
    /// Whether a database that can't be opened or asked now is likely to be away, starting or
    /// overloaded, so that the same can succeed later without anybody's doing.
    pub fn is_passing(&self) -> bool {
        let (Self::Open(source) | Self::Query { source, .. }) = self else { return false };
        match source {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
            sqlx::Error::Database(error) => error.code().is_some_and(is_passing),
            _ => false,
        }
    }
}

/// By PostgreSQL's classes of errors: connection, insufficient resources, operator intervention
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>); SQLite's is "busy".
fn is_passing(code: Cow<'_, str>) -> bool {
    code == "5" || code.len() == 5 && ["08", "53", "57"].iter().any(|c| code.starts_with(c))
}

/// Names what a query was for, in its error.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Query { doing, source })
    }
}
