//! `comanda config check`, `config show`, `config hash-key`.

use std::io::Read;

use anyhow::{Context, Result, bail};

use crate::config::Loaded;
use crate::output;

/// The settings were read and validated already; says so.
pub fn check(loaded: &Loaded) -> Result<()> {
    let set = loaded.show()?.iter().filter(|s| s.origin != "default").count();
    say!("The configuration is valid; {set} settings differ from config/default.toml.");
    Ok(())
}

/// Prints every effective setting with its origin.
pub fn show(loaded: &Loaded) -> Result<()> {
    let lines = loaded.show()?.into_iter().map(|setting| {
        let line = format!("{} = {}", setting.key, setting.value);
        format!("{line:<60} # {}\n", setting.origin)
    });
    output::print(&lines.collect::<String>())
}

/// Hashes the key on standard input: an argument would stay in the shell's history.
pub fn hash_key() -> Result<()> {
    let mut key = String::new();
    std::io::stdin().take(4096).read_to_string(&mut key).context("reading the key")?;
    let key = key.trim();
    if key.len() < 16 {
        bail!("the key on standard input has {} characters; take at least 16", key.len());
    }
    say!("{}", comanda_gateway::hash_key(key));
    Ok(())
}
