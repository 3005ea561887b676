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
    #[error(
        "the order store's max_connections, keyed_connections and statement_timeout_ms have to be at \
         least 1"
    )]
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
    /// What an older form of the tables has is not copied into this one's yet, and may not be here.
    #[error(
        "the order store is being migrated from an older form: `comanda store migrate` does that, or \
         goes on with it"
    )]
    Unfinished,
    /// The database does not take every text.
    #[error("the order store's database has the encoding {encoding}; it has to be UTF8")]
    Encoding {
        /// What PostgreSQL calls it.
        encoding: String,
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
        let source = match self {
            Self::Open(source) | Self::Query { source, .. } => source,
            other => return matches!(other, Self::Unfinished),
        };
        match source {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
            sqlx::Error::Database(error) => error.code().is_some_and(is_passing),
            _ => false,
        }
    }

    /// Whether the database refuses the values themselves, so that the same can't succeed later: a
    /// text that does not fit into an index, a number or a character that it does not have.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Query { source: sqlx::Error::Database(error), .. } => {
                error.code().is_some_and(is_refusal)
            }
            Self::Query { source: sqlx::Error::Encode(_), .. } => true,
            _ => false,
        }
    }

    /// Whether the database denies what only its owner may do.
    pub(crate) fn is_denied(&self) -> bool {
        match self {
            Self::Query { source: sqlx::Error::Database(error), .. } => {
                error.code().is_some_and(|code| code == "42501" || code == "8")
            }
            _ => false,
        }
    }
}

/// By PostgreSQL's classes: data exceptions, integrity constraints, limits of the program. SQLite's
/// are "string or blob too big", "constraint" with its extensions, and "datatype mismatch".
fn is_refusal(code: Cow<'_, str>) -> bool {
    let is_sqlite = code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    match code.len() {
        5 => ["22", "23", "54"].iter().any(|class| code.starts_with(class)),
        _ => is_sqlite,
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
