//! Ctrl-C and SIGTERM: the first asks for an orderly stop, the second ends the process at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::exit;

/// Exit code after a second signal, as a shell has it for SIGTERM.
const KILLED: i32 = 143;

/// Signals within this time are one and the same request.
const SAME_STOP: Duration = Duration::from_millis(50);

/// A token that is cancelled by the first signal.
pub fn shutdown_token() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        let mut began = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match began {
                None => {
                    info!("stopping; a second signal stops at once");
                    began = Some(Instant::now());
                    shutdown.cancel();
                }
                // Supervisors send one stop to the process and to its group, which makes two.
                Some(first) if first.elapsed() < SAME_STOP => {}
                Some(_) => {
                    warn!("stopped at once");
                    exit::now(KILLED);
                }
            }
        }
    });
    Ok(token)
}
