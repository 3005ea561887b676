//! Order events that stand in the log twice: the first record decides, and the second has the same
//! result.
//!
//! Two gateways that get the same idempotency key within a moment can both write the event, and a
//! client that was left in doubt has it written again. The records are close together then, so the
//! results of the last ones are remembered. Who takes partitions over reads the last results of the
//! topic, whoever wrote them, before anything is charged.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use comanda_schemas::scan::{self, From, Scan, ScanError};
use comanda_schemas::{PaymentEvent, Source};
use tokio::sync::watch;
use tracing::info;
use uuid::Uuid;

use super::Followed;

/// Results that are remembered: of the last seconds at thousands of orders a second, in less than
/// ten megabytes.
const REMEMBERED: usize = 8_192;
/// Pause between two looks whether the last ones are committed.
const LOOK: Duration = Duration::from_millis(50);

/// The results of the last order events; clones share them.
#[derive(Debug, Clone)]
pub struct Repeats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    /// How often partitions were taken over; `None` where nobody reads up.
    taken_over: Option<watch::Sender<u64>>,
    /// Up to which of these times the topic was read.
    read_up: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    /// By their own id, which follows from the order event's.
    results: HashMap<Uuid, Arc<PaymentEvent>>,
    /// Oldest first.
    by_age: VecDeque<Uuid>,
}

impl Repeats {
    /// Those of this process alone.
    pub fn own() -> Self {
        Self::new(None)
    }

    /// Those of others too, which [`Repeats::follow`] reads; payments wait until it has.
    pub fn to_follow() -> Self {
        Self::new(Some(watch::Sender::new(0)))
    }

    fn new(taken_over: Option<watch::Sender<u64>>) -> Self {
        let (table, read_up) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Shared { table, taken_over, read_up }))
    }

    /// The result of the event `cause`, for another record of it at `source`; `None` where none is
    /// remembered.
    pub(super) fn result(&self, cause: Uuid, source: &Source) -> Option<PaymentEvent> {
        let known = self.table().results.get(&PaymentEvent::derive_id(cause)).cloned()?;
        Some(PaymentEvent { source: source.clone(), ..(*known).clone() })
    }

    /// Remembers a result, unless the event has one.
    pub(super) fn remember(&self, result: &PaymentEvent) {
        let mut table = self.table();
        let Entry::Vacant(place) = table.results.entry(result.event_id) else { return };
        place.insert(Arc::new(result.clone()));
        table.by_age.push_back(result.event_id);
        if table.by_age.len() > REMEMBERED
            && let Some(oldest) = table.by_age.pop_front()
        {
            table.results.remove(&oldest);
        }
    }

    /// Partitions came, with what others have done in them.
    pub(super) fn take_over(&self) {
        if let Some(taken_over) = &self.0.taken_over {
            taken_over.send_modify(|times| *times += 1);
        }
    }

    /// Waits until all is known that others did before the last partitions came.
    pub(super) async fn read_up(&self) {
        let Some(taken_over) = &self.0.taken_over else { return };
        let wanted = *taken_over.borrow();
        if *self.0.read_up.borrow() < wanted {
            // Can't fail: we have the sender.
            let _ = self.0.read_up.subscribe().wait_for(|read_up| *read_up >= wanted).await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Reads the last of `results` each time that partitions were taken over. Blocking. Kafka and
    /// the registry are waited for as long as it takes.
    pub fn follow(&self, results: &Followed) {
        let Some(taken_over) = &self.0.taken_over else { return };
        let (mut taken_over, mut read_up) = (taken_over.subscribe(), 0);
        let mut next = || {
            let more = taken_over.wait_for(|times| *times > read_up);
            read_up = *results.wait(more)?.ok()?;
            Some(read_up)
        };
        while let Some(times) = next() {
            results.insist(|| self.read(results));
            self.0.read_up.send_replace(times);
        }
    }

    fn read(&self, results: &Followed) -> Result<(), ScanError> {
        let Followed { kafka, topic, shutdown, .. } = results;
        let mut waits = false;
        scan::settle(kafka, topic, || {
            if !waits {
                info!(topic, "the last results wait for a transaction that is still open");
            }
            waits = true;
            results.pause(LOOK);
            !shutdown.is_cancelled()
        })?;
        let last = Scan::open(kafka, topic, From::Last(REMEMBERED as i64))?;
        results.read(last, |result| self.remember(&result), || false)
    }
}
