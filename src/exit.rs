//! How the process ends: without the exit handlers of its C libraries.
//!
//! `exit` runs them while other threads go on. OpenSSL's frees what a thread inside a TLS handshake
//! is using, and librdkafka's threads are in one whenever a broker is away: the process crashes
//! although all is done. Whatever has to be closed was closed before; what is left, the system
//! takes back.

use std::io::{self, Write};
use std::process::ExitCode;

/// Exit code of a failure.
pub const FAILURE: i32 = 1;

/// Ends the process at once with `code`, once what was printed is written.
pub fn now(code: i32) -> ! {
    // Nothing is left to be told to, if these fail.
    let printed = io::stdout().flush();
    let _ = io::stderr().flush();
    let is_lost = printed.is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe);
    let code = if is_lost && code == 0 { FAILURE } else { code };
    leave(code)
}

#[allow(unsafe_code)]
fn leave(code: i32) -> ! {
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Runs `program` on a runtime that is left as it is at the end, and ends the process with what it
/// returns. A panic has the code that Rust gives it.
pub fn with(program: impl Future<Output = i32>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "comanda: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let run = || runtime.block_on(program);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    now(ended.unwrap_or(PANICKED))
}

/// Exit code after a panic.
const PANICKED: i32 = 101;
