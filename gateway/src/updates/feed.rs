//! One subscriber's row of updates: what it missed, then what happens, no event left out or given
//! twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comanda_schemas::OrderId;
use comanda_store::{EventPage, MAX_PAGE, OrderView, Position, Recorded, Scope};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::hub::{Heard, Interest, Listening, Start};
use super::{Cursor, Inner, Live, Update, Watch};
use crate::auth::Principal;
use crate::failure::{Code, Failure};
use crate::metrics::{Held, SUBSCRIPTIONS};

/// How long a customer who has caught up waits for orders that the store lacks.
const MAX_WAIT_FOR_ORDERS: Duration = Duration::from_secs(1);
/// Pause between two looks for them.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

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
            (Watch::Order(..), Some(after)) => {
                let listening = inner.listen(watch.interest()).await?;
                (Phase::CatchingUp(Some(listening)), after)
            }
            (Watch::Order(id, _), None) => {
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
        let page = self.page().await?;
        let next = self.inner.cursor_of(&page.next);
        let mut events = page.events.iter().peekable();
        while let Some(event) = events.next() {
            // Of a topic that has another name by now.
            let Some(topic) = self.inner.names.topic_of(&event.at.topic) else { continue };
            let Recorded { partition, offset, .. } = event.at;
            if self.cursor.has_seen(topic, partition, offset) {
                continue;
            }
            self.cursor.advance(topic, partition, offset.saturating_add(1));
            if events.peek().is_none() {
                // The page has nothing more below its end.
                self.cursor.merge(&next);
            }
            self.ready.push_back(Update {
                cursor: self.cursor.clone(),
                kind: event.kind,
                at: event.occurred_at,
                order_id: event.order_id,
                event_id: event.event_id,
                passed: event.at.passed(),
            });
        }
        self.cursor.merge(&next);
        if page.is_last {
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

    /// A page of the subscriber's own events. The last one before it goes live waits a moment for
    /// orders that the store lacks of events that it has: they may be this customer's.
    async fn page(&self) -> Result<EventPage, Failure> {
        let scope = match &self.watch {
            Watch::Order(id, _) => Scope::Order(*id),
            Watch::All(Principal::Operator) => Scope::All,
            Watch::All(Principal::Customer(own)) => Scope::Customer(own),
        };
        let is_before_live = matches!(self.phase, Phase::CatchingUp(Some(_)));
        let after = self.cursor.positions(&self.inner.names);
        let deadline = Instant::now() + self.inner.wait.min(MAX_WAIT_FOR_ORDERS);
        loop {
            let (page, ends) = {
                let _turn = self.inner.turns.take(self.watch.principal()).await;
                let ends = match (scope, is_before_live) {
                    (Scope::Customer(_), true) => self.inner.store.positions().await?,
                    _ => Vec::new(),
                };
                (self.inner.store.event_page(scope, &after, MAX_PAGE).await?, ends)
            };
            let is_held = page.is_last && !has_passed(&page.next, &ends);
            if !is_held || Instant::now() >= deadline {
                return Ok(page);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes an event from the topics.
    async fn hear(&mut self, heard: &Heard) -> Result<(), Failure> {
        let Heard { live, read } = heard;
        if self.has_seen(live) {
            return Ok(());
        }
        match self.watch {
            Watch::Order(..) => self.advance(live),
            // What was not for this subscriber counts as seen: it need not be looked through when
            // they come again.
            Watch::All(_) => self.cursor.merge(read),
        }
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

/// Whether `next` is nowhere before `ends`.
fn has_passed(next: &[Position], ends: &[Position]) -> bool {
    let at = |end: &Position| {
        let mut same =
            next.iter().filter(|n| (&n.topic, n.partition) == (&end.topic, end.partition));
        same.next().map_or(0, |next| next.next_offset)
    };
    ends.iter().all(|end| at(end) >= end.next_offset)
}

impl Watch {
    /// Who watches.
    fn principal(&self) -> &Principal {
        match self {
            Self::Order(_, principal) | Self::All(principal) => principal,
        }
    }

    fn interest(&self) -> Interest {
        match self {
            Self::Order(id, _) => Interest::Order(*id),
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

    /// Positions of the store as a cursor; those of topics that have another name by now are left out.
    fn cursor_of(&self, positions: &[Position]) -> Cursor {
        let mut cursor = Cursor::default();
        for position in positions.iter().filter(|position| position.next_offset > 0) {
            if let Some(topic) = self.names.topic_of(&position.topic) {
                cursor.advance(topic, position.partition, position.next_offset);
            }
        }
        cursor
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
            Watch::Order(..) | Watch::All(Principal::Operator) => return Ok(true),
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
