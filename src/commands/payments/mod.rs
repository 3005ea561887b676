//! `comanda payments`: payments whose outcome nobody knows.
//!
//! - [`stuck`], [`resolve`]: the commands
//! - `open`: which payments these are, going by the topics

mod open;
mod resolve;
mod stuck;

use anyhow::Result;

use super::dlq::Desk;
use crate::cli::stuck::PaymentsAction;
use crate::config::Loaded;

/// Runs one of the commands, off the async workers: Kafka's calls block.
pub async fn run(loaded: Loaded, action: PaymentsAction) -> Result<()> {
    let desk = Desk::new(loaded.settings)?;
    tokio::task::spawn_blocking(move || match action {
        PaymentsAction::Stuck(args) => stuck::run(&desk, &args),
        PaymentsAction::Resolve(args) => resolve::run(&desk, args),
    })
    .await?
}
