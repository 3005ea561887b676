//! Ctrl-C and SIGTERM: the first asks for an orderly stop, the second ends the process at once.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Exit code after a second signal, as a shell has it for SIGTERM.
const KILLED: i32 = 143;

/// A token that is cancelled by the first signal.
pub fn shutdown_token() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                info!("stopping; a second signal stops at once");
                shutdown.cancel();
            } else {
                warn!("stopped at once");
                std::process::exit(KILLED);
            }
        }
    });
    Ok(token)
}
