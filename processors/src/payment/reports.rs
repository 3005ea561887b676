//! What the topic of payment reports says: whose outcome is open, and what operators know of it.
//!
//! A processor that is started anew has forgotten what it held; from here it knows which outcomes
//! were open, so that it looks them up before it sends anything and does not give them up. A report
//! that comes while an order is held has it looked up at once. There are few such reports, and a
//! thread reads them all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use comanda_schemas::scan::{From, Scan};
use comanda_schemas::{OrderEvent, OrderId, PaymentReport, PaymentReportType};
use tokio::sync::{Notify, SetOnce};
use uuid::Uuid;

use super::Followed;

/// Doubts, and words of operators, that are remembered; some ten megabytes each.
const REMEMBERED: usize = 100_000;

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

    /// Reads all of `reports`, from the beginning on. Blocking. Kafka and the registry are waited for
    /// as long as it takes.
    pub fn follow(&self, reports: &Followed) {
        reports.insist(|| {
            let all = Scan::open(&reports.kafka, &reports.topic, From::Beginning)?;
            let caught_up = || {
                self.set_caught_up();
                true
            };
            reports.read(all, |report| self.add(report), caught_up)
        });
    }
}
