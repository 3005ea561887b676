//! A connection that runs statements, and what becomes of it.

use std::io;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Postgres, QueryBuilder, Sqlite};
use tokio::time::timeout;

use super::{Columns, Either, Pool, Sql};
use crate::Error;
use crate::error::Doing;

/// A connection taken from a pool. It goes back when this is dropped, unless a statement failed or
/// was given up or a transaction is open: then it is closed, since nobody knows what would be read
/// from it next, or when.
pub(crate) struct Session {
    connection: Either<PoolConnection<Sqlite>, PoolConnection<Postgres>>,
    limit: Duration,
    is_running: bool,
    has_begun: bool,
}

impl Session {
    /// A connection of `pool`; each statement on it may take as long as `limit`.
    pub async fn acquire(pool: &Pool, limit: Duration) -> sqlx::Result<Self> {
        let connection = match pool {
            Either::Sqlite(pool) => Either::Sqlite(pool.acquire().await?),
            Either::Postgres(pool) => Either::Postgres(pool.acquire().await?),
        };
        Ok(Self { connection, limit, is_running: false, has_begun: false })
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.connection, Either::Postgres(_))
    }

    /// A statement for it that begins with `text`.
    pub fn sql(&self, text: impl Into<String>) -> Sql {
        let builder = match &self.connection {
            Either::Sqlite(_) => Either::Sqlite(QueryBuilder::new(text)),
            Either::Postgres(_) => Either::Postgres(QueryBuilder::new(text)),
        };
        Sql { builder, is_kept: true }
    }

    /// Begins a transaction that writes. Each of its statements sees what others have committed
    /// before that statement.
    pub async fn begin(&mut self, doing: &'static str) -> Result<(), Error> {
        let begin = match self.is_postgres() {
            true => "BEGIN ISOLATION LEVEL READ COMMITTED",
            // Written from the start: a transaction that turns from reading to writing can find
            // that another process has written in between, and would have to begin again.
            false => "BEGIN IMMEDIATE",
        };
        self.begin_as(begin, doing).await
    }

    /// Begins a transaction that reads. All its statements see the same.
    pub async fn begin_snapshot(&mut self, doing: &'static str) -> Result<(), Error> {
        let begin = match self.is_postgres() {
            true => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            false => "BEGIN",
        };
        self.begin_as(begin, doing).await
    }

    async fn begin_as(&mut self, begin: &str, doing: &'static str) -> Result<(), Error> {
        self.has_begun = true;
        self.execute(self.sql(begin), doing).await
    }

    /// Ends the transaction.
    pub async fn commit(mut self, doing: &'static str) -> Result<(), Error> {
        self.execute(self.sql("COMMIT"), doing).await?;
        self.has_begun = false;
        Ok(())
    }

    /// All rows of a query.
    pub async fn fetch<T: Columns>(
        &mut self,
        mut sql: Sql,
        doing: &'static str,
    ) -> Result<Vec<T>, Error> {
        self.is_running = true;
        let rows = async {
            match (&mut sql.builder, &mut self.connection) {
                (Either::Sqlite(query), Either::Sqlite(connection)) => {
                    let query = query.build_query_as().persistent(sql.is_kept);
                    query.fetch_all(&mut **connection).await
                }
                (Either::Postgres(query), Either::Postgres(connection)) => {
                    let query = query.build_query_as().persistent(sql.is_kept);
                    query.fetch_all(&mut **connection).await
                }
                _ => unreachable!("a session runs the statements that it has made"),
            }
        };
        let rows = within(self.limit, rows).await.doing(doing)?;
        self.is_running = false;
        Ok(rows)
    }

    /// Runs a statement without rows, or whose rows nobody needs.
    pub async fn execute(&mut self, sql: Sql, doing: &'static str) -> Result<(), Error> {
        self.fetch::<()>(sql, doing).await.map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_running || self.has_begun {
            match &mut self.connection {
                Either::Sqlite(connection) => connection.close_on_drop(),
                Either::Postgres(connection) => connection.close_on_drop(),
            }
        }
    }
}

/// What `work` gives, unless it takes longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let late = |_| {
        let message = format!("no answer within {limit:?}");
        sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
    };
    timeout(limit, work).await.map_err(late).flatten()
}
