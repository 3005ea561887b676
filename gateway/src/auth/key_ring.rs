//! The API keys in force: those of the settings and those of a file, which can change at any time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;
use tracing::info;

use super::keys::{ApiKey, Keys};
use super::load::{Intake, LoadError, read};
use crate::Error;

/// The setting of the file.
const SETTING: &str = "api_keys_file";

/// The API keys in force.
pub(super) struct KeyRing {
    inline: Vec<ApiKey>,
    file: Option<PathBuf>,
    refresh: Duration,
    current: ArcSwap<Keys>,
    intake: Mutex<Intake>,
    changed: watch::Sender<()>,
}

/// What is in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    api_keys: Vec<ApiKey>,
}

impl KeyRing {
    /// The keys of the settings and, where one is named, of a file that is looked at every
    /// `refresh`. Fails where it can't be used now: nobody should learn that from clients.
    pub async fn open(inline: Vec<ApiKey>, file: &str, refresh: Duration) -> Result<Self, Error> {
        let keys = Keys::parse(&inline);
        let keys = keys.map_err(|problem| Error::Options { key: "api_keys", problem })?;
        let ring = Self {
            inline,
            file: (!file.is_empty()).then(|| file.into()),
            refresh,
            current: ArcSwap::from_pointee(keys),
            intake: Mutex::new(Intake::new(SETTING)),
            changed: watch::Sender::new(()),
        };
        ring.look().await.map_err(|error| error.into_options(SETTING))?;
        Ok(ring)
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Guard<Arc<Keys>> {
        self.current.load()
    }

    /// Tells when the keys change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Follows the file for ever.
    pub async fn follow(&self) {
        if self.file.is_none() {
            return std::future::pending().await;
        }
        loop {
            sleep(self.refresh).await;
            // What goes wrong is told by the intake.
            let _ = self.look().await;
        }
    }

    /// Looks at the file, and takes its keys where it has changed.
    async fn look(&self) -> Result<(), LoadError> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut intake = self.intake.lock().await;
        if let Some(keys) = intake.take(read(path).await, |content| self.parse(content))? {
            info!(keys = keys.len(), "the API keys are loaded");
            self.current.store(Arc::new(keys));
            self.changed.send_replace(());
        }
        Ok(())
    }

    fn parse(&self, content: &[u8]) -> Result<Keys, LoadError> {
        let file: KeysFile = toml::from_slice(content).map_err(|error| {
            let before = &content[..error.span().map_or(0, |span| span.start.min(content.len()))];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            LoadError::Toml { line }
        })?;
        Keys::parse(self.inline.iter().chain(&file.api_keys)).map_err(LoadError::Keys)
    }
}

#[cfg(test)]
mod tests;
