//! Why a notifier could not be built from its settings.

use std::io;
use std::path::PathBuf;

use crate::provider;

/// Why a notifier could not be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the provider's client needs.
    #[error(transparent)]
    Provider(#[from] provider::Error),
    /// The folder of the templates, or a file in it.
    #[error("`templates`: {} can't be read", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file in the folder would never be used.
    #[error(
        "`templates`: {} is not a template; names are `mail` or a kind of mail, with .subject, .txt \
         or .html, or begin with _",
        path.display()
    )]
    NoTemplate {
        /// Which one.
        path: PathBuf,
    },
    /// A template can't be compiled, or not rendered for a sample.
    #[error("`templates`: the mail {name} can't be rendered")]
    Template {
        /// The template, or the sample that it fails for.
        name: String,
        /// Where and why.
        #[source]
        source: Box<minijinja::Error>,
    },
}
