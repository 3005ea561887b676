//! What happens to orders, as it happens: from the topics, joined without a gap to what the order
//! store has.
//!
//! [`Hub`] hands the records of one shared consumer to whoever listens, the reader is that
//! consumer's thread, and a feed is one subscriber's row of updates.

mod cursor;
mod feed;
mod hub;
mod owners;
mod reader;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use comanda_schemas::{KafkaOptions, OrderId, Registry, Timestamp, Topic, TopicNames};
use comanda_store::{AnyEvent, Position, Store, TimelineKind};
use futures_util::Stream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::auth::Principal;
use crate::failure::Failure;
use crate::progress::Progress;
pub(crate) use cursor::Cursor;
use feed::Feed;
use hub::Hub;
use owners::Owners;
use turns::Turns;

/// Whose updates.
pub(crate) enum Watch {
    /// One order's. Whether the principal may see it was checked.
    Order(OrderId, Principal),
    /// Those of all orders that the principal may see.
    All(Principal),
}

/// Something that happened to an order.
#[derive(Debug)]
pub(crate) struct Update {
    pub cursor: Cursor,
    pub kind: TimelineKind,
    pub at: Timestamp,
    pub order_id: OrderId,
    pub event_id: Uuid,
    /// What the store must have applied to know of it.
    pub passed: Position,
}

/// An event, and its place in the topics.
#[derive(Debug)]
struct Live {
    topic: Topic,
    partition: i32,
    offset: i64,
    event: AnyEvent,
}

/// What the updates are made from.
pub(crate) struct Sources {
    pub kafka: KafkaOptions,
    pub names: TopicNames,
    pub registry: Registry,
    pub store: Store,
    pub progress: Progress,
}

/// The updates of all orders. Clones share one consumer.
#[derive(Clone)]
pub(crate) struct Updates {
    inner: Arc<Inner>,
}

struct Inner {
    hub: Arc<Hub>,
    names: TopicNames,
    store: Store,
    progress: Progress,
    wait: Duration,
    turns: Turns,
}

impl Updates {
    /// `queue` events wait for one subscriber, and subscribers wait `wait` for the store at most.
    /// `shutdown` ends all of them.
    pub fn new(
        sources: Sources,
        queue: usize,
        wait: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        let Sources { kafka, names, registry, store, progress } = sources;
        let reader = reader::Parts { kafka, names: names.clone(), registry, store: store.clone() };
        let hub = Arc::new(Hub::new(reader, queue, shutdown));
        let inner = Inner { hub, names, store, progress, wait, turns: Turns::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Begins to watch: what happened since `after`, then what happens.
    pub async fn watch(
        &self,
        watch: Watch,
        after: Option<Cursor>,
    ) -> Result<impl Stream<Item = Result<Update, Failure>> + Send + use<>, Failure> {
        let feed = Feed::open(self.inner.clone(), watch, after).await?;
        Ok(feed.into_stream())
    }
}
