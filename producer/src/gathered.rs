//! What goes on together: records to librdkafka, and its reports to those who wait.
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

/// What comes at one moment.
pub(crate) struct Gathered<T>(Mutex<Queue<T>>);

struct Queue<T> {
    items: Vec<T>,
    is_under_way: bool,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self(Mutex::new(Queue { items: Vec::new(), is_under_way: false }))
    }
}

impl<T> Gathered<T> {
    /// Takes items along; the duty to hand them over, where nobody has it.
    pub fn add(self: &Arc<Self>, items: impl IntoIterator<Item = T>) -> Option<Duty<T>> {
        let mut queue = self.queue();
        queue.items.extend(items);
        let is_first = !std::mem::replace(&mut queue.is_under_way, true);
        is_first.then(|| Duty(Some(self.clone())))
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The duty to hand over. Dropped before it is fulfilled, what is gathered is dropped as well, and
/// the next item comes with a new one.
pub(crate) struct Duty<T>(Option<Arc<Gathered<T>>>);

impl<T> Duty<T> {
    /// Hands over what there is, until there is nothing.
    pub async fn fulfil(mut self, send: impl Fn(T)) {
        // Those that are about to add theirs come along.
        tokio::task::yield_now().await;
        while let Some(items) = self.next() {
            items.into_iter().for_each(&send);
        }
    }

    /// What has been gathered; `None`, and the end of the duty, where that is nothing.
    pub fn next(&mut self) -> Option<Vec<T>> {
        let mut queue = self.0.as_ref()?.queue();
        if !queue.items.is_empty() {
            return Some(std::mem::take(&mut queue.items));
        }
        queue.is_under_way = false;
        drop(queue);
        self.0 = None;
        None
    }
}

impl<T> Drop for Duty<T> {
    fn drop(&mut self) {
        let Some(gathered) = self.0.take() else { return };
        let left = {
            let mut queue = gathered.queue();
            queue.is_under_way = false;
            std::mem::take(&mut queue.items)
        };
        // With the lock free: to drop an item may wake somebody.
        drop(left);
    }
}
