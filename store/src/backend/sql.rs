//! A statement of either database.

use std::fmt::Display;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Encode, FromRow, Postgres, QueryBuilder, Sqlite, Type};
use uuid::Uuid;

use super::Either;

/// A value that both databases take.
pub(crate) trait Value<'t>:
    Encode<'t, Sqlite> + Type<Sqlite> + Encode<'t, Postgres> + Type<Postgres>
{
}

impl<'t, T> Value<'t> for T where
    T: Encode<'t, Sqlite> + Type<Sqlite> + Encode<'t, Postgres> + Type<Postgres>
{
}

/// A row that both databases give.
pub(crate) trait Columns:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Columns for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

/// A statement with its values.
pub(crate) struct Sql {
    pub builder: Either<QueryBuilder<Sqlite>, QueryBuilder<Postgres>>,
    /// Whether the connection keeps it prepared. Statements with lists of any length would drive
    /// out the others.
    pub is_kept: bool,
}

impl Sql {
    pub fn is_postgres(&self) -> bool {
        matches!(self.builder, Either::Postgres(_))
    }

    pub fn push(&mut self, text: impl Display) -> &mut Self {
        match &mut self.builder {
            Either::Sqlite(builder) => _ = builder.push(text),
            Either::Postgres(builder) => _ = builder.push(text),
        }
        self
    }

    pub fn bind<'t>(&mut self, value: impl Value<'t>) -> &mut Self {
        match &mut self.builder {
            Either::Sqlite(builder) => _ = builder.push_bind(value),
            Either::Postgres(builder) => _ = builder.push_bind(value),
        }
        self
    }

    /// The condition that what stands before is one of `ids`.
    pub fn one_of(&mut self, ids: impl Iterator<Item = Uuid>) -> &mut Self {
        match &mut self.builder {
            Either::Sqlite(builder) => {
                // One value for a list of any length, so that the statement stays the same.
                let list: Vec<String> = ids.map(|id| id.hyphenated().to_string()).collect();
                let list = serde_json::Value::from(list).to_string();
                builder.push(" IN (SELECT value FROM json_each(").push_bind(list).push("))");
            }
            Either::Postgres(builder) => {
                builder.push(" = ANY(").push_bind(ids.collect::<Vec<_>>()).push(")");
            }
        }
        self
    }
}
