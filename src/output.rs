//! Standard output of commands whose result is text.

use std::io::{self, Write};

use anyhow::{Context, Result};

/// Prints `text`; a reader that has seen enough and closed the pipe is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}
