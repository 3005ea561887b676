//! From one consumer to everybody who listens.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use comanda_schemas::{OrderId, Topic};
use metrics::counter;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{Cursor, Live, Owners, reader};
use crate::failure::{Code, Failure};
use crate::metrics::SLOW_CONSUMERS_TOTAL;

/// How long the consumer runs on when nobody listens any more.
const LINGER: Duration = Duration::from_secs(5);
/// How long a listener waits for the consumer to start.
const START_WAIT: Duration = Duration::from_secs(15);

/// What a listener wants to hear of.
#[derive(Debug, Clone)]
pub(super) enum Interest {
    Order(OrderId),
    /// The orders of one customer. Events whose owner is not known come as well.
    Customer(Arc<str>),
    All,
}

/// An event as it is handed to those who want it.
pub(super) struct Heard {
    pub live: Live,
    /// Everything below was handed out, to whoever wanted it.
    pub read: Cursor,
}

/// The listeners, and the consumer that runs as long as there are any.
pub(super) struct Hub {
    reader: reader::Parts,
    pub owners: Owners,
    queue: usize,
    pub shutdown: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the consumers; what an earlier one still says is ignored.
    run: u64,
    consumer: Option<Consumer>,
    next_id: u64,
    listeners: HashMap<u64, Listener>,
    by_order: HashMap<OrderId, HashSet<u64>>,
    by_customer: HashMap<Arc<str>, HashSet<u64>>,
    to_all: HashSet<u64>,
    idle_since: Option<Instant>,
}

struct Consumer {
    /// `None` while it starts.
    at: Option<Start>,
    started: Started,
}

/// Where a consumer stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Start {
    /// Where it began: the store has everything before.
    pub begin: Cursor,
    /// The next record of each partition that listeners will be given.
    pub next: Cursor,
    /// Where the partitions ended when the consumer started.
    pub ends: Cursor,
}

struct Listener {
    interest: Interest,
    events: mpsc::Sender<Arc<Heard>>,
    ended: Arc<OnceLock<Failure>>,
}

/// A place among the listeners; left when dropped.
pub(super) struct Listening {
    hub: Arc<Hub>,
    id: u64,
    events: mpsc::Receiver<Arc<Heard>>,
    ended: Arc<OnceLock<Failure>>,
}

impl Hub {
    pub fn new(reader: reader::Parts, queue: usize, shutdown: CancellationToken) -> Self {
        let owners = Owners::new(reader.store.clone());
        Self { reader, owners, queue, shutdown, state: Mutex::default() }
    }

    /// Begins to listen, and tells from where on every event is heard; starts the consumer where
    /// none runs.
    pub async fn listen(
        self: &Arc<Self>,
        interest: Interest,
    ) -> Result<(Listening, Start), Failure> {
        if self.shutdown.is_cancelled() {
            return Err(shutting_down());
        }
        let (listening, standing) = self.register(interest);
        let mut started = match standing {
            Standing::At(start) => return Ok((listening, start)),
            Standing::Starts(started) => started,
            Standing::Nowhere => return Err(interrupted()),
        };
        let waiting = tokio::time::timeout(START_WAIT, started.wait_for(Option::is_some));
        let start = match waiting.await {
            Ok(Ok(start)) => start.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        Ok((listening, start.unwrap_or_else(|| Err(interrupted()))?))
    }

    fn register(self: &Arc<Self>, interest: Interest) -> (Listening, Standing) {
        let (sender, events) = mpsc::channel(self.queue);
        let ended = Arc::new(OnceLock::new());
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.idle_since = None;
        match &interest {
            Interest::Order(order) => state.by_order.entry(*order).or_default().insert(id),
            Interest::Customer(customer) => {
                state.by_customer.entry(customer.clone()).or_default().insert(id)
            }
            Interest::All => state.to_all.insert(id),
        };
        let listener = Listener { interest, events: sender, ended: ended.clone() };
        state.listeners.insert(id, listener);
        if state.consumer.is_none() {
            self.start_consumer(&mut state);
        }
        let standing = match &state.consumer {
            Some(Consumer { at: Some(at), .. }) => Standing::At(at.clone()),
            Some(Consumer { at: None, started }) => Standing::Starts(started.clone()),
            None => Standing::Nowhere,
        };
        (Listening { hub: self.clone(), id, events, ended }, standing)
    }

    fn start_consumer(self: &Arc<Self>, state: &mut State) {
        state.run += 1;
        let (sender, started) = watch::channel(None);
        let (hub, run, runtime) = (self.clone(), state.run, Handle::current());
        let thread = thread::Builder::new().name("order-updates".into());
        let reading = move || {
            let reading = || reader::run(&hub, run, &sender, &runtime);
            let outcome = catch_unwind(AssertUnwindSafe(reading));
            let failure = match outcome {
                // Nobody listens, so nobody is told.
                Ok(Ok(())) => interrupted(),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    error!("reading the order updates panicked");
                    interrupted()
                }
            };
            hub.ended(run, &failure);
            sender.send_replace(Some(Err(failure)));
        };
        match thread.spawn(reading) {
            Ok(_) => state.consumer = Some(Consumer { at: None, started }),
            Err(error) => error!(%error, "the thread for order updates does not start"),
        }
    }

    pub fn parts(&self) -> &reader::Parts {
        &self.reader
    }

    /// The consumer `run` stands at `start` and will deliver from there.
    pub fn started(&self, run: u64, start: &Start) {
        let mut state = self.state();
        if state.run == run
            && let Some(consumer) = &mut state.consumer
        {
            consumer.at = Some(start.clone());
        }
    }

    /// The consumer `run` gives up; everybody who listens is told.
    pub fn ended(&self, run: u64, failure: &Failure) {
        let mut state = self.state();
        if state.run == run {
            state.consumer = None;
            state.by_order.clear();
            state.by_customer.clear();
            state.to_all.clear();
            for (_, listener) in state.listeners.drain() {
                let _ = listener.ended.set(failure.clone());
            }
        }
    }

    /// Whether the consumer `run` should stop because nobody needs it.
    pub fn is_over(&self, run: u64) -> bool {
        let mut state = self.state();
        let idle = state.idle_since.is_some_and(|since| since.elapsed() > LINGER);
        if state.run == run && idle {
            state.consumer = None;
        }
        state.run != run || state.consumer.is_none()
    }

    /// Whether anybody wants the record; where not, it counts as delivered.
    pub fn wants(&self, run: u64, at: (Topic, i32, i64), order: Option<OrderId>) -> bool {
        let mut state = self.state();
        let wanted = match order {
            Some(order) => {
                !state.to_all.is_empty()
                    || state.by_order.contains_key(&order)
                    || !state.by_customer.is_empty()
                        && (self.owners.remembered(order))
                            .is_none_or(|owner| state.by_customer.contains_key(&owner))
            }
            None => !state.listeners.is_empty(),
        };
        if !wanted {
            state.advance(run, at);
        }
        wanted
    }

    /// Whether it matters whose order an event is about.
    pub fn has_customers(&self) -> bool {
        !self.state().by_customer.is_empty()
    }

    /// Hands the event of the record at `at` to everybody who wants it; `None` where it has none.
    /// Where its `owner` is not known, every customer gets it, and finds out.
    pub fn deliver(
        &self,
        run: u64,
        at: (Topic, i32, i64),
        live: Option<Live>,
        owner: Option<&str>,
    ) {
        let mut state = self.state();
        if state.run != run {
            return;
        }
        state.advance(run, at);
        let (Some(live), Some(read)) = (live, state.read()) else { return };
        let heard = Arc::new(Heard { live, read });
        let order = state.by_order.get(&heard.live.event.order_id());
        let known = owner.and_then(|owner| state.by_customer.get(owner));
        let any = owner.is_none().then(|| state.by_customer.values()).into_iter().flatten();
        let ids = order.into_iter().chain(known).chain(any).flatten().chain(&state.to_all);
        let send = |id: &u64| {
            let listener = state.listeners.get(id)?;
            match listener.events.try_send(heard.clone()) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
                Err(mpsc::error::TrySendError::Full(_)) => Some(*id),
            }
        };
        let slow: Vec<u64> = ids.filter_map(send).collect();
        for id in slow {
            if let Some(listener) = state.remove(id) {
                counter!(SLOW_CONSUMERS_TOTAL).increment(1);
                let _ = listener.ended.set(too_slow());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

type Started = watch::Receiver<Option<Result<Start, Failure>>>;

/// The consumer, as a new listener finds it.
enum Standing {
    At(Start),
    Starts(Started),
    /// It can't be started.
    Nowhere,
}

impl State {
    /// Where the consumer stands.
    fn read(&self) -> Option<Cursor> {
        Some(self.consumer.as_ref()?.at.as_ref()?.next.clone())
    }

    fn advance(&mut self, run: u64, (topic, partition, offset): (Topic, i32, i64)) {
        if self.run == run
            && let Some(Consumer { at: Some(at), .. }) = &mut self.consumer
        {
            at.next.advance(topic, partition, offset.saturating_add(1));
        }
    }

    fn remove(&mut self, id: u64) -> Option<Listener> {
        let listener = self.listeners.remove(&id)?;
        match &listener.interest {
            Interest::All => {
                self.to_all.remove(&id);
            }
            Interest::Order(order) => leave(&mut self.by_order, order, id),
            Interest::Customer(customer) => leave(&mut self.by_customer, customer, id),
        }
        if self.listeners.is_empty() {
            self.idle_since = Some(Instant::now());
        }
        Some(listener)
    }
}

fn leave<K: Eq + Hash>(places: &mut HashMap<K, HashSet<u64>>, key: &K, id: u64) {
    if let Some(ids) = places.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            places.remove(key);
        }
    }
}

impl Start {
    /// What was delivered before, which the store may still have to read.
    pub fn delivered(&self) -> Cursor {
        self.next.beyond(&self.begin)
    }
}

impl Listening {
    /// The next event; a failure when there will be none any more.
    pub async fn next(&mut self) -> Result<Arc<Heard>, Failure> {
        match self.events.recv().await {
            Some(heard) => Ok(heard),
            None => Err(self.ended.get().cloned().unwrap_or_else(interrupted)),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.hub.state().remove(self.id);
    }
}

pub(super) fn interrupted() -> Failure {
    Failure::new(
        Code::BrokerUnavailable,
        "the updates can't be read from the broker right now; go on from the last cursor",
    )
}

pub(super) fn shutting_down() -> Failure {
    Failure::new(Code::ShuttingDown, "the gateway stops; go on from the last cursor on another")
}

fn too_slow() -> Failure {
    Failure::new(
        Code::SlowConsumer,
        "the updates were not taken fast enough; go on from the last cursor",
    )
}
