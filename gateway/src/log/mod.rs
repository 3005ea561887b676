//! What the orders topic says of orders that were placed under the same key elsewhere.
//!
//! Each gateway reads the topic, from a little before its start on, and notes where orders with an
//! idempotency key were placed. So it knows within milliseconds what the order store will know
//! later, and after its own record is stored, whether another one of the same order stands before
//! it. Where only this gateway writes there is nothing to wait for, see [`Marks`].

mod marks;
mod tail;

use std::sync::Arc;
use std::time::{Duration, Instant};

use comanda_schemas::{KafkaOptions, TopicNames};
use comanda_store::Store;
use metrics::histogram;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::metrics::LOG_WAIT_SECONDS;
use crate::recent::Recent;
use marks::Marks;

/// How long a placement waits for the reader to come as far as its record. It does within a few
/// milliseconds while the broker answers.
const WAIT: Duration = Duration::from_secs(2);

/// The reader of the topic; it ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Log {
    marks: Arc<Marks>,
    _reading: Arc<DropGuard>,
}

/// What the reader is made from.
pub(crate) struct Parts {
    pub kafka: KafkaOptions,
    pub names: TopicNames,
    pub store: Store,
}

impl Log {
    /// Begins to read; what it sees goes to `recent`. Each partition begins where the order store
    /// stands, at most `max_back` records before its end.
    pub fn start(parts: Parts, recent: Arc<Recent>, max_back: usize) -> Self {
        let (marks, stop) = (Arc::<Marks>::default(), CancellationToken::new());
        let max_back = i64::try_from(max_back).unwrap_or(i64::MAX);
        tail::start(parts, recent, marks.clone(), max_back, stop.clone());
        Self { marks, _reading: Arc::new(stop.drop_guard()) }
    }

    /// This gateway's own record at `offset` is stored.
    pub fn wrote(&self, partition: i32, offset: i64) {
        self.marks.wrote(partition, offset);
    }

    /// Whether all records up to `offset` are known.
    pub fn has_passed(&self, partition: i32, offset: i64) -> bool {
        self.marks.next(partition).is_some_and(|next| offset < next)
    }

    /// Waits until all records up to `offset` are known; whether it came to that.
    pub async fn passed(&self, partition: i32, offset: i64) -> bool {
        let Some(passing) = self.marks.passing(partition, offset) else { return true };
        let began = Instant::now();
        let passed = tokio::time::timeout(WAIT, passing).await.is_ok_and(|passed| passed.is_ok());
        let outcome = if passed { "passed" } else { "timeout" };
        histogram!(LOG_WAIT_SECONDS, "outcome" => outcome).record(began.elapsed());
        if !passed {
            let read_to = self.marks.next(partition);
            warn!(partition, offset, read_to, "the orders topic is not read as far as a placement");
        }
        passed
    }

    /// Whether the record at `offset` is older than what was read: then only the order store can
    /// tell of those before it.
    pub fn is_before(&self, partition: i32, offset: i64) -> bool {
        self.marks.begun_at(partition).is_none_or(|begin| offset < begin)
    }
}
