//! Placements of the last moments, which the order store may not have seen yet.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use comanda_schemas::OrderId;
use comanda_store::Recorded;
use futures_util::future::BoxFuture;
use metrics::gauge;
use tokio::sync::watch;

use crate::metrics::RECENT_PLACEMENTS;
use crate::place::{Known, Refused, lost};

type Outcome = Result<Known, Refused>;

/// The table, bounded by number and age.
///
/// An entry lives until the store has passed its record; from then on the store answers. Where
/// the store does not get there, age and number end its life: the same key can then be published
/// twice, with the same event id, which every reader takes for one event.
pub(crate) struct Recent {
    max: usize,
    max_age: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<OrderId, Entry>,
    /// Oldest first. An id whose placement failed stays until its turn comes.
    by_age: VecDeque<(Instant, OrderId)>,
}

struct Entry {
    fingerprint: Arc<str>,
    since: Instant,
    state: State,
}

enum State {
    OnItsWay(watch::Receiver<Option<Outcome>>),
    Stored(Known),
}

/// What the table has to say about a placement.
pub(crate) enum Entered {
    /// Nothing: the caller is the first and has to finish it.
    First(First),
    /// The same request is on its way.
    Waiting(BoxFuture<'static, Outcome>),
    /// The same request was answered.
    Known(Known),
    /// Another order was placed under the key.
    Conflict,
    /// There is no room to remember it.
    Full,
}

impl Recent {
    pub fn new(max: usize, max_age: Duration) -> Self {
        Self { max, max_age, table: Mutex::default() }
    }

    pub fn enter(self: &Arc<Self>, id: OrderId, fingerprint: &Arc<str>) -> Entered {
        let mut table = self.table();
        if let Some(entry) = table.entries.get(&id) {
            if entry.fingerprint != *fingerprint {
                return Entered::Conflict;
            }
            return match &entry.state {
                State::Stored(known) => Entered::Known(known.clone()),
                State::OnItsWay(outcome) => Entered::Waiting(Box::pin(wait(outcome.clone()))),
            };
        }
        if table.by_age.len() >= self.max {
            return Entered::Full;
        }
        let (outcome, state) = watch::channel(None);
        let (fingerprint, since) = (fingerprint.clone(), Instant::now());
        let state = State::OnItsWay(state);
        table.entries.insert(id, Entry { fingerprint, since, state });
        table.by_age.push_back((since, id));
        Entered::First(First { recent: self.clone(), id, outcome })
    }

    /// Remembers a placement that no other request can ask for again, where there is room.
    pub fn remember(&self, id: OrderId, known: &Known) {
        let mut table = self.table();
        if table.by_age.len() < self.max {
            let (since, state) = (Instant::now(), State::Stored(known.clone()));
            table.entries.insert(id, Entry { fingerprint: "".into(), since, state });
            table.by_age.push_back((since, id));
        }
    }

    /// The placement of an order, where it is stored.
    pub fn stored(&self, id: OrderId) -> Option<Known> {
        match &self.table().entries.get(&id)?.state {
            State::Stored(known) => Some(known.clone()),
            State::OnItsWay(_) => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.table().by_age.is_empty()
    }

    /// Forgets the oldest, as long as they are too old or the store `has_passed` them.
    pub fn sweep(&self, has_passed: impl Fn(&Recorded) -> bool) {
        let mut table = self.table();
        while let Some((since, id)) = table.by_age.front().copied() {
            let forget = match table.entries.get(&id) {
                // A later placement of the same order has its own place in the row.
                Some(entry) if entry.since == since => match &entry.state {
                    State::OnItsWay(_) => false,
                    State::Stored(known) => since.elapsed() > self.max_age || has_passed(&known.at),
                },
                Some(_) | None => true,
            };
            if !forget {
                break;
            }
            table.by_age.pop_front();
            if table.entries.get(&id).is_some_and(|entry| entry.since == since) {
                table.entries.remove(&id);
            }
        }
        gauge!(RECENT_PLACEMENTS).set(table.entries.len() as f64);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|e| e.into_inner())
    }
}

async fn wait(mut outcome: watch::Receiver<Option<Outcome>>) -> Outcome {
    match outcome.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(lost())),
        Err(_) => Err(lost()),
    }
}

/// The duty to finish a placement. Dropped without that, those who wait learn that it is lost.
pub(crate) struct First {
    recent: Arc<Recent>,
    id: OrderId,
    outcome: watch::Sender<Option<Outcome>>,
}

impl First {
    /// A success is remembered; after a failure the next one is the first again.
    pub fn finish(self, outcome: Outcome) {
        if let Ok(known) = &outcome
            && let Some(entry) = self.recent.table().entries.get_mut(&self.id)
        {
            entry.state = State::Stored(known.clone());
        }
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let mut table = self.recent.table();
        let unfinished = |entry: &Entry| matches!(entry.state, State::OnItsWay(_));
        if table.entries.get(&self.id).is_some_and(unfinished) {
            table.entries.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests;
