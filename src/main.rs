//! The one binary of comanda.

#![deny(clippy::print_stdout, clippy::print_stderr)]

// For its macros, in all modules.
#[macro_use]
mod output;

mod admin;
mod audit;
mod cli;
mod commands;
mod config;
mod exit;
mod kafka_watch;
mod points;
mod progress;
mod readiness;
mod roles;
mod samples;
mod sandbox;
mod signals;
mod store;
mod supervisor;
mod telemetry;
mod topics;
mod watchdog;

use std::process::ExitCode;

use anyhow::Result;
use comanda_schemas::diagnosis;

use cli::{Cli, Command, ConfigAction, MailAction, Role, SchemaKind, SchemasAction, TopicsAction};
use config::Loaded;

/// Also for librdkafka: an order is read, handled and written on different threads, and memory that
/// one thread takes and another gives back is what the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    exit::with(async {
        let Err(error) = run(cli).await else { return 0 };
        note!("comanda: {error:#}");
        // A call to a broker that can't be reached ends with no more than a time-out.
        if error.chain().any(|cause| cause.is::<rdkafka::error::KafkaError>()) {
            for found in diagnosis::recent() {
                note!("  {found}\n  ({})", found.said);
            }
        }
        exit::FAILURE
    })
}

async fn run(cli: Cli) -> Result<()> {
    let command = cli.command.unwrap_or(Command::Up);
    if let Command::Schema { kind: SchemaKind::Graphql } = &command {
        return output::print(&comanda_gateway::sdl());
    }
    let file = config::file(cli.settings.config.clone());
    let loaded = Loaded::load(file.as_deref(), &cli.settings.overrides())?;
    // A command with a result of its own keeps the terminal for it.
    let quiet = matches!(
        command,
        Command::Demo(_)
            | Command::Audit(_)
            | Command::Bench { .. }
            | Command::Dlq { .. }
            | Command::Mail { .. }
            | Command::Orders { .. }
            | Command::Payments { .. }
            | Command::Store { .. }
            | Command::Tail(_)
            | Command::Config { .. }
    ) && loaded.is_default("log.level");
    telemetry::start_logs(&loaded.settings.log, quiet)?;
    match command {
        Command::Up => commands::up::run(loaded).await,
        Command::Demo(args) => commands::demo::run(loaded, args).await,
        Command::Gateway => commands::run::run(loaded, &[Role::Gateway]).await,
        Command::Payment => commands::run::run(loaded, &[Role::Payment]).await,
        Command::Notifier => commands::run::run(loaded, &[Role::Notifier]).await,
        Command::Projector => commands::run::run(loaded, &[Role::Projector]).await,
        Command::Run { roles } => commands::run::run(loaded, &roles).await,
        Command::Sandbox { part } => commands::sandbox::run(loaded, &part).await,
        Command::Topics { action: TopicsAction::Apply } => commands::topics::apply(loaded).await,
        Command::Schemas { action: SchemasAction::Register } => {
            commands::schemas::register(loaded).await
        }
        Command::Schemas { action: SchemasAction::Check } => commands::schemas::check(loaded).await,
        Command::Store { action } => commands::store::run(loaded, action).await,
        Command::Tail(args) => commands::tail::run(loaded, args).await,
        Command::Audit(args) => commands::audit::run(loaded, args).await,
        Command::Dlq { action } => commands::dlq::run(loaded, action).await,
        Command::Orders { action } => commands::orders::run(loaded, action).await,
        Command::Payments { action } => commands::payments::run(loaded, action).await,
        Command::Bench { what } => commands::bench::run(loaded, cli.settings, what).await,
        Command::Mail { action: MailAction::Preview { out } } => {
            commands::mail::preview(&loaded, &out)
        }
        Command::Config { action } => match action {
            ConfigAction::Check => commands::config::check(&loaded),
            ConfigAction::Show => commands::config::show(&loaded),
            ConfigAction::HashKey => commands::config::hash_key(),
        },
        Command::Schema { kind: SchemaKind::Graphql } => Ok(()),
    }
}
