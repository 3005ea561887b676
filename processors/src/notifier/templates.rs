//! The templates of the mails: the built-in ones, and those of a folder that take their place.
//!
//! A mail has three parts, each a template of its own: `subject`, `txt`, `html`. For the part `html`
//! of the kind `payment_failed` the first of these counts that is there: `payment_failed.html`,
//! `mail.html` of the folder, the built-in `mail.html`. Files whose names begin with `_` are for
//! others to include. The built-in ones stay in reach as `builtin/mail.html` and so on.
//!
//! The language is Jinja's (<https://docs.rs/minijinja>). HTML is escaped. A name that means nothing
//! is an error, at the start.

use std::path::{Path, PathBuf};
use std::{fs, io};

use minijinja::{Environment, UndefinedBehavior, Value};

use super::Error;
use super::kind::Kind;

/// Template of every kind that has none of its own.
const ANY: &str = "mail";
/// What comes after a template's name and a dot, and the built-in template.
const BUILT_IN: [(Part, &str); 3] = [
    (Part::Subject, include_str!("../../templates/mail.subject")),
    (Part::Text, include_str!("../../templates/mail.txt")),
    (Part::Html, include_str!("../../templates/mail.html")),
];

/// A part of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Subject,
    Text,
    Html,
}

impl Part {
    fn extension(self) -> &'static str {
        match self {
            Part::Subject => "subject",
            Part::Text => "txt",
            Part::Html => "html",
        }
    }
}

/// All templates, compiled.
#[derive(Debug)]
pub(super) struct Templates(Environment<'static>);

impl Templates {
    /// The built-in templates, and those in `folder` before them.
    pub fn load(folder: Option<&Path>) -> Result<Self, Error> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut add = |name: String, source: String| {
            let added = env.add_template_owned(name.clone(), source);
            added.map_err(|source| Error::Template { name, source: Box::new(source) })
        };
        for (part, source) in BUILT_IN {
            let name = format!("{ANY}.{}", part.extension());
            add(format!("builtin/{name}"), source.to_owned())?;
            add(name, source.to_owned())?;
        }
        for (name, source) in folder.map(files).transpose()?.unwrap_or_default() {
            add(name, source)?;
        }
        Ok(Self(env))
    }

    /// Renders one part of a mail.
    pub fn render(&self, kind: Kind, part: Part, view: &Value) -> Result<String, minijinja::Error> {
        let extension = part.extension();
        let own = self.0.get_template(&format!("{}.{extension}", kind.name()));
        let template = own.or_else(|_| self.0.get_template(&format!("{ANY}.{extension}")))?;
        template.render(view.clone())
    }
}

/// Names and contents of the templates in `folder`.
fn files(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let unreadable = |path: PathBuf| move |source: io::Error| Error::Unreadable { path, source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder.to_owned()))? {
        let path = entry.map_err(unreadable(folder.to_owned()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if !is_template(&name) {
            return Err(Error::NoTemplate { path });
        }
        files.push((name, fs::read_to_string(&path).map_err(unreadable(path))?));
    }
    Ok(files)
}

fn is_template(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let known = stem == ANY || stem.starts_with('_') || Kind::ALL.iter().any(|k| k.name() == stem);
    known && BUILT_IN.iter().any(|(part, _)| part.extension() == extension)
}
