//! Compatibility levels, and what they demand of a new schema.

use std::fmt;
use std::str::FromStr;

use apache_avro::error::CompatibilityError;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

use super::schema::Parsed;

/// What a new version of a schema must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    None,
    /// Read what the latest version wrote.
    Backward,
    /// Read what every version wrote.
    BackwardTransitive,
    /// Write what the latest version reads.
    Forward,
    /// Write what every version reads.
    ForwardTransitive,
    /// Both, with the latest version.
    Full,
    /// Both, with every version.
    FullTransitive,
}

impl Level {
    const ALL: [Level; 7] = [
        Level::None,
        Level::Backward,
        Level::BackwardTransitive,
        Level::Forward,
        Level::ForwardTransitive,
        Level::Full,
        Level::FullTransitive,
    ];

    /// Its name in the HTTP interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "NONE",
            Level::Backward => "BACKWARD",
            Level::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Level::Forward => "FORWARD",
            Level::ForwardTransitive => "FORWARD_TRANSITIVE",
            Level::Full => "FULL",
            Level::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Whether all versions count, not only the latest.
    pub(super) fn is_transitive(self) -> bool {
        match self {
            Level::BackwardTransitive | Level::ForwardTransitive | Level::FullTransitive => true,
            Level::None | Level::Backward | Level::Forward | Level::Full => false,
        }
    }

    fn reads_old(self) -> bool {
        match self {
            Level::Backward | Level::BackwardTransitive | Level::Full | Level::FullTransitive => {
                true
            }
            Level::None | Level::Forward | Level::ForwardTransitive => false,
        }
    }

    fn writes_for_old(self) -> bool {
        match self {
            Level::Forward | Level::ForwardTransitive | Level::Full | Level::FullTransitive => true,
            Level::None | Level::Backward | Level::BackwardTransitive => false,
        }
    }

    /// Why `new` may not stand beside `old`, one sentence a direction; empty when it may.
    pub(super) fn problems(self, new: &Parsed, old: &Parsed, version: u32) -> Vec<String> {
        let backward = self.reads_old().then(|| cannot_read(old, new)).flatten();
        let forward = self.writes_for_old().then(|| cannot_read(new, old)).flatten();
        let backward =
            backward.map(|why| format!("the new schema cannot read version {version}: {why}"));
        let forward =
            forward.map(|why| format!("version {version} cannot read the new schema: {why}"));
        backward.into_iter().chain(forward).collect()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        let named = |level: &Level| level.as_str().eq_ignore_ascii_case(name);
        Level::ALL.into_iter().find(named).ok_or(())
    }
}

/// Why `reader` can't read everything that `writer` can write.
fn cannot_read(writer: &Parsed, reader: &Parsed) -> Option<String> {
    match SchemaCompatibility::can_read(&writer.expanded, &reader.expanded) {
        Ok(Compatibility::Full) => None,
        // Readable or not depending on the value: for a registry that is not readable.
        Ok(Compatibility::Partial) => {
            Some("the reader lacks enum symbols or union branches of the writer".into())
        }
        Err(error) => Some(describe(&error)),
    }
}

/// The error with the path to it, and without whole schemas in the text.
fn describe(mut error: &CompatibilityError) -> String {
    let mut path = String::new();
    while let CompatibilityError::FieldTypeMismatch(field, source) = error {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(field);
        error = source;
    }
    let what = match error {
        CompatibilityError::MissingDefaultValue(field) => {
            format!("the writer lacks field {field}, which has no default in the reader")
        }
        CompatibilityError::WrongType { .. } => "the types differ".to_owned(),
        other => other.to_string(),
    };
    if path.is_empty() { what } else { format!("at {path}: {what}") }
}

#[cfg(test)]
mod tests;
