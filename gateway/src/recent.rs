//! Placements of the last moments, which the order store may not have seen yet.

mod first;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use comanda_schemas::{OrderId, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics::gauge;
use tokio::sync::oneshot;

use crate::metrics::RECENT_PLACEMENTS;
use crate::place::{Known, Refused, lost};
pub(crate) use first::{Ending, First};

/// What becomes of a placement.
pub(crate) type Outcome = Result<Known, Refused>;

/// The table, bounded by number and age, and by the bytes of what the log has shown.
///
/// An entry lives until the store has passed its record; from then on the store answers. One whose
/// outcome is unknown keeps its key for what it asked for, up to the age: its record may still
/// come. Where the store does not get there, age and number end the life of an entry: the same key
/// can then be published twice, with the same event id, which every reader takes for one event.
pub(crate) struct Recent {
    max: usize,
    max_bytes: usize,
    /// Of the sightings.
    bytes: Arc<AtomicUsize>,
    max_age: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<OrderId, Entry>,
    /// Oldest first. An id whose placement failed stays until its turn comes.
    by_age: VecDeque<(Instant, OrderId)>,
    /// Those of unknown outcome, which must not hold up the others.
    in_doubt: VecDeque<(Instant, OrderId)>,
}

struct Entry {
    /// What was asked for; `None` where only the log tells of it.
    fingerprint: Option<Arc<str>>,
    since: Instant,
    state: State,
    /// The first record of it in the log, as far as that was read, until it is decided.
    sighting: Option<Sighting>,
}

enum State {
    /// With those who wait for its outcome.
    OnItsWay(Vec<oneshot::Sender<Outcome>>),
    Stored(Known),
    /// For the next request to decide.
    Open(Doubt),
}

/// A placement that is stored, and what it asked for.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub fingerprint: Arc<str>,
    pub known: Known,
}

impl Stored {
    /// Where its record stands among those of its order.
    pub fn place(&self) -> (i32, i64) {
        (self.known.at.partition, self.known.at.offset)
    }
}

/// Why a placement is not decided.
#[derive(Debug, Clone)]
enum Doubt {
    /// Nobody here has asked for it: the log has a record.
    Seen,
    /// It was sent, and may be stored.
    Sent,
    /// It is stored by this gateway, which could not tell whether another record is before it.
    Stored(Stored),
}

/// A record of the log that places an order, not decoded yet.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
    pub value: Arc<[u8]>,
    /// Its bytes in the table, once it is there.
    pub _room: Option<Arc<Room>>,
}

/// Bytes of sightings, given back with the last copy of one.
#[derive(Debug)]
pub(crate) struct Room {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What the table has to say about a placement.
pub(crate) enum Entered {
    /// Nothing that decides it: the caller is the first and has to finish it.
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
    pub fn new(max: usize, max_bytes: usize, max_age: Duration) -> Self {
        Self { max, max_bytes, bytes: Arc::default(), max_age, table: Mutex::default() }
    }

    pub fn enter(self: &Arc<Self>, id: OrderId, fingerprint: &Arc<str>) -> Entered {
        let mut table = self.table();
        let mut doubt = None;
        if let Some(entry) = table.entries.get_mut(&id) {
            let is_same = entry.fingerprint.as_ref() == Some(fingerprint);
            match &mut entry.state {
                // Another request than the one that may be stored.
                State::Open(Doubt::Sent) if !is_same && entry.sighting.is_none() => {
                    return Entered::Conflict;
                }
                State::Open(found) => doubt = Some(found.clone()),
                State::Stored(_) | State::OnItsWay(_) if !is_same => return Entered::Conflict,
                State::Stored(known) => return Entered::Known(known.clone()),
                State::OnItsWay(waiting) => {
                    let (sender, outcome) = oneshot::channel();
                    waiting.push(sender);
                    let outcome = outcome.map(|told| told.unwrap_or_else(|_| Err(lost())));
                    return Entered::Waiting(outcome.boxed());
                }
            }
        }
        if table.by_age.len() >= self.max {
            return Entered::Full;
        }
        let sighting = table.entries.remove(&id).and_then(|entry| entry.sighting);
        let fingerprint = fingerprint.clone();
        table.insert(id, Some(fingerprint.clone()), State::OnItsWay(Vec::new()), sighting);
        Entered::First(First { recent: self.clone(), id, fingerprint, doubt, is_finished: false })
    }

    /// Remembers a placement that no other request can ask for again, where there is room.
    pub fn remember(&self, id: OrderId, known: &Known) {
        let mut table = self.table();
        if table.by_age.len() < self.max {
            table.insert(id, None, State::Stored(known.clone()), None);
        }
    }

    /// The log has a record of a placement.
    pub fn saw(&self, id: OrderId, sighting: Sighting) {
        let mut table = self.table();
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(sighting.value.len());
        let has_room = table.by_age.len() < self.max && bytes <= self.max_bytes;
        match table.entries.get_mut(&id) {
            Some(Entry { state: State::Stored(_), .. }) => {}
            Some(Entry { sighting: Some(earlier), .. }) if earlier.place() <= sighting.place() => {}
            // A request of this gateway waits for it, or has left it open.
            Some(entry) => entry.sighting = Some(self.counted(sighting)),
            None if has_room => {
                let sighting = self.counted(sighting);
                table.insert(id, None, State::Open(Doubt::Seen), Some(sighting));
            }
            None => {}
        }
    }

    fn counted(&self, sighting: Sighting) -> Sighting {
        let (of, bytes) = (self.bytes.clone(), sighting.value.len());
        of.fetch_add(bytes, Ordering::Relaxed);
        Sighting { _room: Some(Arc::new(Room { of, bytes })), ..sighting }
    }

    /// The placement of an order, where it is stored.
    pub fn stored(&self, id: OrderId) -> Option<Known> {
        match &self.table().entries.get(&id)?.state {
            State::Stored(known) => Some(known.clone()),
            State::OnItsWay(_) | State::Open(_) => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        let table = self.table();
        table.by_age.is_empty() && table.in_doubt.is_empty()
    }

    /// Forgets the oldest, as long as they are too old or the store `has_passed` their partition
    /// and offset.
    pub fn sweep(&self, has_passed: impl Fn(i32, i64) -> bool) {
        let mut table = self.table();
        table.sweep(self.max, self.max_age, has_passed);
        gauge!(RECENT_PLACEMENTS).set(table.entries.len() as f64);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Table {
    fn insert(
        &mut self,
        id: OrderId,
        fingerprint: Option<Arc<str>>,
        state: State,
        sighting: Option<Sighting>,
    ) {
        let since = Instant::now();
        self.entries.insert(id, Entry { fingerprint, since, state, sighting });
        self.by_age.push_back((since, id));
    }

    /// The entry of a place in one of the rows; a later placement of the same order has a place of
    /// its own.
    fn of_place(&self, (since, id): (Instant, OrderId)) -> Option<&Entry> {
        self.entries.get(&id).filter(|entry| entry.since == since)
    }

    fn sweep(&mut self, max: usize, max_age: Duration, has_passed: impl Fn(i32, i64) -> bool) {
        while let Some(place) = self.by_age.front().copied() {
            let record = match self.of_place(place).map(|entry| (&entry.state, &entry.sighting)) {
                None => None,
                Some((State::OnItsWay(_), _)) => break,
                Some((
                    State::Stored(known) | State::Open(Doubt::Stored(Stored { known, .. })),
                    _,
                )) => Some((known.at.partition, known.at.offset)),
                Some((State::Open(_), Some(seen))) => Some(seen.place()),
                Some((State::Open(_), None)) => {
                    self.by_age.pop_front();
                    self.in_doubt.push_back(place);
                    continue;
                }
            };
            let is_over = place.0.elapsed() > max_age;
            if !is_over && record.is_some_and(|(partition, offset)| !has_passed(partition, offset))
            {
                break;
            }
            self.by_age.pop_front();
            self.forget(place);
        }
        while let Some(place) = self.in_doubt.front().copied() {
            let is_over = place.0.elapsed() > max_age || self.in_doubt.len() > max;
            if self.of_place(place).is_some() && !is_over {
                break;
            }
            self.in_doubt.pop_front();
            self.forget(place);
        }
    }

    fn forget(&mut self, place: (Instant, OrderId)) {
        if self.of_place(place).is_some() {
            self.entries.remove(&place.1);
        }
    }
}

impl Sighting {
    /// Where it stands among the records of its order.
    pub fn place(&self) -> (i32, i64) {
        (self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests;
