//! One case, in a process of its own: it works, measures itself and says one line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_processors::engine::{self, Engine};
use comanda_processors::payment::Payment;
use comanda_processors::{Input, Outcome, Processor};
use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{
    Encoder, OrderEvent, Payment as PaymentRecord, PaymentEvent, PaymentEventType, Registry,
    Source, Stage, Timestamp, Topic, TopicNames,
};
use metrics_exporter_prometheus::PrometheusHandle;
use rdkafka::Message as _;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::load::Orders;
use super::meter::{self, Measured, Process};
use super::process::say;
use super::{http, raw};
use crate::config::{Loaded, Settings};
use crate::{signals, telemetry};

/// How often a case looks whether it is ready.
const LOOK: Duration = Duration::from_millis(10);
/// The results must be readable this long after the last commit.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a case does with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The bare client library.
    Raw {
        /// Whether its results have the headers of events, as those of the engine have.
        headers: bool,
        /// How long its batches wait for more results, in milliseconds.
        linger_ms: u32,
    },
    /// The engine, with a processor that only makes the result.
    Engine,
    /// The engine, with the payment processor.
    Payment,
    /// The payment processor without engine and Kafka.
    HttpOnly,
}

/// A case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// What to do.
    pub kind: Kind,
    /// Its topics.
    pub names: TopicNames,
    /// Orders in them, or still to come; all are done at the most.
    pub orders: u64,
    /// How long to measure at the most, in seconds.
    pub seconds: u64,
    /// The orders themselves, for who does not read them from Kafka.
    pub made: Orders,
}

/// What a case says on its standard output, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// It reads its topic.
    Ready,
    /// It is over; its figures.
    Measured(Measured),
}

/// Work under way, as seen from where it is measured.
pub struct Work {
    /// Orders whose results are committed.
    pub done: Box<dyn Fn() -> u64 + Send>,
    /// Whether it reads its topic.
    pub ready: Box<dyn Fn() -> bool + Send>,
    /// Its end, after it was stopped.
    pub ended: JoinHandle<Result<()>>,
}

/// What every case needs.
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// The case.
    pub spec: Spec,
    /// Knows the schemas of orders and payments.
    pub registry: Registry,
    /// Id of the payments' schema.
    pub payments_id: u32,
    /// Stops the work.
    pub stop: CancellationToken,
}

/// Runs the case that `spec` describes.
pub async fn run(loaded: Loaded, spec: &str) -> Result<()> {
    let interrupted = signals::shutdown_token()?;
    stop_with_parent(interrupted.clone());
    let spec: Spec = serde_json::from_str(spec).context("this command is for `bench` alone")?;
    let mut settings = loaded.settings;
    // The group is new, so nobody can have sent what is there.
    settings.payment.look_up_repeats = false;
    let registry = Registry::new(&settings.registry)?;
    // Under the usual names: the topics of a run come and go, the registry keeps its subjects.
    let usual = settings.topics.names();
    registry.resolve(&usual, Topic::Orders).await?;
    let payments_id = registry.resolve(&usual, Topic::Payments).await?;
    let stop = interrupted.child_token();
    // On an error as well: the process can't end while a thread of it still works.
    let _stops = stop.clone().drop_guard();
    let parts = Parts { settings, spec, registry, payments_id, stop: stop.clone() };

    let work = match parts.spec.kind {
        Kind::Raw { headers, linger_ms } => raw::start(&parts, headers, linger_ms)?,
        Kind::Engine => start_engine(&parts, Nothing)?,
        Kind::Payment => start_engine(&parts, Payment::new(parts.settings.payment.clone())?)?,
        Kind::HttpOnly => http::start(&parts)?,
    };
    let Work { done, ready, mut ended } = work;
    let limit = Duration::from_secs(parts.spec.seconds);
    let measured = async {
        while !ready() {
            tokio::time::sleep(LOOK).await;
        }
        say(&Line::Ready)?;
        meter::follow(&Process::this(), &done, parts.spec.orders, limit, &interrupted).await
    };
    let measured = tokio::select! {
        measured = measured => measured?,
        end = &mut ended => {
            end??;
            bail!("the case ended before it was measured");
        }
    };
    stop.cancel();
    ended.await??;
    if parts.spec.kind != Kind::HttpOnly {
        verify(&parts, done()).await?;
    }
    say(&Line::Measured(measured))
}

/// Without the process that started this one, nobody wants to know.
pub fn stop_with_parent(stop: CancellationToken) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop.cancel();
    });
}

/// A processor that does nothing but make the result.
struct Nothing;

impl Processor for Nothing {
    type In = OrderEvent;
    type Out = PaymentEvent;
    type Note = PaymentEvent;
    const STAGE: Stage = Stage::Payment;

    async fn handle(&self, input: &Input<OrderEvent>) -> Outcome<PaymentEvent> {
        Outcome::Emit(result(input.event.clone(), input.source.clone()))
    }
}

/// The payment event of an order that was charged.
pub fn result(event: OrderEvent, source: Source) -> PaymentEvent {
    PaymentEvent {
        event_id: PaymentEvent::derive_id(event.event_id),
        r#type: PaymentEventType::Succeeded,
        order_id: event.order_id,
        version: event.version,
        occurred_at: Timestamp::now(),
        payment: PaymentRecord {
            provider: "bench".into(),
            payment_id: None,
            amount_minor: event.order.total_minor,
            currency: event.order.currency,
            reason: None,
            detail: None,
            attempts: 0,
        },
        order: event.order,
        source,
    }
}

fn start_engine<P>(parts: &Parts, processor: P) -> Result<Work>
where
    P: Processor<In = OrderEvent, Out = PaymentEvent>,
{
    // As in production: metrics are part of what the engine costs.
    let metrics = telemetry::start_metrics()?;
    let Parts { settings, spec, registry, payments_id, stop } = parts;
    // A name by hand: the topics are this process's alone, and no claim is left behind.
    let options = engine::Options { instance: "bench".into(), ..settings.engine.clone() };
    // Nothing is held in a measurement, so no note is written.
    let encoders = (Encoder::new(*payments_id), Encoder::new(0));
    let engine = Engine::new(
        options,
        settings.kafka.clone(),
        &spec.names,
        registry.clone(),
        encoders,
        processor,
    )?;
    let (handle, stop) = (engine.handle(), stop.clone());
    Ok(Work {
        done: Box::new(move || committed(&metrics)),
        ready: Box::new(move || handle.is_ready()),
        ended: tokio::spawn(async move { Ok(engine.run_until_stopped(stop).await?) }),
    })
}

/// Orders whose results the engine has committed, as its metrics tell.
fn committed(metrics: &PrometheusHandle) -> u64 {
    let sum = format!("{}_{}_sum", engine::METRICS_PREFIX, engine::metrics::TRANSACTION_RECORDS);
    sum_of(&metrics.render(), &sum) as u64
}

/// Sum of the samples with this name in the text that Prometheus reads; 0 where it has none.
pub fn sum_of(text: &str, name: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        value.parse::<f64>().ok().filter(|_| labels.is_empty() || labels.starts_with('{'))
    });
    values.sum()
}

/// Reads all results: a case that lost or failed orders measured something else.
async fn verify(parts: &Parts, expected: u64) -> Result<()> {
    let kafka = parts.settings.kafka.clone();
    let topic = parts.spec.names.name(Topic::Payments);
    let registry = parts.registry.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut scan = Scan::open(&kafka, &topic, From::Beginning)?;
        let mut charged = 0;
        loop {
            match scan.next(PATIENCE)? {
                Step::Record(record) => {
                    let value = record.payload().unwrap_or_default();
                    let event = registry.read_known::<PaymentEvent>(value);
                    let event = event.context("a result of an unknown schema")??;
                    charged += u64::from(event.r#type == PaymentEventType::Succeeded);
                }
                Step::End => return anyhow::Ok(charged),
                Step::Idle => bail!("the broker does not answer"),
            }
        }
    });
    let charged = read.await??;
    if charged != expected {
        bail!("{expected} orders were committed, and {charged} have a good result");
    }
    Ok(())
}

/// A flag and a count that a thread shows to the meter.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    ready: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Shown {
    /// It reads its topic now.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// So many more orders are done.
    pub fn add(&self, orders: u64) {
        self.done.fetch_add(orders, Ordering::Relaxed);
    }

    /// As work that ends with `ended`.
    pub fn work(self, ended: JoinHandle<Result<()>>) -> Work {
        let Self { ready, done } = self;
        Work {
            done: Box::new(move || done.load(Ordering::Relaxed)),
            ready: Box::new(move || ready.load(Ordering::Acquire)),
            ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_read_from_the_text_of_the_metrics() {
        let text = "# TYPE a_records histogram\n\
                    a_records_bucket{stage=\"payment\",le=\"+Inf\"} 3\n\
                    a_records_sum{stage=\"payment\"} 1500\n\
                    a_records_count{stage=\"payment\"} 3\n\
                    a_records_sum{stage=\"notifier\"} 7\n\
                    a_records_summary_sum 9\n";
        assert_eq!(sum_of(text, "a_records_sum"), 1507.0);
        assert_eq!(sum_of(text, "b_records_sum"), 0.0);
    }

    #[test]
    fn a_gauge_is_read_by_its_whole_name() {
        let text = "# TYPE a_open gauge\na_open_total 9\na_open 1001\n";
        assert_eq!(sum_of(text, "a_open"), 1001.0);
        assert_eq!(sum_of(text, "b_open"), 0.0);
    }

    #[test]
    fn a_case_survives_the_way_to_its_process() {
        let names = TopicNames {
            prefix: "p.".into(),
            orders: "o".into(),
            payments: "p".into(),
            notifications: "n".into(),
            payment_reports: "r".into(),
        };
        let kind = Kind::Raw { headers: true, linger_ms: 3 };
        let spec = Spec { kind, names, orders: 5, seconds: 1, made: Orders::new() };
        let text = serde_json::to_string(&spec).unwrap();
        let read: Spec = serde_json::from_str(&text).unwrap();
        assert_eq!(read.kind, kind);
        assert_eq!(read.made.event(3), spec.made.event(3));
        assert_eq!(read.names.name(Topic::Orders), "p.o");
    }
}
