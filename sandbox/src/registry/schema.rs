//! Schemas as the registry compares them.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{
    ArraySchema, MapSchema, Name, RecordField, RecordSchema, ResolvedSchema, UnionSchema,
    UuidSchema,
};
use serde_json::Value;

use super::refusal::Refusal;

pub(super) const MAX_TEXT_BYTES: usize = 256 << 10;
/// Nodes of an expanded schema; named types that multiply each other would grow without end.
const MAX_NODES: usize = 100_000;

/// A schema that was read and found valid.
#[derive(Debug)]
pub(super) struct Parsed {
    pub text: String,
    /// Two texts are the same schema when their canonical forms are equal: white space, the
    /// order of keys, and `{"type": "int"}` for `"int"` make no difference; docs and defaults do.
    pub canonical: String,
    /// For compatibility checks alone, see [`expand`].
    pub expanded: Schema,
}

impl Parsed {
    pub fn new(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Refusal::new(42209, format!("Schema exceeds {MAX_TEXT_BYTES} bytes")));
        }
        // A bare type name is a schema, with and without quotation marks.
        let value = serde_json::from_str(text).or_else(|error| {
            let bare = text.trim();
            let named = bare.bytes().all(|b| b.is_ascii_lowercase()) && !bare.is_empty();
            if named { Ok(Value::from(bare)) } else { Err(Refusal::invalid_schema(error)) }
        })?;
        let schema = Schema::parse(&value).map_err(Refusal::invalid_schema)?;
        let resolved = ResolvedSchema::new(&schema).map_err(Refusal::invalid_schema)?;
        let mut expansion =
            Expansion { names: resolved.get_names(), open: Vec::new(), left: MAX_NODES };
        let expanded = expansion.expand(&schema)?;
        let mut canonical = String::with_capacity(text.len());
        write_canonical(&value, &mut canonical);
        Ok(Self { text: text.to_owned(), canonical, expanded })
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            if let (1, Some(Value::String(name))) = (map.len(), map.get("type")) {
                return write_canonical(&Value::from(name.as_str()), out);
            }
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (i, (key, value)) in entries.into_iter().enumerate() {
                out.push(if i == 0 { '{' } else { ',' });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

/// Replaces references to named types by their definitions, except inside themselves, and
/// logical types by what they are made of.
///
/// apache-avro 0.22 compares a reference with a reference by name alone and finds a reference
/// and its definition incompatible, so a change of the place where a type is first used would
/// mislead it. It also lets any two uuids pass, be they strings or fixed bytes.
struct Expansion<'s> {
    names: &'s HashMap<Name, &'s Schema>,
    open: Vec<Name>,
    left: usize,
}

impl Expansion<'_> {
    fn expand(&mut self, schema: &Schema) -> Result<Schema, Refusal> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Refusal::new(42209, "Schema is too large once written out"))?;
        Ok(match schema {
            Schema::Ref { name } if self.open.contains(name) => schema.clone(),
            Schema::Ref { name } => {
                let definition = self.names.get(name).ok_or_else(|| {
                    Refusal::invalid_schema(format_args!("type {name} is not defined"))
                })?;
                self.expand(definition)?
            }
            Schema::Record(record) => {
                self.open.push(record.name.clone());
                let fields = record.fields.iter().map(|field| {
                    Ok(RecordField { schema: self.expand(&field.schema)?, ..field.clone() })
                });
                let fields = fields.collect::<Result<_, Refusal>>()?;
                self.open.pop();
                Schema::Record(RecordSchema { fields, ..record.clone() })
            }
            Schema::Array(array) => Schema::Array(ArraySchema {
                items: Box::new(self.expand(&array.items)?),
                ..array.clone()
            }),
            Schema::Map(map) => {
                Schema::Map(MapSchema { types: Box::new(self.expand(&map.types)?), ..map.clone() })
            }
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|variant| self.expand(variant));
                let variants = variants.collect::<Result<_, Refusal>>()?;
                Schema::Union(UnionSchema::new(variants).map_err(Refusal::invalid_schema)?)
            }
            Schema::Uuid(UuidSchema::String) => Schema::String,
            Schema::Uuid(UuidSchema::Bytes) => Schema::Bytes,
            Schema::Uuid(UuidSchema::Fixed(fixed)) | Schema::Duration(fixed) => {
                Schema::Fixed(fixed.clone())
            }
            other => other.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Parsed::new(text).unwrap().canonical
    }

    #[test]
    fn white_space_order_of_keys_and_the_long_form_of_a_type_make_no_difference() {
        let a = r#"{"type":"array","items":"int"}"#;
        let b = r#" {"items": {"type": "int"}, "type": "array"} "#;
        assert_eq!(canonical(a), canonical(b));
        assert_eq!(canonical("int"), canonical("\"int\""));
    }

    #[test]
    fn a_doc_makes_another_schema() {
        let with = |doc: &str| {
            canonical(&format!(r#"{{"type":"record","name":"R","doc":"{doc}","fields":[]}}"#))
        };
        assert_ne!(with("a"), with("b"));
    }

    #[test]
    fn types_that_multiply_each_other_are_refused_before_they_fill_the_memory() {
        let mut fields =
            vec![r#"{"name":"f0","type":{"type":"enum","name":"T0","symbols":["A"]}}"#.to_owned()];
        for i in 1..20 {
            let before = i - 1;
            fields.push(format!(
                r#"{{"name":"f{i}","type":{{"type":"record","name":"T{i}","fields":[
                    {{"name":"a","type":"T{before}"}},{{"name":"b","type":"T{before}"}}]}}}}"#
            ));
        }
        let text = format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","));
        assert_eq!(Parsed::new(&text).unwrap_err().code, 42209);
    }

    #[test]
    fn what_is_no_schema_is_told_apart() {
        let bad = [
            "",
            "{",
            "42",
            r#"{"type":"record"}"#,
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}"#,
            r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#,
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"Missing"}]}"#,
        ];
        for text in bad {
            assert_eq!(Parsed::new(text).err().map(|e| e.code), Some(42201), "{text}");
        }
    }
}
