//! `comanda mail preview`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comanda_processors::notifier;

use crate::config::Loaded;
use crate::output;

/// Writes the mail for each bundled sample to `out`, as text with the subject and as HTML, and prints
/// the paths.
pub fn preview(loaded: &Loaded, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("making the folder {}", out.display()))?;
    let mut paths = String::new();
    for mail in notifier::preview(&loaded.settings.notifier)? {
        let text = format!("Subject: {}\n\n{}\n", mail.subject, mail.text);
        for (extension, content) in [("txt", &text), ("html", &mail.html)] {
            let path = out.join(format!("{}.{extension}", mail.name));
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
            paths.push_str(&format!("{}\n", path.display()));
        }
    }
    output::print(&paths)
}
