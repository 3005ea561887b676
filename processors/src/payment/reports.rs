//! What the topic of payment reports says: whose outcome is open, and what operators know of it.
//!
//! A processor that is started anew has forgotten what it held; from here it knows that an outcome
//! is open which it must not give up. There are few such reports, and a thread reads them all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use comanda_schemas::scan::{From, Scan, ScanError, Step};
use comanda_schemas::{
    KafkaOptions, OrderEvent, OrderId, PaymentReport, PaymentReportType, ReadError, ReadTries,
    Registry, headers,
};
use rdkafka::Message as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

/// Doubts, and words of operators, that are remembered; some ten megabytes each.
const REMEMBERED: usize = 100_000;
/// How long one look for the next report takes.
const LOOK: Duration = Duration::from_millis(200);
/// Pause after the topic could not be read.
const AGAIN: Duration = Duration::from_secs(2);

/// What is known from the topic; clones share it.
#[derive(Debug, Clone)]
pub struct Reports(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    caught_up: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    /// Ids of reports.
    doubts: HashSet<Uuid>,
    doubts_by_age: VecDeque<Uuid>,
    resolved: HashMap<(OrderId, i32), PaymentReport>,
    resolved_by_age: VecDeque<(OrderId, i32)>,
}

impl Reports {
    /// None, and none to wait for.
    pub fn none() -> Self {
        Self::new(true)
    }

    /// Those that [`Reports::follow`] will read; payments wait until it has.
    pub fn to_follow() -> Self {
        Self::new(false)
    }

    fn new(caught_up: bool) -> Self {
        let (known, caught_up) = (Mutex::default(), watch::Sender::new(caught_up));
        Self(Arc::new(Shared { known, caught_up }))
    }

    /// Waits until all is known that was reported before the start.
    pub(super) async fn caught_up(&self) {
        // Can't fail: we have the sender.
        let _ = self.0.caught_up.subscribe().wait_for(|caught_up| *caught_up).await;
    }

    /// Whether the outcome of `event` was open once.
    pub(super) fn is_in_doubt(&self, event: &OrderEvent) -> bool {
        self.known().doubts.contains(&PaymentReport::in_doubt_id(event.event_id))
    }

    /// What an operator said last of the payment of `event`.
    pub(super) fn resolved(&self, event: &OrderEvent) -> Option<PaymentReport> {
        self.known().resolved.get(&(event.order_id, event.version)).cloned()
    }

    /// Takes note of a report.
    pub(super) fn add(&self, report: PaymentReport) {
        let mut known = self.known();
        let Known { doubts, doubts_by_age, resolved, resolved_by_age } = &mut *known;
        match report.r#type {
            PaymentReportType::InDoubt => {
                if doubts.insert(report.event_id) {
                    doubts_by_age.push_back(report.event_id);
                }
                if doubts_by_age.len() > REMEMBERED
                    && let Some(oldest) = doubts_by_age.pop_front()
                {
                    doubts.remove(&oldest);
                }
            }
            PaymentReportType::Resolved => {
                let key = (report.order_id, report.version);
                if resolved.insert(key, report).is_none() {
                    resolved_by_age.push_back(key);
                }
                if resolved_by_age.len() > REMEMBERED
                    && let Some(oldest) = resolved_by_age.pop_front()
                {
                    resolved.remove(&oldest);
                }
            }
            // The next look-up, which is at hand, finds what the provider reports.
            PaymentReportType::Reported | PaymentReportType::Unknown => {}
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Reads the topic, from its beginning on, until `shutdown`. Blocking. Kafka and the registry
    /// are waited for as long as it takes.
    pub fn follow(
        &self,
        kafka: &KafkaOptions,
        topic: &str,
        registry: &Registry,
        runtime: &Handle,
        shutdown: &CancellationToken,
    ) {
        let pause = || runtime.block_on(shutdown.run_until_cancelled(tokio::time::sleep(AGAIN)));
        while !shutdown.is_cancelled() {
            if let Err(error) = self.read(kafka, topic, registry, runtime, shutdown) {
                let error = headers::error_chain(&error);
                warn!(topic, error, "payment reports can't be read, trying again");
                pause();
            }
        }
    }

    fn read(
        &self,
        kafka: &KafkaOptions,
        topic: &str,
        registry: &Registry,
        runtime: &Handle,
        shutdown: &CancellationToken,
    ) -> Result<(), ScanError> {
        let mut scan = Scan::open(kafka, topic, From::Beginning)?;
        while !shutdown.is_cancelled() {
            match scan.next(LOOK)? {
                Step::Record(record) => {
                    let value = record.payload().unwrap_or_default();
                    let decoded = decode(registry, value);
                    match runtime.block_on(shutdown.run_until_cancelled(decoded)) {
                        Some(Ok(report)) => self.add(report),
                        Some(Err(error)) => error!(
                            topic,
                            partition = record.partition(),
                            offset = record.offset(),
                            error = headers::error_chain(&error),
                            "undecodable payment report skipped"
                        ),
                        None => {}
                    }
                }
                Step::End => {
                    self.0.caught_up.send_replace(true);
                }
                Step::Idle => {}
            }
        }
        Ok(())
    }
}

async fn decode(registry: &Registry, value: &[u8]) -> Result<PaymentReport, ReadError> {
    let mut tries = ReadTries::default();
    loop {
        match registry.read(value).await {
            Err(error) if tries.again_after(&error) => tokio::time::sleep(AGAIN).await,
            decoded => return decoded,
        }
    }
}
