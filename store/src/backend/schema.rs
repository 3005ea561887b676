//! The form of the tables: which version a database has, and how it gets this build's.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::Either;
use super::session::within;
use crate::Error;
use crate::error::Doing;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// What a failed query was for.
const DOING: &str = "read the version of the schema";

/// What a migration did. Versions count from 1; 0 is an empty database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version before.
    pub from: i64,
    /// The version now, this build's.
    pub to: i64,
    /// Events that were copied from an older form.
    pub copied: u64,
}

/// A connection for this purpose alone.
pub(crate) type Connection = Either<SqliteConnection, PgConnection>;

/// Brings the schema to this build's version where `may_migrate`; otherwise it must have it.
///
/// Several processes may do so at the same time. Migrating may take as long as it needs, asking for
/// the version `patience`.
pub(crate) async fn ensure(
    connection: &mut Connection,
    may_migrate: bool,
    patience: Duration,
) -> Result<Migrated, Error> {
    within(patience, takes_every_text(connection)).await.map_err(Error::Open)??;
    let to = newest(connection);
    let from = within(patience, version(connection)).await.doing(DOING)?;
    // Asked first, because a reader need not be allowed to create tables.
    if from < to && may_migrate {
        migrate(connection).await?;
    } else if from != to {
        return Err(Error::Schema { found: from, wanted: to });
    }
    Ok(Migrated { from, to, copied: 0 })
}

/// A database of another encoding refuses characters that it does not have, one order at a time.
async fn takes_every_text(connection: &mut Connection) -> sqlx::Result<Result<(), Error>> {
    let Either::Postgres(connection) = connection else { return Ok(Ok(())) };
    let encoding: String = sqlx::query_scalar("SHOW server_encoding").fetch_one(connection).await?;
    Ok(match encoding.as_str() {
        "UTF8" => Ok(()),
        _ => Err(Error::Encoding { encoding }),
    })
}

fn newest(connection: &Connection) -> i64 {
    let all = match connection {
        Either::Sqlite(_) => &SQLITE,
        Either::Postgres(_) => &POSTGRES,
    };
    all.iter().map(|migration| migration.version).max().unwrap_or(0)
}

async fn version(connection: &mut Connection) -> sqlx::Result<i64> {
    let is_there: bool = match connection {
        Either::Sqlite(connection) => {
            let tables = "SELECT count(*) > 0 FROM sqlite_master WHERE name = '_sqlx_migrations'";
            sqlx::query_scalar(tables).fetch_one(connection).await?
        }
        Either::Postgres(connection) => {
            let table = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
            sqlx::query_scalar(table).fetch_one(connection).await?
        }
    };
    if !is_there {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";
    match connection {
        Either::Sqlite(connection) => sqlx::query_scalar(newest).fetch_one(connection).await,
        Either::Postgres(connection) => sqlx::query_scalar(newest).fetch_one(connection).await,
    }
}

// `Migrator::run` on a connection gives a future that the compiler can't prove to be `Send`.
async fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let all = None;
    match connection {
        // Within one transaction, as other processes may be at it too.
        Either::Sqlite(connection) => {
            let mut transaction =
                connection.begin_with("BEGIN IMMEDIATE").await.map_err(Error::Open)?;
            SQLITE.run_direct(all, &mut *transaction, false).await.map_err(Error::Migrate)?;
            transaction.commit().await.map_err(Error::Open)
        }
        // Under a lock that the connection holds until it has done them all.
        Either::Postgres(connection) => {
            POSTGRES.run_direct(all, connection, false).await.map_err(Error::Migrate)
        }
    }
}
