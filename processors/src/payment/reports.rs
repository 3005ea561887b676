//! What the topic of payment reports says: whose outcome is open, and what operators know of it.
//!
//! A processor that is started anew has forgotten what it held; from here it knows which outcomes
//! were open, so that it looks them up before it sends anything and does not give them up. A report
//! that comes while an order is held has it looked up at once. There are few such reports, and a
//! thread reads them all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use comanda_schemas::scan::{From, Scan, ScanError, Step};
use comanda_schemas::{
    KafkaOptions, OrderEvent, OrderId, PaymentReport, PaymentReportType, ReadError, ReadTries,
    Registry, headers,
};
use rdkafka::Message as _;
use tokio::runtime::Handle;
use tokio::sync::{Notify, SetOnce};
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
    /// Whether there is anything in `known`: each order asks, and mostly there is nothing.
    is_any_known: AtomicBool,
    caught_up: SetOnce<()>,
    /// Those who want to hear of a payment's outcome.
    listeners: Mutex<HashMap<About, Arc<Notify>>>,
}

/// Whose payment: the order, and the version of its event.
type About = (OrderId, i32);

/// One who is told until it is dropped.
struct Listener {
    shared: Arc<Shared>,
    about: About,
    news: Arc<Notify>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.shared.listeners();
        // Another one may have taken its place, where the partition was lost and came back.
        if listeners.get(&self.about).is_some_and(|news| Arc::ptr_eq(news, &self.news)) {
            listeners.remove(&self.about);
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    /// Ids of reports.
    doubts: HashSet<Uuid>,
    doubts_by_age: VecDeque<Uuid>,
    resolved: HashMap<About, PaymentReport>,
    resolved_by_age: VecDeque<About>,
}

impl Shared {
    fn listeners(&self) -> MutexGuard<'_, HashMap<About, Arc<Notify>>> {
        self.listeners.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Known {
    fn doubt(&mut self, report: Uuid) {
        if self.doubts.insert(report) {
            self.doubts_by_age.push_back(report);
        }
        if self.doubts_by_age.len() > REMEMBERED
            && let Some(oldest) = self.doubts_by_age.pop_front()
        {
            self.doubts.remove(&oldest);
        }
    }

    fn resolve(&mut self, report: PaymentReport) {
        let about = (report.order_id, report.version);
        if self.resolved.insert(about, report).is_none() {
            self.resolved_by_age.push_back(about);
        }
        if self.resolved_by_age.len() > REMEMBERED
            && let Some(oldest) = self.resolved_by_age.pop_front()
        {
            self.resolved.remove(&oldest);
        }
    }
}

impl Reports {
    /// None, and none to wait for.
    pub fn none() -> Self {
        let reports = Self::to_follow();
        reports.set_caught_up();
        reports
    }

    /// Those that [`Reports::follow`] will read; payments wait until it has.
    pub fn to_follow() -> Self {
        Self(Arc::new(Shared {
            known: Mutex::default(),
            is_any_known: AtomicBool::new(false),
            caught_up: SetOnce::new(),
            listeners: Mutex::default(),
        }))
    }

    pub(super) fn set_caught_up(&self) {
        // It may be so already.
        let _ = self.0.caught_up.set(());
    }

    /// Waits until all is known that was reported before the start.
    pub(super) async fn caught_up(&self) {
        self.0.caught_up.wait().await;
    }

    /// Whether the outcome of `event` was open once.
    pub(super) fn is_in_doubt(&self, event: &OrderEvent) -> bool {
        self.is_any_known()
            && self.known().doubts.contains(&PaymentReport::in_doubt_id(event.event_id))
    }

    /// What an operator said last of the payment of `event`.
    pub(super) fn resolved(&self, event: &OrderEvent) -> Option<PaymentReport> {
        if !self.is_any_known() {
            return None;
        }
        self.known().resolved.get(&(event.order_id, event.version)).cloned()
    }

    /// Ends when somebody says, after this call, how the payment of `event` ended.
    pub(super) fn news(&self, event: &OrderEvent) -> impl Future<Output = ()> + use<> {
        let about = (event.order_id, event.version);
        let news = Arc::new(Notify::new());
        self.0.listeners().insert(about, news.clone());
        let listener = Listener { shared: self.0.clone(), about, news };
        async move { listener.news.notified().await }
    }

    fn is_any_known(&self) -> bool {
        self.0.is_any_known.load(Ordering::Acquire)
    }

    /// Takes note of a report.
    pub(super) fn add(&self, report: PaymentReport) {
        match report.r#type {
            PaymentReportType::InDoubt => {
                self.known().doubt(report.event_id);
                self.0.is_any_known.store(true, Ordering::Release);
            }
            PaymentReportType::Resolved => {
                let about = (report.order_id, report.version);
                self.known().resolve(report);
                self.0.is_any_known.store(true, Ordering::Release);
                self.tell(about);
            }
            // What it is worth is for the provider's books to say: it is looked up.
            PaymentReportType::Reported => self.tell((report.order_id, report.version)),
            PaymentReportType::Unknown => {}
        }
    }

    fn tell(&self, about: About) {
        if let Some(news) = self.0.listeners().get(&about) {
            news.notify_one();
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
                Step::End => self.set_caught_up(),
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
