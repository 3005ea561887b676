//! A fixed list of documents, as the build of a client makes it.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use crate::Error;
use crate::digest::{Digest, digest};

/// What Apollo's manifests call themselves.
const APOLLO_FORMAT: &str = "apollo-persisted-query-manifest";

/// Documents by the id under which clients ask for them.
#[derive(Debug, Default)]
pub(super) struct Listed {
    by_id: HashMap<String, Digest>,
    texts: HashMap<Digest, String>,
}

/// A manifest: an object of ids and documents, as Relay and GraphQL Code Generator write it, or
/// Apollo's.
#[derive(Deserialize)]
#[serde(untagged)]
enum Manifest {
    Apollo { format: String, version: u64, operations: Vec<Operation> },
    Plain(HashMap<String, String>),
}

#[derive(Deserialize)]
struct Operation {
    id: String,
    body: String,
}

impl Listed {
    /// Reads a manifest; `""` for none.
    pub fn read(path: &str) -> Result<Self, Error> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        let problem = match std::fs::read(Path::new(path)) {
            Err(error) => format!("can't be read: {error}"),
            Ok(manifest) => match Self::parse(&manifest) {
                Some(listed) => return Ok(listed),
                None => "is not a manifest of persisted documents".into(),
            },
        };
        Err(Error::Options { key: "persisted_documents", problem })
    }

    pub fn parse(manifest: &[u8]) -> Option<Self> {
        let mut listed = Self::default();
        match serde_json::from_slice(manifest).ok()? {
            Manifest::Apollo { format, version: 1, operations } if format == APOLLO_FORMAT => {
                operations.into_iter().for_each(|o| listed.add(o.id, o.body));
            }
            Manifest::Apollo { .. } => return None,
            Manifest::Plain(all) => all.into_iter().for_each(|(id, text)| listed.add(id, text)),
        }
        Some(listed)
    }

    fn add(&mut self, id: String, text: String) {
        let digest = digest(&text);
        self.by_id.insert(id, digest);
        self.texts.insert(digest, text);
    }

    /// The document that is listed under this id.
    pub fn get(&self, id: &str) -> Option<(Digest, &str)> {
        let digest = self.by_id.get(id)?;
        Some((*digest, self.texts.get(digest)?))
    }

    /// Whether there is a document with this digest, under any id.
    pub fn has(&self, digest: &Digest) -> bool {
        self.texts.contains_key(digest)
    }

    /// All ids with their documents.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_id.iter().map(|(id, digest)| (id.as_str(), self.texts[digest].as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_of_relay_and_of_apollo_are_read() {
        let relay = r#"{ "abc": "{ a }", "def": "{ b }", "ghi": "{ a }" }"#;
        let listed = Listed::parse(relay.as_bytes()).unwrap();
        assert_eq!(listed.get("abc"), Some((digest("{ a }"), "{ a }")));
        assert_eq!(listed.get("ghi"), listed.get("abc"));
        assert!(listed.has(&digest("{ b }")) && !listed.has(&digest("{ c }")));
        assert_eq!((listed.get("{ a }"), listed.iter().count()), (None, 3));
        let apollo = r#"{ "format": "apollo-persisted-query-manifest", "version": 1, "operations": [
            { "id": "abc", "name": "A", "type": "query", "body": "query A { a }" } ] }"#;
        let listed = Listed::parse(apollo.as_bytes()).unwrap();
        assert_eq!(listed.get("abc").unwrap().1, "query A { a }");
        for wrong in ["", "[]", r#"{ "abc": 1 }"#, &apollo.replace(": 1,", ": 2,")] {
            assert!(Listed::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
