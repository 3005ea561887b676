//! Variables, read from JSON within the limits.

use std::cell::{Cell, RefCell};
use std::fmt;

use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Value, Variables};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{Limits, exceeded};
use crate::failure::{Code, Failure};
use crate::params::problem;
use crate::syntax::MAX_NAME;

/// Bytes of a text that weigh as much as a value.
const BYTES_PER_VALUE: usize = 256;

/// Reads an object of variables. What is beyond the limits is noticed where it stands; nothing
/// further is read or kept.
pub(super) fn read(json: &str, limits: &Limits) -> Result<Variables, Failure> {
    let budget =
        Budget { limits, left: Cell::new(limits.variable_values), exceeded: RefCell::new(None) };
    let mut from = serde_json::Deserializer::from_str(json);
    let fields = (&mut from).deserialize_map(Fields(Place { budget: &budget, depth: 0 }));
    match fields.and_then(|fields| from.end().map(|()| fields)) {
        Ok(fields) => {
            let mut variables = Variables::default();
            variables.extend(fields);
            Ok(variables)
        }
        Err(error) => Err(budget.exceeded.take().map_or_else(
            || Failure::new(Code::BadRequest, format!("variables: {}", problem(&error, "values"))),
            exceeded,
        )),
    }
}

/// How much it is to copy or to check a value: the values in it, long texts for several.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(weight).sum::<usize>(),
        Value::String(text) => 1 + text.len() / BYTES_PER_VALUE,
        _ => 1,
    }
}

/// What may still be read.
struct Budget<'l> {
    limits: &'l Limits,
    left: Cell<usize>,
    /// The limit that was met.
    exceeded: RefCell<Option<String>>,
}

/// Where a value stands: within so many others.
#[derive(Clone, Copy)]
struct Place<'b> {
    budget: &'b Budget<'b>,
    depth: usize,
}

impl<'b> Place<'b> {
    fn refuse<E: Error>(&self, message: String) -> E {
        self.budget.exceeded.replace(Some(message));
        E::custom("a limit is exceeded")
    }

    /// The place of a value within this one, which counts.
    fn below<E: Error>(&self) -> Result<Self, E> {
        let Budget { limits, left, .. } = self.budget;
        let depth = self.depth + 1;
        if depth > limits.variable_depth {
            return Err(self.refuse(format!("variables are deeper than {}", limits.variable_depth)));
        }
        let Some(rest) = left.get().checked_sub(1) else {
            let max = limits.variable_values;
            return Err(self.refuse(format!("variables have more than {max} values")));
        };
        left.set(rest);
        Ok(Self { depth, ..*self })
    }

    fn fields<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<IndexMap<Name, Value>, A::Error> {
        let mut fields = IndexMap::new();
        while let Some(key) = map.next_key_seed(Key(self))? {
            let value = map.next_value_seed(Within(self))?;
            fields.insert(key, value);
        }
        Ok(fields)
    }
}

/// A name of a variable or of a field.
struct Key<'b>(Place<'b>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Name, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        if name.len() > MAX_NAME {
            return Err(self
                .0
                .refuse(format!("variables have a name longer than {MAX_NAME} characters")));
        }
        Ok(Name::new(name))
    }
}

/// The object that holds the variables.
struct Fields<'b>(Place<'b>);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = IndexMap<Name, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.0.fields(map)
    }
}

/// A value within the one at a place.
struct Within<'b>(Place<'b>);

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self.0.below()?)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Within(self))? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        self.fields(map).map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::limits::generous;

    fn read_within(json: &str, values: usize, depth: usize) -> Result<Variables, Code> {
        let limits = Limits { variable_values: values, variable_depth: depth, ..generous() };
        read(json, &limits).map_err(|failure| failure.code)
    }

    #[test]
    fn each_value_counts_and_so_does_what_holds_it() {
        let variables = r#"{ "a": [1, 2, { "b": 3 }], "c": null }"#;
        let expected: serde_json::Value = serde_json::from_str(variables).unwrap();
        assert_eq!(read_within(variables, 6, 3), Ok(Variables::from_json(expected)));
        assert_eq!(read_within(variables, 5, 3), Err(Code::LimitExceeded));
        assert_eq!(read_within(variables, 6, 2), Err(Code::LimitExceeded));
        assert_eq!(read_within("{}", 0, 0), Ok(Variables::default()));
        assert!(read_within(r#"{"a":[]}"#, 1, 1).is_ok(), "an empty list is one value");
        assert!(read_within(r#"{"a":[[]]}"#, 9, 1).is_err());
        assert!(read_within(r#"{"a":[1]}"#, 1, 9).is_err());
        assert!(read_within(r#"{"a":{}}"#, 1, 1).is_ok());
    }

    #[test]
    fn deep_or_endless_variables_are_refused_where_the_limit_is_met() {
        for json in [
            format!(r#"{{"a":{}"#, "[".repeat(1_000_000)),
            format!(r#"{{"a":{}"#, "{\"b\":".repeat(100_000)),
            format!(r#"{{"a":[{}"#, "0,".repeat(1_000_000)),
            format!(r#"{{"{}":1}}"#, "a".repeat(1_000_000)),
            format!(r#"{{"a":{{"{}":1}}}}"#, "a".repeat(1_000_000)),
        ] {
            assert_eq!(read_within(&json, 1_000, 10), Err(Code::LimitExceeded), "{json:.20}");
        }
        for json in ["", "[]", "{", "{\"a\":", "{\"a\":1}}", "{\"a\":\"\\ud800\"}", "{\"a\":1e999}"]
        {
            assert_eq!(read_within(json, 10, 10), Err(Code::BadRequest), "{json}");
        }
    }

    #[test]
    fn long_texts_weigh_as_much_as_many_values() {
        let weight = |value| weight(&Value::from_json(value).unwrap());
        assert_eq!(weight(json!([1, { "a": null, "b": "x" }])), 5);
        assert_eq!(weight(json!("x".repeat(256 * 10))), 11);
    }

    proptest! {
        /// Values of every kind, read as async-graphql reads them.
        #[test]
        fn variables_are_read_as_async_graphql_reads_them(
            values in prop::collection::vec(prop::sample::select(vec![
                "null", "true", "0", "-0", "-1", "1.5", "1e300", "18446744073709551615", "\"\"",
                "\"\\ud83c\\udf55\"", "[]", "{}", "[1,[null],{\"x\":[]}]", "{\"x\":{\"y\":\"z\"}}",
            ]), 0..5),
        ) {
            let fields = values.iter().enumerate().map(|(n, value)| format!("\"v{n}\": {value}"));
            let json = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
            let theirs: Variables = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read_within(&json, 1_000, 10), Ok(theirs));
        }
    }
}
