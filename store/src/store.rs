//! Opening the store.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::backend::schema::{self, Migrated};
use crate::backend::{Either, Pool, Session, postgres, sqlite};
use crate::error::Doing;
use crate::{Error, Options};

/// How much later than PostgreSQL itself a statement is given up, in case the server has not
/// answered at all.
const GRACE: Duration = Duration::from_secs(1);

/// The order store; clones share its connections.
///
/// Those who read have connections apart from each other, so that one who asks much lets the others
/// wait no longer than before.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Pool,
    readers: Readers,
    /// How long one statement may take.
    limit: Duration,
}

/// Connections for reading.
#[derive(Debug, Clone)]
struct Readers {
    /// For what is asked by its key and answered at once: placements, owners, positions.
    keyed: Pool,
    /// For one order with all its events, as changes need it.
    orders: Pool,
    /// For lists, and for what happened since.
    lists: Pool,
}

impl Store {
    /// Opens the database, whose schema is brought to this build's version first where the
    /// settings allow it. Several processes may open the same one, also at the same time.
    ///
    /// A database that goes away later is connected to again by itself.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let (store, _) = Self::prepared(options, options.auto_migrate).await?;
        Ok(store)
    }

    /// Brings the schema of the database to this build's version, and copies what an older form
    /// has. Other processes may go on with that meanwhile.
    pub async fn migrate(options: &Options) -> Result<Migrated, Error> {
        let (store, migrated) = Self::prepared(options, true).await?;
        store.close().await;
        Ok(migrated)
    }

    async fn prepared(options: &Options, may_migrate: bool) -> Result<(Self, Migrated), Error> {
        let connect = options.parse()?;
        let mut migrated = prepare(&connect, options, may_migrate).await?;
        let ([writer, keyed, orders, lists], limit) = match connect {
            Either::Sqlite(connect) => (
                sqlite::pools(connect, options).map(Either::Sqlite),
                options.patience() + options.statement_timeout(),
            ),
            Either::Postgres(connect) => (
                postgres::pools(connect, options).map(Either::Postgres),
                options.statement_timeout() + GRACE,
            ),
        };
        let store = Self { writer, readers: Readers { keyed, orders, lists }, limit };
        migrated.copied = store.finish(may_migrate).await?;
        Ok((store, migrated))
    }

    /// Closes all connections once they are free; whatever is asked later fails.
    pub async fn close(&self) {
        let Readers { keyed, orders, lists } = &self.readers;
        for pool in [&self.writer, keyed, orders, lists] {
            match pool {
                Either::Sqlite(pool) => pool.close().await,
                Either::Postgres(pool) => pool.close().await,
            }
        }
    }

    pub(crate) async fn keyed_reader(&self, doing: &'static str) -> Result<Session, Error> {
        Session::acquire(&self.readers.keyed, self.limit).await.doing(doing)
    }

    pub(crate) async fn order_reader(&self, doing: &'static str) -> Result<Session, Error> {
        Session::acquire(&self.readers.orders, self.limit).await.doing(doing)
    }

    pub(crate) async fn list_reader(&self, doing: &'static str) -> Result<Session, Error> {
        Session::acquire(&self.readers.lists, self.limit).await.doing(doing)
    }

    pub(crate) async fn writer(&self, doing: &'static str) -> Result<Session, Error> {
        Session::acquire(&self.writer, self.limit).await.doing(doing)
    }
}

async fn prepare(
    connect: &Either<SqliteConnectOptions, PgConnectOptions>,
    options: &Options,
    may_migrate: bool,
) -> Result<Migrated, Error> {
    let mut connection = match connect {
        Either::Sqlite(connect) => Either::Sqlite(sqlite::connect(connect, options).await?),
        Either::Postgres(connect) => Either::Postgres(postgres::connect(connect, options).await?),
    };
    let migrated = schema::ensure(&mut connection, may_migrate, options.patience()).await;
    // It is not needed any more, so how it ends makes no difference.
    let _ = match connection {
        Either::Sqlite(connection) => connection.close().await,
        Either::Postgres(connection) => connection.close().await,
    };
    migrated
}
