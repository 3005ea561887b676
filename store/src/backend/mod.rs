//! SQLite and PostgreSQL, as far as they differ.
//!
//! - [`Either`]: something of one or of the other
//! - [`Sql`]: a statement, written once where both understand it
//! - [`Session`]: a connection that runs statements
//! - [`sqlite`], [`postgres`]: how each is opened; [`schema`]: the form of its tables

mod columns;
pub mod postgres;
pub mod schema;
mod session;
mod sql;
pub mod sqlite;

pub(crate) use columns::{Id, Text};
pub(crate) use session::Session;
pub(crate) use sql::{Columns, Sql};

/// Something of SQLite, or of PostgreSQL.
#[derive(Debug, Clone)]
pub(crate) enum Either<S, P> {
    Sqlite(S),
    Postgres(P),
}

/// Connections to either.
pub(crate) type Pool = Either<sqlx::SqlitePool, sqlx::PgPool>;
