//! `comanda bench`: what comanda costs, against the bare client library on the same broker.
//!
//! - `engine`: the plan of `bench engine`; `case`: one case, in a process of its own, so that
//!   neither warm-up nor memory of one shows in another
//! - `raw`: the loop to compare with; `http`: the calls alone; `latency`: orders at a pace
//! - `gateway`: all of `bench gateway`
//! - `load`: the orders; `scratch`: topics of the run; `process`: child processes; `meter`: CPU,
//!   memory, time; `figures`: what was measured
//! - `report`: the engine's ratios and table

mod case;
mod engine;
mod figures;
mod gateway;
mod http;
mod latency;
mod load;
mod meter;
mod only;
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
        BenchWhat::Gateway(args) => gateway::run(loaded, settings, args).await,
        BenchWhat::Case { spec } => case::run(loaded, &spec).await,
        BenchWhat::GatewayCase { spec } => gateway::case(loaded, &spec).await,
    }
}
