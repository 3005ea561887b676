//! `comanda bench gateway`: the cases in turn, each on topics of its own on the same broker.
//!
//! The gateway, and the bare client, are processes of their own (`case`, `produce`); the orders
//! come from this one (`load` with `client` and `request`, or `idle` for subscriptions), so that
//! what they cost is not the gateway's. `tickets` decides who sends when; `report` adds up.

mod case;
mod client;
mod idle;
mod load;
mod produce;
mod report;
mod request;
mod tickets;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_producer::Producer;
use comanda_schemas::{Encoder, Registry, Topic, TopicNames};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub use case::run as case;
use case::{Line, Produced, Role, Spec};
use report::{Report, Results};
use request::{Request, Shape};
use tickets::Tickets;

use super::latency::{self, Latency, Pace};
use super::meter::{self, Measured, Process};
use super::only;
use super::process::{Running, Starter};
use super::scratch::{self, Scratch};
use crate::cli::{BenchGatewayArgs, SettingsArgs};
use crate::config::{Loaded, Settings};

/// Latency is measured at this share of the gateway's best rate.
const SHARE: f64 = 0.1;
/// Orders in a batch.
const BATCH: usize = 100;
/// Files that a process has open besides its connections.
const OTHER_FILES: u64 = 200;
/// What a case takes besides warm-up and measurement, as a guess for people.
const AROUND: Duration = Duration::from_millis(1_500);

/// What a case measures.
#[derive(Debug, Clone, Copy)]
enum What {
    /// The bare client.
    Raw,
    /// A gateway.
    Gateway { publishes: bool, shape: Shape },
}

const ONE: Shape = Shape { orders: 1, keyed: true };
const GATEWAY: What = What::Gateway { publishes: true, shape: ONE };

/// Cases at full load.
const FULL: [(&str, What); 5] = [
    ("raw", What::Raw),
    ("gateway", GATEWAY),
    ("gateway_no_key", What::Gateway { publishes: true, shape: Shape { orders: 1, keyed: false } }),
    ("gateway_no_publish", What::Gateway { publishes: false, shape: ONE }),
    (
        "gateway_batch",
        What::Gateway { publishes: true, shape: Shape { orders: BATCH, keyed: true } },
    ),
];
/// Cases at the pace.
const PACED: [(&str, What); 2] = [("raw_paced", What::Raw), ("gateway_paced", GATEWAY)];
/// The case that is about memory.
const IDLE: &str = "idle";

/// Measures all cases, prints what they come to, and leaves nothing behind.
pub async fn run(loaded: Loaded, settings: SettingsArgs, args: BenchGatewayArgs) -> Result<()> {
    let starter = Starter::new(&settings)?;
    let settings = loaded.settings;
    check(&args.only)?;
    allow(&args)?;
    let (results, deleted) = scratch::with(&settings, async |scratch, stop| {
        let bench = Bench { settings: &settings, args: &args, starter: &starter, scratch, stop };
        bench.measure().await
    })
    .await?;
    let results = results?;
    let report = Report::of(&results);
    say!("{}", report.table(&results));
    if args.json {
        say!("{}", serde_json::to_string(&report)?);
    }
    deleted
}

/// The names of all cases.
fn cases() -> Vec<String> {
    FULL.iter().chain(&PACED).map(|(name, _)| *name).chain([IDLE]).map(str::to_owned).collect()
}

/// Whether all names are those of cases, and what they need is among them.
fn check(only: &[String]) -> Result<()> {
    only::check(only, &cases(), PACED.map(|(name, _)| name), "gateway")
}

/// Sees to it that as many connections are possible as are wanted. Children have the same limit.
fn allow(args: &BenchGatewayArgs) -> Result<()> {
    let wanted = u64::from(args.connections.max(args.subscriptions)) + OTHER_FILES;
    let limit = rlimit::increase_nofile_limit(wanted).context("the limit of open files")?;
    if limit < wanted {
        bail!("{wanted} open files are needed and {limit} allowed; raise `ulimit -n`");
    }
    Ok(())
}

/// A gateway in a process of its own.
pub struct Gateway {
    running: Running,
    names: TopicNames,
    graphql: SocketAddr,
    admin: SocketAddr,
    key: String,
    _store: TempDir,
}

impl Gateway {
    fn process(&self) -> Process {
        self.running.process()
    }
}

/// A run.
struct Bench<'a> {
    settings: &'a Settings,
    args: &'a BenchGatewayArgs,
    starter: &'a Starter,
    scratch: &'a Scratch,
    stop: CancellationToken,
}

impl Bench<'_> {
    async fn measure(&self) -> Result<Results> {
        let mut results = Results::default();
        note!("this takes about {} s", self.guess().as_secs());
        // A broker that has just started is slow at first; whoever comes first would pay for it.
        self.case("warm-up", What::Raw, None).await?;
        if self.wants(IDLE) {
            results.memory = Some(self.idle().await?);
        }
        for round in 0..self.args.rounds {
            // There and back, so that no case is always the first or the last.
            let mut cases = FULL;
            if round % 2 == 1 {
                cases.reverse();
            }
            self.all(&cases, None, &mut results).await?;
        }
        let Some(rate) = results.figures.rate("gateway") else { return Ok(results) };
        let pace = Pace::new(rate * SHARE, self.args.seconds);
        if PACED.iter().any(|(name, _)| self.wants(name)) {
            note!("now at {:.0} orders/s", rate * SHARE);
        }
        for _ in 0..self.args.rounds {
            self.all(&PACED, Some(pace), &mut results).await?;
        }
        Ok(results)
    }

    fn wants(&self, case: &str) -> bool {
        only::wants(&self.args.only, case)
    }

    /// How long a run takes.
    fn guess(&self) -> Duration {
        let wanted = |cases: &[(&str, What)]| {
            cases.iter().filter(|(name, _)| self.wants(name)).count() as u32 * self.args.rounds
        };
        let around = Duration::from_secs(self.args.seconds) + AROUND;
        let full = (meter::WARM + around) * (1 + wanted(&FULL));
        let paced = (latency::WARM + around) * wanted(&PACED);
        full + paced
    }

    async fn all(
        &self,
        cases: &[(&'static str, What)],
        pace: Option<Pace>,
        results: &mut Results,
    ) -> Result<()> {
        for (name, what) in cases.iter().filter(|(name, _)| self.wants(name)) {
            let (measured, latency, load) = self.case(name, *what, pace).await?;
            results.figures.add(name, measured);
            results.figures.add_latency(name, latency);
            if let Some(load) = load {
                results.load.add(name, load);
            }
        }
        Ok(())
    }

    /// What a case costs, how long its orders take, and what the load costs where it is another
    /// process.
    async fn case(
        &self,
        name: &str,
        what: What,
        pace: Option<Pace>,
    ) -> Result<(Measured, Latency, Option<Measured>)> {
        let outcome = match what {
            What::Raw => self.raw(name, pace).await.map(|(m, latency)| (m, latency, None)),
            What::Gateway { publishes, shape } => self.gateway(name, publishes, shape, pace).await,
        };
        let outcome = outcome.with_context(|| name.to_owned())?;
        let (rate, cpu, Latency { median, p99, .. }) =
            (outcome.0.rate(), outcome.0.cpu_us(), outcome.1);
        note!(
            "{name:<20}{rate:>10.0} orders/s{cpu:>10.2} µs CPU{median:>10.2} ms, p99 {p99:.2} ms"
        );
        self.scratch.delete().await?;
        Ok(outcome)
    }

    async fn raw(&self, name: &str, pace: Option<Pace>) -> Result<(Measured, Latency)> {
        let names = self.scratch.make(name).await?;
        let role = Role::Produce { tasks: self.args.connections, pace };
        let mut running = self.start(role, &names)?;
        let Line::Produced(Produced { measured, latency, orders }) = said(&mut running).await?
        else {
            bail!("the bare client says something else than its figures");
        };
        running.end().await?;
        self.verify(&names, orders).await?;
        Ok((measured, latency))
    }

    async fn gateway(
        &self,
        name: &str,
        publishes: bool,
        shape: Shape,
        pace: Option<Pace>,
    ) -> Result<(Measured, Latency, Option<Measured>)> {
        let gateway = self.serve(name, publishes).await?;
        let (request, connections) = (Request::new(shape, &gateway.key), self.connections(shape));
        let tickets = Tickets::new(pace, &self.stop);
        let mut load = load::start(gateway.graphql, request, connections, tickets.clone());
        let (process, this) = (gateway.process(), Process::this());
        let (measured, sent) = tokio::select! {
            both = async {
                let seconds = self.args.seconds;
                tokio::try_join!(tickets.follow(&process, seconds), tickets.follow(&this, seconds))
            } => both?,
            ended = &mut load => {
                ended??;
                bail!("the load ended before it was measured");
            }
        };
        tickets.end();
        let latency = Latency::of(load.await??)?;
        let Gateway { running, names, .. } = gateway;
        running.end().await?;
        self.verify(&names, if publishes { tickets.done() } else { 0 }).await?;
        Ok((measured, latency, Some(sent)))
    }

    /// As many as were asked for; fewer where their batches would be more than the producer takes
    /// at one time.
    fn connections(&self, shape: Shape) -> u32 {
        let room = self.settings.producer.max_in_flight_records / (2 * shape.orders as u64);
        self.args.connections.min(room.max(1).try_into().unwrap_or(u32::MAX))
    }

    async fn idle(&self) -> Result<idle::Memory> {
        let gateway = self.serve(IDLE, true).await?;
        let settings = self.settings;
        let registry = Registry::new(&settings.registry)?;
        let id = registry.resolve(&settings.topics.names(), Topic::Orders).await?;
        let (encoder, topic) = (Encoder::new(id), gateway.names.name(Topic::Orders));
        let (producer, kafka) = (&settings.producer, &settings.kafka);
        let events = Producer::start(producer, kafka, topic, encoder, "/comanda/gateway")?;
        let measuring = idle::measure(&gateway, events, self.args.subscriptions);
        let memory = measuring.await.context(IDLE)?;
        let (idle, each) = (memory.idle_gateway_rss_bytes, memory.bytes_per_idle_subscription);
        note!("{IDLE:<20}{idle:>10} bytes{each:>10} bytes a subscription");
        gateway.running.end().await?;
        self.scratch.delete().await?;
        Ok(memory)
    }

    /// Starts a gateway on new topics and an empty order store.
    async fn serve(&self, name: &str, publishes: bool) -> Result<Gateway> {
        let names = self.scratch.make(name).await?;
        let folder = tempfile::tempdir().context("a folder for the order store")?;
        let (key, store) = (uuid::Uuid::new_v4().to_string(), folder.path().join("orders.db"));
        let max_connections =
            self.args.connections.max(self.args.subscriptions) + OTHER_FILES as u32;
        let role = Role::Serve { key: key.clone(), store, publishes, max_connections };
        let mut running = self.start(role, &names)?;
        let Line::Listens { graphql, admin } = said(&mut running).await? else {
            bail!("the gateway says something else than its address");
        };
        Ok(Gateway { running, names, graphql, admin, key, _store: folder })
    }

    fn start(&self, role: Role, names: &TopicNames) -> Result<Running> {
        let spec = Spec { role, names: names.clone(), seconds: self.args.seconds };
        let spec = serde_json::to_string(&spec)?;
        self.starter.start(&["bench", "gateway-case", &spec], None)
    }

    /// Every order that was acknowledged is in the topic, and nothing else.
    async fn verify(&self, names: &TopicNames, orders: u64) -> Result<()> {
        let stored = self.scratch.stored(names).await?;
        if stored != orders {
            bail!("{orders} orders were acknowledged, and {stored} are in the topic");
        }
        Ok(())
    }
}

async fn said(running: &mut Running) -> Result<Line> {
    Ok(serde_json::from_str(&running.line().await?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cases_that_exist_and_can_run_are_taken() {
        let check = |only: &str| check(&only.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert!(super::check(&[]).is_ok());
        assert!(check("raw,gateway,gateway_paced").is_ok());
        assert!(check("gateway_batch,idle").is_ok());
        let unknown = check("raw,engine").unwrap_err().to_string();
        assert!(unknown.contains("engine") && unknown.contains("gateway_no_key"), "{unknown}");
        assert!(check("raw_paced").is_err());
    }
}
