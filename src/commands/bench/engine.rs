//! `comanda bench engine`: the cases in turn, each on topics of its own on the same broker.

use std::time::Duration;

use anyhow::{Context, Result};
use comanda_schemas::{Registry, Topic, TopicNames};
use tokio_util::sync::CancellationToken;

use super::case::{Kind, Spec};
use super::figures::Figures;
use super::latency::{self, Latency, Pace};
use super::load::{Load, Orders};
use super::meter::Measured;
use super::only;
use super::process::Starter;
use super::report::Report;
use super::scratch::{self, Scratch};
use crate::cli::{BenchEngineArgs, SettingsArgs};
use crate::config::{Loaded, Settings};

/// Times that the provider takes for a charge, in milliseconds.
const LATENCIES: [u64; 3] = [0, 20, 100];
/// What the engine is compared with: each time the bare client at its best, writing the same
/// records; and, because headers are a good part of a record's cost, one that leaves them out.
/// Without lingering, small batches fill the requests in flight, and librdkafka spins until one is
/// answered; at a pace it would only be a delay.
const RAW: Kind = Kind::Raw { headers: true, linger_ms: 2 };
const RAW_NO_HEADERS: Kind = Kind::Raw { headers: false, linger_ms: 2 };
const RAW_PACED: Kind = Kind::Raw { headers: true, linger_ms: 0 };
/// Latency is measured at this share of the engine's best rate.
const SHARE: f64 = 0.1;
/// Batches for what is written in one go; at a pace nothing waits.
const LINGER_MS: u32 = 5;
/// What a case at a pace may take longer than its orders.
const SLACK: Duration = Duration::from_secs(60);

/// Measures all cases, prints what they come to, and leaves nothing behind.
pub async fn run(loaded: Loaded, settings: SettingsArgs, args: BenchEngineArgs) -> Result<()> {
    let starter = Starter::new(&settings)?;
    let settings = loaded.settings;
    check(&args.only)?;
    let (figures, deleted) = scratch::with(&settings, async |scratch, stop| {
        Bench::open(&settings, &args, &starter, scratch, stop).await?.measure().await
    })
    .await?;
    let figures = figures?;
    let report = Report::of(&figures, settings.engine.max_in_flight_records);
    say!("{}", report.table(&figures));
    if args.json {
        say!("{}", serde_json::to_string(&report)?);
    }
    deleted
}

/// The names of all cases.
fn cases() -> Vec<String> {
    let fixed = ["raw", "engine", "raw_no_headers", "raw_paced", "engine_paced"];
    let http = LATENCIES.iter().flat_map(|ms| [format!("http_only{ms}"), format!("http{ms}")]);
    fixed.into_iter().map(str::to_owned).chain(http).collect()
}

/// Whether all names are those of cases, and what they need is among them.
fn check(only: &[String]) -> Result<()> {
    only::check(only, &cases(), ["raw_paced", "engine_paced"], "engine")
}

/// A run.
struct Bench<'a> {
    settings: &'a Settings,
    args: &'a BenchEngineArgs,
    starter: &'a Starter,
    scratch: &'a Scratch,
    stop: CancellationToken,
    orders: Orders,
    orders_id: u32,
}

impl<'a> Bench<'a> {
    async fn open(
        settings: &'a Settings,
        args: &'a BenchEngineArgs,
        starter: &'a Starter,
        scratch: &'a Scratch,
        stop: CancellationToken,
    ) -> Result<Self> {
        let registry = Registry::new(&settings.registry)?;
        let orders_id = registry
            .resolve(&settings.topics.names(), Topic::Orders)
            .await
            .context("resolving the schema of orders")?;
        Ok(Self { settings, args, starter, scratch, stop, orders: Orders::new(), orders_id })
    }

    async fn measure(&self) -> Result<Figures> {
        let mut figures = Figures::default();
        let orders = self.args.orders;
        // A broker that has just started is slow at first; whoever comes first would pay for it.
        self.throughput("warm-up", RAW, orders).await?;
        for _ in 0..self.args.rounds {
            for (name, kind) in
                [("raw", RAW), ("engine", Kind::Engine), ("raw_no_headers", RAW_NO_HEADERS)]
            {
                if self.wants(name) {
                    figures.add(name, self.throughput(name, kind, orders).await?);
                }
            }
        }
        for ms in LATENCIES {
            for (name, kind) in [("http_only", Kind::HttpOnly), ("http", Kind::Payment)] {
                let name = format!("{name}{ms}");
                if self.wants(&name) {
                    figures.add(&name, self.http(&name, kind, ms).await?);
                }
            }
        }
        let Some(rate) = figures.rate("engine") else { return Ok(figures) };
        let pace = Pace::new(rate * SHARE, self.args.seconds);
        note!("latency at {:.0} orders/s", rate * SHARE);
        for _ in 0..self.args.rounds {
            for (name, case, kind) in
                [("raw", "raw_paced", RAW_PACED), ("engine", "engine_paced", Kind::Engine)]
            {
                if self.wants(case) {
                    let (latency, measured) = self.paced(case, kind, pace).await?;
                    figures.add_latency(name, latency);
                    figures.add(case, measured);
                }
            }
        }
        Ok(figures)
    }

    fn wants(&self, case: &str) -> bool {
        only::wants(&self.args.only, case)
    }

    /// All orders are there before the case begins.
    async fn throughput(&self, name: &str, kind: Kind, orders: u64) -> Result<Measured> {
        let names = self.filled(name, orders).await?;
        let case = self.starter.case(&self.spec(kind, names, orders, self.args.seconds), None)?;
        let measured = case.measured().await.with_context(|| name.to_owned())?;
        self.tell(name, &measured);
        self.scratch.delete().await?;
        Ok(measured)
    }

    /// As above, with a payment provider that takes `ms`.
    async fn http(&self, name: &str, kind: Kind, ms: u64) -> Result<Measured> {
        let orders = self.args.orders;
        let names = match kind {
            Kind::HttpOnly => self.settings.topics.names(),
            _ => self.filled(name, orders).await?,
        };
        let provider = self.starter.provider(ms).await?;
        let spec = self.spec(kind, names, orders, self.args.seconds);
        let case = self.starter.case(&spec, Some(&provider))?;
        let measured = case.measured().await.with_context(|| name.to_owned())?;
        self.tell(name, &measured);
        self.scratch.delete().await?;
        Ok(measured)
    }

    /// Orders come at a pace once the case is ready.
    async fn paced(&self, name: &str, kind: Kind, pace: Pace) -> Result<(Latency, Measured)> {
        let names = self.scratch.make(name).await?;
        let limit = self.args.seconds + SLACK.as_secs();
        let spec = self.spec(kind, names.clone(), pace.orders, limit);
        let mut case = self.starter.case(&spec, None)?;
        case.ready().await.with_context(|| name.to_owned())?;
        let load = self.load(&names, 0)?;
        let (kafka, results) = (self.settings.kafka.clone(), names.name(Topic::Payments));
        let latency =
            latency::measure(pace, load, self.orders, kafka, results, self.stop.clone()).await?;
        let measured = case.measured().await.with_context(|| name.to_owned())?;
        note!("{name:<16}{:>12.2} ms{:>12.2} ms", latency.median, latency.p99);
        self.scratch.delete().await?;
        Ok((latency, measured))
    }

    fn spec(&self, kind: Kind, names: TopicNames, orders: u64, seconds: u64) -> Spec {
        Spec { kind, names, orders, seconds, made: self.orders }
    }

    fn load(&self, names: &TopicNames, linger_ms: u32) -> Result<Load> {
        let topic = names.name(Topic::Orders);
        Load::open(&self.settings.kafka, topic, self.orders_id, self.orders, linger_ms)
    }

    /// New topics with `orders` orders in them.
    async fn filled(&self, name: &str, orders: u64) -> Result<TopicNames> {
        let names = self.scratch.make(name).await?;
        let (load, stop) = (self.load(&names, LINGER_MS)?, self.stop.clone());
        let fill = move || load.fill(orders, &stop);
        let took = tokio::task::spawn_blocking(fill).await??;
        note!("{name:<16}{orders:>12} orders written in {:.1} s", took.as_secs_f64());
        Ok(names)
    }

    fn tell(&self, name: &str, measured: &Measured) {
        let Measured { orders, seconds, .. } = measured;
        let (rate, cpu) = (measured.rate(), measured.cpu_us());
        note!("{name:<16}{rate:>12.0} orders/s{cpu:>10.2} µs CPU ({orders} in {seconds:.1} s)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cases_that_exist_and_can_run_are_taken() {
        let check = |only: &str| check(&only.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert!(super::check(&[]).is_ok());
        assert!(check("raw,engine,raw_paced").is_ok());
        assert!(check("http20,http_only20").is_ok());
        let unknown = check("raw,http7").unwrap_err().to_string();
        assert!(unknown.contains("http7") && unknown.contains("http100"), "{unknown}");
        assert!(check("raw_paced").is_err());
    }
}
