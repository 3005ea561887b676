//! `comanda dlq …`

use clap::{Args, Subcommand, ValueEnum};
use comanda_schemas::Stage;

use crate::commands::dlq::Position;

/// `dlq …`
#[derive(Debug, Subcommand)]
pub enum DlqAction {
    /// One line a dead letter, oldest first in each partition, and how many there are of each kind
    List(DlqListArgs),
    /// One dead letter whole: headers, bytes, the event where they are one
    Show(DlqShowArgs),
    /// Put dead letters back to where they came from, each once
    Redrive(DlqRedriveArgs),
}

/// `dlq list …`
#[derive(Debug, Args)]
pub struct DlqListArgs {
    /// Only letters of this processor
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<StageName>,
    /// Only letters from here on: beginning, a time (RFC 3339) or an age such as 15m
    #[arg(long, default_value = "beginning", value_name = "POINT")]
    pub from: String,
    /// Only letters with this kind of error
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Letters that were redriven, too
    #[arg(long)]
    pub all: bool,
    /// One JSON object a letter
    #[arg(long)]
    pub json: bool,
}

/// `dlq show …`
#[derive(Debug, Args)]
pub struct DlqShowArgs {
    /// Processor that left it
    pub stage: StageName,
    /// Where it stands in the dead-letter topic, e.g. 3@17
    #[arg(value_name = "PARTITION@OFFSET")]
    pub letter: Position,
}

/// `dlq redrive …`
#[derive(Debug, Args)]
pub struct DlqRedriveArgs {
    /// Only letters of this processor
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<StageName>,
    /// Only letters with this kind of error
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only letters from here on: beginning, a time (RFC 3339) or an age such as 15m
    #[arg(long, default_value = "beginning", value_name = "POINT")]
    pub from: String,
    /// Only this letter (repeatable)
    #[arg(long = "letter", value_name = "PARTITION@OFFSET", requires = "stage")]
    pub letters: Vec<Position>,
    /// Also letters so old that the provider may have forgotten their idempotency keys
    #[arg(long)]
    pub force: bool,
    /// Also letters of orders that have later events, which were or will be handled before them
    #[arg(long)]
    pub out_of_order: bool,
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask
    #[arg(long)]
    pub yes: bool,
}

/// A processor, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StageName {
    /// Orders to payments
    Payment,
    /// Payments to notifications
    Notifier,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Payment => Stage::Payment,
            StageName::Notifier => Stage::Notifier,
        }
    }
}
