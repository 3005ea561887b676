//! The file of settings.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use comanda_schemas::url_without_login;
use figment::value::{Dict, Map};
use figment::{Metadata, Profile, Provider};

use super::problem;

/// Most bytes of the file.
const MAX_BYTES: u64 = 4 << 20;

/// A file of settings, read once: it may be a pipe.
pub(super) struct SettingsFile {
    path: PathBuf,
    settings: Dict,
}

impl SettingsFile {
    pub fn read(path: &Path) -> Result<Self> {
        let name = url_without_login(&path.display().to_string());
        let mut content = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content))
            .with_context(|| format!("the configuration file {name} can't be read"))?;
        if content.len() as u64 > MAX_BYTES {
            bail!("the configuration file {name} has more than {MAX_BYTES} bytes");
        }
        let Ok(text) = std::str::from_utf8(&content) else {
            bail!("the configuration file {name} is not text in UTF-8");
        };
        let settings =
            toml::from_str(text).map_err(|error| problem::of_toml(&name, text, &error))?;
        Ok(Self { path: path.to_owned(), settings })
    }
}

impl Provider for SettingsFile {
    fn metadata(&self) -> Metadata {
        Metadata::from("TOML file", self.path.as_path())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.settings.clone()))
    }
}
