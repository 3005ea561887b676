//! `comanda bench`: what comanda costs, against the bare client library on the same broker.
//!
//! - `engine`: the plan of `bench engine`; `case`: one case, in a process of its own, so that
//!   neither warm-up nor memory of one shows in another
//! - `raw`: the loop to compare with; `http`: the calls alone; `latency`: orders at a pace
//! - `load`: the orders; `scratch`: topics of the run; `process`: child processes; `meter`: CPU,
//!   memory, time
//! - `report`: ratios and the table

mod case;
mod engine;
mod http;
mod latency;
mod load;
mod meter;
mod process;
mod raw;
mod report;
mod scratch;

use anyhow::Result;

use crate::cli::{BenchWhat, SettingsArgs};
use crate::config::Loaded;

/// Measures, or is one of the processes in which another one measures.
pub async fn run(loaded: Loaded, settings: SettingsArgs, what: BenchWhat) -> Result<()> {
    match what {
        BenchWhat::Engine(args) => engine::run(loaded, settings, args).await,
        BenchWhat::Case { spec } => case::run(loaded, &spec).await,
    }
}
