//! Keys that come from outside the settings: reading them again and again, and saying so when that
//! fails.

use std::path::Path;

use comanda_schemas::headers::error_chain;
use http::StatusCode;
use metrics::gauge;
use tokio::io::AsyncReadExt;
use tracing::{error, info};

use crate::Error;
use crate::digest::digest;
use crate::metrics::KEYS_STALE;

/// Most bytes of a file of keys.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why keys could not be loaded; it never tells a secret, a key or its hash.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the file can't be read")]
    Read(#[source] std::io::Error),
    #[error("there are more than {0} bytes")]
    TooLarge(u64),
    #[error(
        "line {line} does not parse: it takes tables [[api_keys]] with the texts name, sha256, role \
         (operator or customer) and, of a customer, customer_id"
    )]
    Toml { line: usize },
    #[error("{0}")]
    Keys(String),
    #[error("the secret {0}")]
    Secret(&'static str),
    #[error("there is no answer")]
    Fetch(#[source] reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    #[error("it is no JSON Web Key Set: line {line}, column {column}")]
    NoKeySet { line: usize, column: usize },
    #[error("none of its keys is for RS256 or ES256")]
    NoKey,
}

impl LoadError {
    /// At the start it is an error of the settings.
    pub fn into_options(self, key: &'static str) -> Error {
        Error::Options { key, problem: format!("can't be used: {}", error_chain(&self)) }
    }
}

/// What is in a file.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let mut content = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(LoadError::Read)?;
    let mut file = file.take(MAX_FILE_BYTES + 1);
    file.read_to_end(&mut content).await.map_err(LoadError::Read)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge(MAX_FILE_BYTES));
    }
    Ok(content)
}

/// One source of keys, over all the times that it is read. It tells how it goes: in the log where
/// something changes, in a metric all the time.
pub(super) struct Intake {
    source: &'static str,
    /// Hash of the content whose keys are in force.
    in_force: Option<[u8; 32]>,
    problem: Option<String>,
}

impl Intake {
    /// `source` is the setting's name.
    pub fn new(source: &'static str) -> Self {
        Self { source, in_force: None, problem: None }
    }

    /// The keys in what was read; `None` where they are those in force.
    pub fn take<K>(
        &mut self,
        read: Result<Vec<u8>, LoadError>,
        parse: impl FnOnce(&[u8]) -> Result<K, LoadError>,
    ) -> Result<Option<K>, LoadError> {
        let taken = read.and_then(|content| {
            let hash = Some(digest(&content));
            if self.in_force == hash {
                return Ok(None);
            }
            let keys = parse(&content)?;
            self.in_force = hash;
            Ok(Some(keys))
        });
        self.tell(taken.as_ref().err());
        taken
    }

    /// Whether that was news.
    fn tell(&mut self, failure: Option<&LoadError>) -> bool {
        gauge!(KEYS_STALE, "source" => self.source).set(if failure.is_some() { 1.0 } else { 0.0 });
        let problem = failure.map(|failure| error_chain(failure));
        let is_news = self.problem != problem;
        match &problem {
            Some(error) if is_news => error!(
                source = self.source,
                error, "keys can't be loaded; those from before stay in force"
            ),
            None if is_news => info!(source = self.source, "the keys can be loaded again"),
            _ => {}
        }
        self.problem = problem;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_problem_is_told_once() {
        let mut intake = Intake::new("test");
        assert!(!intake.tell(None));
        assert!(intake.tell(Some(&LoadError::NoKey)));
        assert!(!intake.tell(Some(&LoadError::NoKey)));
        assert!(intake.tell(Some(&LoadError::TooLarge(1))));
        assert!(intake.tell(None));
        assert!(!intake.tell(None));
        assert!(intake.tell(Some(&LoadError::TooLarge(1))));
    }

    #[test]
    fn only_what_is_new_and_good_is_taken() {
        let mut intake = Intake::new("test");
        let mut take = |content: &str| {
            let parse = |content: &[u8]| match content {
                b"bad" => Err(LoadError::NoKey),
                good => Ok(good.to_vec()),
            };
            intake.take(Ok(content.into()), parse).map_err(drop)
        };
        assert_eq!(take("a"), Ok(Some(b"a".to_vec())));
        assert_eq!(take("a"), Ok(None));
        assert_eq!(take("bad"), Err(()));
        assert_eq!(take("bad"), Err(()));
        assert_eq!(take("a"), Ok(None), "it never was out of force");
        assert_eq!(take("b"), Ok(Some(b"b".to_vec())));
    }

    #[tokio::test]
    async fn a_file_is_read_up_to_a_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_FILE_BYTES).unwrap();
        assert_eq!(read(file.path()).await.unwrap().len() as u64, MAX_FILE_BYTES);
        file.as_file().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(matches!(read(file.path()).await, Err(LoadError::TooLarge(_))));
    }
}
