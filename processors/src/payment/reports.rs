//! What the topic of payment reports says: whose outcome is open, and what operators know of it.
//!
//! A processor that is started anew has forgotten what it held; from here it knows which outcomes
//! were open, so that it looks them up before it sends anything and does not give them up. There are
//! few such reports, and a thread reads them all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use comanda_schemas::scan::{From, Scan};
use comanda_schemas::{OrderEvent, OrderId, PaymentReport, PaymentReportType};
use tokio::sync::watch;
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

    /// Reads all of `reports`, from the beginning on. Blocking. Kafka and the registry are waited for
    /// as long as it takes.
    pub fn follow(&self, reports: &Followed) {
        reports.insist(|| {
            let all = Scan::open(&reports.kafka, &reports.topic, From::Beginning)?;
            let caught_up = || {
                self.0.caught_up.send_replace(true);
                true
            };
            reports.read(all, |report| self.add(report), caught_up)
        });
    }
}
