//! Placements in the order store, looked up for many requests with one question.
//!
//! While one question is under way the next ones gather, so a busy gateway asks for many orders at
//! a time and an idle one for each at once; there is no timer. A question to SQLite costs three
//! hand-overs between threads, more than all else that an order needs of the store.

use std::sync::{Arc, Mutex, MutexGuard};

use comanda_schemas::OrderId;
use comanda_store::{Error, Placement, Store};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Orders in one question at the most.
const MAX: usize = 500;

type Answer = Result<Option<Placement>, Failure>;
type Waiting = (OrderId, oneshot::Sender<Answer>);

/// Asks the store. Clones share the questions.
#[derive(Clone)]
pub(crate) struct Lookup {
    store: Store,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    is_asking: bool,
}

impl Lookup {
    pub fn new(store: Store) -> Self {
        Self { store, queue: Arc::default() }
    }

    /// How an order was placed, as far as the store knows.
    pub async fn placement(&self, id: OrderId) -> Answer {
        let (sender, answer) = oneshot::channel();
        let is_first = {
            let mut queue = self.queue();
            queue.waiting.push((id, sender));
            !std::mem::replace(&mut queue.is_asking, true)
        };
        if is_first {
            // On a task of its own: others wait for it, even if this client goes.
            tokio::spawn(self.clone().ask());
        }
        answer.await.unwrap_or_else(|_| Err(Failure::internal()))
    }

    async fn ask(self) {
        let _asking = Asking(&self);
        loop {
            // Those that are about to ask come along: a busy worker has many of them at hand.
            tokio::task::yield_now().await;
            let Some(batch) = self.next() else { return };
            let ids: Vec<OrderId> = batch.iter().map(|(id, _)| *id).collect();
            for ((_, sender), answer) in batch.into_iter().zip(self.placements(&ids).await) {
                // Whoever is gone has no use for it.
                let _ = sender.send(answer);
            }
        }
    }

    /// How each of several orders was placed, with a question of their own.
    pub async fn placements(&self, ids: &[OrderId]) -> Vec<Answer> {
        match self.store.placements(ids).await {
            Ok(found) => ids.iter().map(|id| Ok(found.get(id).cloned())).collect(),
            // One that does not read must not stand in the way of the others.
            Err(Error::Corrupt { .. }) if ids.len() > 1 => {
                let mut answers = Vec::with_capacity(ids.len());
                for id in ids {
                    answers.push(self.store.placement(*id).await.map_err(Failure::from));
                }
                answers
            }
            Err(error) => {
                let failure = Failure::from(error);
                ids.iter().map(|_| Err(failure.clone())).collect()
            }
        }
    }

    /// Those that have come meanwhile; `None`, and the end of the asking, where nobody has.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            queue.is_asking = false;
            return None;
        }
        let count = queue.waiting.len().min(MAX);
        Some(queue.waiting.drain(..count).collect())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Ends the asking where it panics: those who wait learn of it, and the next one asks again.
struct Asking<'a>(&'a Lookup);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.queue() = Queue::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use comanda_schemas::{OrderEventType, Timestamp};
    use comanda_store::{AnyEvent, Applied, Options, Recorded};
    use futures_util::future::join_all;

    use super::*;
    use crate::samples::event;

    async fn store(folder: &tempfile::TempDir) -> Store {
        let url = format!("sqlite://{}", folder.path().join("orders.db").display());
        let options = Options {
            url,
            max_connections: 2,
            keyed_connections: 2,
            busy_timeout_ms: 5_000,
            statement_timeout_ms: 5_000,
            auto_migrate: true,
        };
        Store::open(&options).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_of_many_gets_the_answer_about_its_own_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let ids: Vec<OrderId> = (0..1_200).map(|n| OrderId::derive("c", &n.to_string())).collect();
        let known = ids.iter().step_by(2).enumerate().map(|(n, id)| Applied {
            at: Recorded {
                topic: "orders".into(),
                partition: 0,
                offset: i64::try_from(n).unwrap(),
                timestamp: Timestamp::now(),
            },
            event: Some(AnyEvent::Order(event(*id, OrderEventType::Placed))),
        });
        store.apply(&known.collect::<Vec<_>>()).await.unwrap();
        let lookup = Lookup::new(store);
        for _ in 0..3 {
            let found = join_all(ids.iter().map(|id| lookup.placement(*id))).await;
            for (n, found) in found.into_iter().enumerate() {
                let offset = found.unwrap().map(|placement| placement.receipt.offset);
                let expected = (n % 2 == 0).then(|| i64::try_from(n / 2).unwrap());
                assert_eq!(offset, expected, "{n}");
            }
        }
    }

    #[tokio::test]
    async fn one_who_goes_away_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let lookup = Lookup::new(store(&folder).await);
        let id = OrderId::derive("c", "k");
        for _ in 0..10 {
            let mut gone = Box::pin(lookup.placement(id));
            assert!(futures_util::poll!(&mut gone).is_pending());
            drop(gone);
            assert_eq!(lookup.placement(id).await.unwrap(), None);
        }
    }
}
