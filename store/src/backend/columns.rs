//! Values that the two databases store in different ways.

use std::borrow::Cow;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Encode, Postgres, Sqlite, Type};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// A UUID: of that type in PostgreSQL, its hyphenated text in SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub Uuid);

impl Type<Sqlite> for Id {
    fn type_info() -> SqliteTypeInfo {
        <Hyphenated as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Id {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode_by_ref(&self.0.hyphenated(), buffer)
    }
}

impl<'r> Decode<'r, Sqlite> for Id {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        <Hyphenated as Decode<Sqlite>>::decode(value).map(|id| Self(id.into_uuid()))
    }
}

impl Type<Postgres> for Id {
    fn type_info() -> PgTypeInfo {
        <Uuid as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Id {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.0, buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Id {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        <Uuid as Decode<Postgres>>::decode(value).map(Self)
    }
}

/// A text that may contain anything. PostgreSQL's have no NUL: there it is written `\0`, and the
/// backslash twice, so that different texts stay different.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'t>(pub &'t str);

impl<'t> Text<'t> {
    /// As PostgreSQL stores it.
    pub fn without_nul(self) -> Cow<'t, str> {
        match self.0.contains(['\\', '\0']) {
            true => Cow::Owned(self.0.replace('\\', "\\\\").replace('\0', "\\0")),
            false => Cow::Borrowed(self.0),
        }
    }

    /// The text that PostgreSQL has stored as `stored`.
    pub fn with_nul(stored: &str) -> String {
        let mut text = String::with_capacity(stored.len());
        let mut rest = stored.chars();
        while let Some(next) = rest.next() {
            text.push(match next {
                '\\' if rest.next() == Some('0') => '\0',
                other => other,
            });
        }
        text
    }
}

impl Type<Sqlite> for Text<'_> {
    fn type_info() -> SqliteTypeInfo {
        <str as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Text<'_> {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode_by_ref(&self.0.to_owned(), buffer)
    }
}

impl Type<Postgres> for Text<'_> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Text<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.without_nul().into_owned(), buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_differ_without_nul_too() {
        let texts = ["a\0", "a\\0", "a\\\\0", "a\\\0", "a", "a0"];
        let stored: Vec<_> = texts.iter().map(|text| Text(text).without_nul()).collect();
        assert_eq!(stored, ["a\\0", "a\\\\0", "a\\\\\\\\0", "a\\\\\\0", "a", "a0"]);
        for (n, text) in stored.iter().enumerate() {
            assert_eq!(Text::with_nul(text), texts[n]);
            assert!(!text.contains('\0') && !stored[..n].contains(text), "{text}");
        }
    }
}
