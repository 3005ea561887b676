//! The command line.

pub mod dlq;
mod mistake;
pub mod stuck;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub use mistake::parse;

/// Restaurant orders at volume: GraphQL in, Avro events on Kafka, payment, e-mail.
///
/// Without a command it runs `up`: everything in one process, on a sandbox.
#[derive(Debug, Parser)]
#[command(name = "comanda", version, propagate_version = true)]
pub struct Cli {
    /// Settings for every command.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where settings come from, beyond the environment (`COMANDA__SECTION__KEY`).
#[derive(Debug, Clone, Args)]
pub struct SettingsArgs {
    /// TOML file of settings; COMANDA_CONFIG names one too
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, e.g. topics.prefix=dev. (repeatable; wins over file and environment)
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Kafka to use, short for --set kafka.brokers=…
    #[arg(long, global = true, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Schema registry to use, short for --set registry.url=…
    #[arg(long, global = true, value_name = "URL")]
    pub registry: Option<String>,
}

impl SettingsArgs {
    /// All of the above as `section.key=value`, weakest first.
    pub fn overrides(&self) -> Vec<String> {
        let brokers = self.brokers.iter().map(|b| format!("kafka.brokers={b}"));
        let registry = self.registry.iter().map(|r| format!("registry.url={r}"));
        brokers.chain(registry).chain(self.set.iter().cloned()).collect()
    }
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process, on the sandbox or, with --brokers and --registry, on Kafka
    Up,
    /// Place sample orders, follow each to its e-mail, audit the topics; exits 0 only if all is well
    Demo(DemoArgs),
    /// Run the GraphQL gateway
    Gateway,
    /// Run the payment processor
    Payment,
    /// Run the notifier
    Notifier,
    /// Run the projector, which writes the order store
    Projector,
    /// Run several roles in one process
    Run {
        /// Which ones
        #[arg(required = true)]
        roles: Vec<Role>,
    },
    /// Run one part of the sandbox alone
    Sandbox {
        /// Which one
        #[command(subcommand)]
        part: SandboxPart,
    },
    /// Create or verify the topics
    Topics {
        /// What to do
        #[command(subcommand)]
        action: TopicsAction,
    },
    /// Register or check the schemas
    Schemas {
        /// What to do
        #[command(subcommand)]
        action: SchemasAction,
    },
    /// Migrate the order store, or fill a new one from the topics
    Store {
        /// What to do
        #[command(subcommand)]
        action: StoreAction,
    },
    /// Print the events of a topic, decoded, one JSON object a line
    Tail(TailArgs),
    /// Read the topics and prove or disprove the promises; exits 0 only if they hold
    Audit(AuditArgs),
    /// List, show or redrive dead letters
    Dlq {
        /// What to do
        #[command(subcommand)]
        action: dlq::DlqAction,
    },
    /// List orders that wait for a result for too long
    Orders {
        /// What to do
        #[command(subcommand)]
        action: stuck::OrdersAction,
    },
    /// List payments whose outcome nobody knows, or say how one ended
    Payments {
        /// What to do
        #[command(subcommand)]
        action: stuck::PaymentsAction,
    },
    /// Measure comanda on a broker, as ratios to the bare client library on the same one
    Bench {
        /// What to measure
        #[command(subcommand)]
        what: BenchWhat,
    },
    /// Show what the mails look like
    Mail {
        /// What to do
        #[command(subcommand)]
        action: MailAction,
    },
    /// Validate or show the settings, or hash an API key
    Config {
        /// What to do
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print a schema of the interface
    Schema {
        /// Which one
        #[command(subcommand)]
        kind: SchemaKind,
    },
}

/// A part of comanda that can run in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Role {
    /// GraphQL in, order events out
    Gateway,
    /// Charges orders
    Payment,
    /// E-mails outcomes
    Notifier,
    /// Writes the order store
    Projector,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::Gateway, Role::Payment, Role::Notifier, Role::Projector];

    /// Name in `/readyz`, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Payment => "payment",
            Role::Notifier => "notifier",
            Role::Projector => "projector",
        }
    }
}

/// A part of the sandbox.
#[derive(Debug, Subcommand)]
pub enum SandboxPart {
    /// The in-memory Kafka broker
    Broker,
    /// The schema registry
    Registry(ListenArgs),
    /// The payment provider
    Payment(ListenArgs),
    /// The mailbox
    Mailbox(ListenArgs),
}

/// Where a part of the sandbox listens.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Address instead of the configured one; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,
}

/// `topics …`
#[derive(Debug, Subcommand)]
pub enum TopicsAction {
    /// Create what is missing and verify what is there
    Apply,
}

/// `schemas …`
#[derive(Debug, Subcommand)]
pub enum SchemasAction {
    /// Register the schemas and set the subjects' compatibility to FULL_TRANSITIVE
    Register,
    /// Check that the schemas are compatible with what is registered
    Check,
}

/// `store …`
#[derive(Debug, Subcommand)]
pub enum StoreAction {
    /// Bring the tables of the order store to this build's form, while others go on with the old one
    Migrate(MigrateArgs),
    /// Fill a new order store from the topics, beside the one in use
    Rebuild(RebuildArgs),
    /// Have a topic that was deleted and made anew read from its beginning, keeping what the order
    /// store has
    Reread(RereadArgs),
}

/// `store reread …`
#[derive(Debug, Args)]
pub struct RereadArgs {
    /// Full name of the topic, with its prefix
    pub topic: String,
}

/// `store migrate …`
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Remove the tables of the older form after that; processes of the last build need them
    #[arg(long)]
    pub drop_old_tables: bool,
}

/// `store rebuild …`
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// The new store, as store.url names one: a SQLite file or an empty PostgreSQL database
    #[arg(long, value_name = "URL")]
    pub into: String,
    /// Go on though the topics have lost their oldest records to retention: orders that only the
    /// store in use still has will be missing
    #[arg(long)]
    pub partial: bool,
}

/// `config …`
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Validate the settings
    Check,
    /// Print the effective settings and where each comes from, secrets masked
    Show,
    /// Print the hash of an API key, read from standard input, for gateway.api_keys and its file
    HashKey,
}

/// `mail …`
#[derive(Debug, Subcommand)]
pub enum MailAction {
    /// Write each kind of mail for bundled samples, in the configured language and templates
    Preview {
        /// Folder to write to; made if it is missing, files of the same names are replaced
        #[arg(long, default_value = "mail-preview", value_name = "FOLDER")]
        out: PathBuf,
    },
}

/// `schema …`
#[derive(Debug, Subcommand)]
pub enum SchemaKind {
    /// The GraphQL schema (SDL)
    Graphql,
}

/// `demo …`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many orders to place
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub orders: u32,
    /// Orders a second at the most; unlimited if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Option<u32>,
    /// How long to wait for the last result and mail
    #[arg(long, default_value = "120", value_name = "SECONDS")]
    pub patience: u64,
    /// End the output with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `audit …`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Count only what was stored at or after this time (RFC 3339, or an age such as 15m, 2h, 1d)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// End the output with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `bench …`
#[derive(Debug, Subcommand)]
pub enum BenchWhat {
    /// The engine under the processors: alone, and with calls to a payment provider
    Engine(BenchEngineArgs),
    /// The gateway: orders over HTTP, alone and in batches, and idle subscriptions
    Gateway(BenchGatewayArgs),
    /// One case, in a process of its own
    #[command(hide = true)]
    Case {
        /// What to do, as `bench engine` writes it
        spec: String,
    },
    /// One case of `bench gateway`, in a process of its own
    #[command(hide = true)]
    GatewayCase {
        /// What to do, as `bench gateway` writes it
        spec: String,
    },
}

/// `bench engine …`
#[derive(Debug, Args)]
pub struct BenchEngineArgs {
    /// Orders in each case
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(50_000..=10_000_000))]
    pub orders: u64,
    /// How long to measure each case at the most
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// How often to measure what raw and engine do; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Only these cases, e.g. raw,engine; raw_paced and engine_paced are the latencies
    #[arg(long, value_delimiter = ',', value_name = "CASE,…")]
    pub only: Vec<String>,
    /// End the output with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `bench gateway …`
#[derive(Debug, Args)]
pub struct BenchGatewayArgs {
    /// Connections that place orders, each waiting for its answer; and tasks of the bare client
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8_000))]
    pub connections: u32,
    /// WebSockets with an idle subscription
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub subscriptions: u32,
    /// How long to measure each case, after its warm-up
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// How often to measure each case; the median counts
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Only these cases, e.g. raw,gateway; raw_paced and gateway_paced are the latencies
    #[arg(long, value_delimiter = ',', value_name = "CASE,…")]
    pub only: Vec<String>,
    /// End the output with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `tail …`
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Topic: orders, payments, notifications, payment-reports, or the full name of any topic
    pub topic: String,
    /// Where to begin: beginning, end, a time (RFC 3339) or an age such as 15m
    #[arg(long, default_value = "end", value_name = "POINT")]
    pub from: String,
    /// Only events of this order
    #[arg(long, value_name = "ID")]
    pub order: Option<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn commands_and_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
