//! Settings of the order store.

use std::time::Duration;

use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::Error;
use crate::backend::{Either, postgres, sqlite};

/// Settings of the order store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `sqlite://` and the path of the database file, which is created where it is missing; or
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// Connections for lists and for what happened since, at least 1.
    pub max_connections: u32,
    /// Connections for what is asked by its key (placements, positions), at least 1; and as many for
    /// reading single orders. Writing has one of its own.
    pub keyed_connections: u32,
    /// How long to wait for a free connection or a new one, and with SQLite for another process
    /// that writes, in milliseconds.
    pub busy_timeout_ms: u64,
    /// How long one statement may take, in milliseconds, at least 1.
    pub statement_timeout_ms: u64,
    /// Whether opening the store brings an older schema to this build's version; it is an error
    /// otherwise.
    pub auto_migrate: bool,
}

impl Options {
    /// Whether these settings make sense; nothing is connected.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least_one =
            self.max_connections > 0 && self.keyed_connections > 0 && self.statement_timeout_ms > 0;
        self.parse().map(|_| ()).and(at_least_one.then_some(()).ok_or(Error::Settings))
    }

    pub(crate) fn parse(&self) -> Result<Either<SqliteConnectOptions, PgConnectOptions>, Error> {
        match postgres::SCHEMES.iter().any(|scheme| self.url.starts_with(scheme)) {
            true => postgres::parse(self).map(Either::Postgres),
            false => sqlite::parse(self).map(Either::Sqlite),
        }
    }

    /// Connections of the readers by key, of orders and of lists.
    pub(crate) fn readers(&self) -> [u32; 3] {
        [self.keyed_connections, self.keyed_connections, self.max_connections].map(|n| n.max(1))
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms)
    }

    pub(crate) fn statement_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms)
    }
}
