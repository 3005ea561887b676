//! One subscriber's row of updates: what it missed, then what happens, no event left out or given
//! twice.

use std::collections::VecDeque;
use std::sync::Arc;

use comanda_schemas::OrderId;
use comanda_store::{MAX_PAGE, OrderView, Position, StoredEvent};
use futures_util::{Stream, stream};

use super::hub::{Heard, Interest, Listening, Start};
use super::{Cursor, Inner, Live, Update, Watch};
use crate::auth::Principal;
use crate::failure::{Code, Failure};
use crate::metrics::{Held, SUBSCRIPTIONS};

/// A subscriber's place in the topics, and how it goes on from there.
pub(super) struct Feed {
    inner: Arc<Inner>,
    watch: Watch,
    cursor: Cursor,
    ready: VecDeque<Update>,
    phase: Phase,
    _held: Held,
}

enum Phase {
    /// The store has more, as far as is known. Nobody listens to the topics yet where that can
    /// take long.
    CatchingUp(Option<Listening>),
    Live(Listening),
    Over,
}

impl Feed {
    pub async fn open(
        inner: Arc<Inner>,
        watch: Watch,
        after: Option<Cursor>,
    ) -> Result<Self, Failure> {
        if let Some(after) = &after {
            inner.check(after, &watch).await?;
        }
        let mut ready = VecDeque::new();
        let (phase, cursor) = match (&watch, after) {
            (Watch::All(_), Some(after)) => (Phase::CatchingUp(None), after),
            (Watch::All(_), None) => {
                let (listening, start) = inner.hub.listen(watch.interest()).await?;
                let Start { mut next, ends, .. } = start;
                next.merge(&ends);
                (Phase::Live(listening), next)
            }
            (Watch::Order(_), Some(after)) => {
                let listening = inner.listen(watch.interest()).await?;
                (Phase::CatchingUp(Some(listening)), after)
            }
            (Watch::Order(id), None) => {
                let listening = inner.listen(watch.interest()).await?;
                let (state, cursor) = inner.state_of(*id).await?;
                ready.extend(state);
                (Phase::Live(listening), cursor)
            }
        };
        Ok(Self { inner, watch, cursor, ready, phase, _held: Held::new(SUBSCRIPTIONS) })
    }

    /// The updates; after a failure there are none.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Failure>> + Send {
        stream::unfold(self, async |mut feed| {
            let next = feed.next().await?;
            if next.is_err() {
                feed.phase = Phase::Over;
            }
            Some((next, feed))
        })
    }

    async fn next(&mut self) -> Option<Result<Update, Failure>> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Some(Ok(update));
            }
            // What asks the store is boxed: it is large, and an idle subscriber does without it.
            let step = match &mut self.phase {
                Phase::Over => return None,
                Phase::CatchingUp(_) => Box::pin(self.catch_up()).await,
                Phase::Live(listening) => match listening.next().await {
                    Ok(heard) => Box::pin(self.hear(&heard)).await,
                    Err(failure) => Err(failure),
                },
            };
            if let Err(failure) = step {
                return Some(Err(failure));
            }
        }
    }

    /// Takes the next page of what the store has.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        let order = match self.watch {
            Watch::Order(id) => Some(id),
            Watch::All(_) => None,
        };
        let after = self.cursor.positions(&self.inner.names);
        let page = self.inner.store.events_after(order, &after, MAX_PAGE).await?;
        let is_last = page.len() < MAX_PAGE as usize;
        for StoredEvent { at, event } in page {
            // Of a topic that has another name by now.
            let Some(topic) = self.inner.names.topic_of(&at.topic) else { continue };
            let live = Live { topic, partition: at.partition, offset: at.offset, event };
            self.consider(&live).await?;
        }
        if is_last {
            let catching_up = std::mem::replace(&mut self.phase, Phase::Over);
            self.phase = match catching_up {
                Phase::CatchingUp(Some(listening)) => Phase::Live(listening),
                // Once more: between the last page and the first event heard there may be some.
                Phase::CatchingUp(None) => {
                    Phase::CatchingUp(Some(self.inner.listen(self.watch.interest()).await?))
                }
                other @ (Phase::Live(_) | Phase::Over) => other,
            };
        }
        Ok(())
    }

    /// Takes an event from the topics.
    async fn hear(&mut self, heard: &Heard) -> Result<(), Failure> {
        let Heard { live, read } = heard;
        if self.has_seen(live) {
            return Ok(());
        }
        match self.watch {
            Watch::Order(_) => self.advance(live),
            // What was not for this subscriber counts as seen: it need not be looked through when
            // they come again.
            Watch::All(_) => self.cursor.merge(read),
        }
        self.tell(live).await
    }

    /// Takes an event from the store.
    async fn consider(&mut self, live: &Live) -> Result<(), Failure> {
        if self.has_seen(live) {
            return Ok(());
        }
        self.advance(live);
        self.tell(live).await
    }

    fn has_seen(&self, live: &Live) -> bool {
        self.cursor.has_seen(live.topic, live.partition, live.offset)
    }

    fn advance(&mut self, live: &Live) {
        self.cursor.advance(live.topic, live.partition, live.offset.saturating_add(1));
    }

    /// Makes an update of an event that is the subscriber's to see.
    async fn tell(&mut self, live: &Live) -> Result<(), Failure> {
        if self.inner.is_visible(&self.watch, live).await? {
            self.ready.push_back(Update {
                cursor: self.cursor.clone(),
                kind: (&live.event).into(),
                at: live.event.occurred_at(),
                order_id: live.event.order_id(),
                event_id: live.event.event_id(),
                passed: self.inner.behind(live),
            });
        }
        Ok(())
    }
}

impl Watch {
    fn interest(&self) -> Interest {
        match self {
            Self::Order(id) => Interest::Order(*id),
            Self::All(Principal::Customer(own)) => Interest::Customer(own.clone()),
            Self::All(Principal::Operator) => Interest::All,
        }
    }
}

impl Inner {
    /// Refuses a cursor that names partitions which the topics don't have. What it asks of the store
    /// is bounded by that: each partition is a condition.
    async fn check(&self, after: &Cursor, watch: &Watch) -> Result<(), Failure> {
        if *after == Cursor::default() {
            return Ok(());
        }
        let (_listening, start) = self.hub.listen(watch.interest()).await?;
        if after.is_within(&start.begin) {
            return Ok(());
        }
        let message = "after names a partition that the topics do not have";
        Err(Failure::new(Code::Invalid, message))
    }

    /// Listens, and waits until the store has everything that was delivered before.
    async fn listen(&self, interest: Interest) -> Result<Listening, Failure> {
        let (listening, start) = self.hub.listen(interest).await?;
        let before = start.delivered().positions(&self.names);
        if self.progress.passed(&before, self.wait).await {
            return Ok(listening);
        }
        let message = "the order store is behind the topics; try again";
        Err(Failure::new(Code::ReceiptTimeout, message))
    }

    /// The state of an order as an update, and what it covers.
    async fn state_of(&self, id: OrderId) -> Result<(Option<Update>, Cursor), Failure> {
        let mut cursor = Cursor::default();
        let Some(order) = self.store.order(id).await? else { return Ok((None, cursor)) };
        for entry in &order.timeline {
            let at = &entry.recorded;
            if let Some(topic) = self.names.topic_of(&at.topic) {
                cursor.advance(topic, at.partition, at.offset.saturating_add(1));
            }
        }
        Ok((last(&order, &cursor), cursor))
    }

    /// The place behind an event.
    fn behind(&self, live: &Live) -> Position {
        Position {
            topic: self.names.name(live.topic),
            partition: live.partition,
            next_offset: live.offset.saturating_add(1),
        }
    }

    async fn is_visible(&self, watch: &Watch, live: &Live) -> Result<bool, Failure> {
        let own = match watch {
            Watch::Order(_) | Watch::All(Principal::Operator) => return Ok(true),
            Watch::All(Principal::Customer(own)) => own,
        };
        if let Some(owner) = self.hub.owners.of(&live.event).await? {
            return Ok(owner == *own);
        }
        // The store may be a moment behind. An order that it does not have by then is nobody's.
        self.progress.passed(&[self.behind(live)], self.wait).await;
        let owner = self.hub.owners.of(&live.event).await?;
        Ok(owner.is_some_and(|owner| owner == *own))
    }
}

/// The last thing that happened to an order.
fn last(order: &OrderView, cursor: &Cursor) -> Option<Update> {
    let entry = order.timeline.last()?;
    Some(Update {
        cursor: cursor.clone(),
        kind: entry.kind,
        at: entry.at,
        order_id: order.id,
        event_id: entry.event_id,
        passed: entry.recorded.passed(),
    })
}
