//! Order events that stand in the log twice: the first record decides, and the second has the same
//! result.
//!
//! Two gateways that get the same idempotency key within a moment can both write the event, and a
//! client that was left in doubt has it written again. The records are close together then, so the
//! results of the last ones are remembered. What a crash makes forgotten, the provider's
//! idempotency key still keeps from being charged twice.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use comanda_schemas::{PaymentEvent, Source};
use uuid::Uuid;

/// Results that are remembered: of the last seconds at thousands of orders a second, in less than
/// ten megabytes.
const REMEMBERED: usize = 8_192;

/// The results of the last order events, by the event's id.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    results: HashMap<Uuid, Arc<PaymentEvent>>,
    /// Oldest first.
    by_age: VecDeque<Uuid>,
}

impl Repeats {
    /// The result of the event `cause`, for another record of it at `source`; `None` where none is
    /// remembered.
    pub fn result(&self, cause: Uuid, source: &Source) -> Option<PaymentEvent> {
        let known = self.table().results.get(&cause).cloned()?;
        Some(PaymentEvent { source: source.clone(), ..(*known).clone() })
    }

    /// Remembers the result of the event `cause`.
    pub fn remember(&self, cause: Uuid, result: &PaymentEvent) {
        let mut table = self.table();
        if table.results.insert(cause, Arc::new(result.clone())).is_none() {
            table.by_age.push_back(cause);
        }
        if table.by_age.len() > REMEMBERED
            && let Some(oldest) = table.by_age.pop_front()
        {
            table.results.remove(&oldest);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}
