//! Standard output of commands whose result is text.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::{Context, Result};

/// Prints `text`; a reader that has seen enough and closed the pipe is no error.
pub fn print(text: &str) -> Result<()> {
    write(text).map(drop)
}

/// Prints `line` and a line break; whether there still is a reader.
pub fn line(line: impl Display) -> Result<bool> {
    write(&format!("{line}\n"))
}

fn write(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("writing to standard output"),
    }
}
