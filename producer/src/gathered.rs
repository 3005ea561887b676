//! Records that go to librdkafka together.
//!
//! Each record that is handed to it alone may wake its thread, which then sends it alone. So what
//! is to be published at one moment is gathered and handed over at one go. Nothing is waited for:
//! whoever is ready to run comes along, and an idle process hands over each record at once.

use std::sync::{Arc, Mutex, MutexGuard};

use comanda_schemas::headers::EventHeaders;
use comanda_schemas::{OrderId, Timestamp};

use crate::delivery::Pending;

/// A record, and who waits for it.
pub(crate) struct Record {
    pub key: OrderId,
    pub value: Vec<u8>,
    pub at: Timestamp,
    pub headers: EventHeaders,
    pub pending: Box<Pending>,
}

/// The records of one moment.
#[derive(Default)]
pub(crate) struct Gathered(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    records: Vec<Record>,
    is_under_way: bool,
}

impl Gathered {
    /// Takes records along; the duty to hand them over, where nobody has it.
    pub fn add(self: &Arc<Self>, records: impl IntoIterator<Item = Record>) -> Option<Duty> {
        let mut queue = self.queue();
        queue.records.extend(records);
        let is_first = !std::mem::replace(&mut queue.is_under_way, true);
        is_first.then(|| Duty(Some(self.clone())))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The duty to hand over. Dropped before it is fulfilled, what is gathered has no outcome, and the
/// next record comes with a new one.
pub(crate) struct Duty(Option<Arc<Gathered>>);

impl Duty {
    /// Hands over what there is, until there is nothing.
    pub async fn fulfil(mut self, send: impl Fn(Record)) {
        // Those that are about to publish come along.
        tokio::task::yield_now().await;
        while let Some(records) = self.next() {
            records.into_iter().for_each(&send);
        }
    }

    /// What has been gathered; `None`, and the end of the duty, where that is nothing.
    fn next(&mut self) -> Option<Vec<Record>> {
        let mut queue = self.0.as_ref()?.queue();
        if !queue.records.is_empty() {
            return Some(std::mem::take(&mut queue.records));
        }
        queue.is_under_way = false;
        drop(queue);
        self.0 = None;
        None
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let Some(gathered) = self.0.take() else { return };
        let left = {
            let mut queue = gathered.queue();
            queue.is_under_way = false;
            std::mem::take(&mut queue.records)
        };
        // With the lock free: to drop a record may wake somebody.
        drop(left);
    }
}
