//! Why the store could not do what it was asked.

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL does not name a SQLite file.
    #[error("the order store's URL has to name a SQLite file, e.g. sqlite:///var/lib/orders.db")]
    Url(#[source] Option<sqlx::Error>),
    /// The database could not be opened.
    #[error("the order store does not open")]
    Open(#[source] sqlx::Error),
    /// The tables could not be brought to this build's form.
    #[error("the order store's tables could not be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
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

/// Names what a query was for, in its error.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Query { doing, source })
    }
}
