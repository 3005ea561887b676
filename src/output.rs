//! What commands print.
//!
//! `println` and `eprintln` panic where nothing can be written: a full disk, a closed pipe. So they
//! are not used in this program; `say` and `note` take their place.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::{Context, Result};

/// Prints a line on standard output, like `println`. Where that fails, the function around it ends
/// with an error.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))?
    };
}

/// Prints a line on standard error, like `eprintln`.
macro_rules! note {
    ($($text:tt)*) => {
        $crate::output::to_stderr(&format!("{}\n", format_args!($($text)*)))
    };
}

/// Prints `text`; a reader that has seen enough and closed the pipe is no error.
pub fn print(text: &str) -> Result<()> {
    write(text).map(drop)
}

/// Prints `line` and a line break; whether there still is a reader.
pub fn line(line: impl Display) -> Result<bool> {
    write(&format!("{line}\n"))
}

/// Prints `text` on standard error, where it can be written.
pub fn to_stderr(text: &str) {
    // There is no other place to tell that this one fails.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn write(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("writing to standard output"),
    }
}
