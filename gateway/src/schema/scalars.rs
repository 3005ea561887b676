//! Scalars that GraphQL does not have of its own.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use comanda_schemas::Timestamp;

/// The scalar `Long`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Long(pub i64);

/// A whole number of 64 bits, as a JSON number. JavaScript holds those up to 2^53 - 1 exactly.
#[Scalar(name = "Long")]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::Number(number) = &value else {
            return Err(InputValueError::custom("a whole number is expected"));
        };
        let whole = number.as_i64();
        whole.map(Self).ok_or_else(|| InputValueError::custom("not a whole number of 64 bits"))
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::Number(number) if number.is_i64())
    }

    fn to_value(&self) -> Value {
        self.0.into()
    }
}

/// The scalar `DateTime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateTime(pub Timestamp);

/// A point in time as RFC 3339 has it, e.g. `2026-11-24T12:00:00.000001Z`; answers are in UTC.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else {
            return Err(InputValueError::custom("text is expected"));
        };
        let time = Timestamp::parse_rfc3339(text);
        time.map(Self).ok_or_else(|| InputValueError::custom("not a time as RFC 3339 has it"))
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if Timestamp::parse_rfc3339(text).is_some())
    }

    fn to_value(&self) -> Value {
        self.0.to_rfc3339().into()
    }
}

impl From<Timestamp> for DateTime {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl From<i64> for Long {
    fn from(number: i64) -> Self {
        Self(number)
    }
}
