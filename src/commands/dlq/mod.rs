//! `comanda dlq`: the dead letters.
//!
//! - [`list`], [`show`], [`redrive`]: the commands
//! - `letter`: a record of a dead-letter topic and what it says; `survey`: what became of letters
//! - `plan`: which letters to redrive, and why not the others; `writer`: the transactions
//! - `walk`: reading a topic to its end

mod letter;
mod list;
mod plan;
mod redrive;
mod show;
mod survey;
mod walk;
mod writer;

use anyhow::Result;
use comanda_schemas::{Stage, TopicNames};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use letter::{Position, printable, span};

use crate::cli::dlq::{DlqAction, StageName};
use crate::config::{Loaded, Settings};
use crate::signals;

/// Runs one of the commands, off the async workers: Kafka's calls block.
pub async fn run(loaded: Loaded, action: DlqAction) -> Result<()> {
    let desk = Desk::new(loaded.settings)?;
    tokio::task::spawn_blocking(move || match action {
        DlqAction::List(args) => list::run(&desk, &args),
        DlqAction::Show(args) => show::run(&desk, &args),
        DlqAction::Redrive(args) => redrive::run(&desk, &args),
    })
    .await?
}

/// What the commands work with.
pub struct Desk {
    /// The settings.
    pub settings: Settings,
    /// Names of the topics.
    pub names: TopicNames,
    /// Where async calls run.
    pub runtime: Handle,
    shutdown: CancellationToken,
}

impl Desk {
    /// One that stops at a signal.
    pub fn new(settings: Settings) -> Result<Self> {
        let shutdown = signals::shutdown_token()?;
        let names = settings.topics.names();
        Ok(Self { settings, names, runtime: Handle::current(), shutdown })
    }
}

/// The stage that was asked for, or all of them.
fn stages(only: Option<StageName>) -> Vec<Stage> {
    only.map_or_else(|| Stage::ALL.to_vec(), |stage| vec![stage.into()])
}
