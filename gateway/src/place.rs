//! Placing orders: one order per idempotency key, accepted means stored.

mod many;
mod placed;

use std::sync::Arc;
use std::time::Duration;

use comanda_producer as producer;
use comanda_schemas::headers::error_chain;
use comanda_schemas::{
    OrderEvent, OrderEventType, OrderId, ReadError, Registry, Timestamp, Topic, TraceContext,
};
use comanda_store::{OrderView, Placement, Recorded, Store, fingerprint};
use metrics::{Counter, counter};
use tracing::warn;

use crate::auth::Principal;
use crate::failure::{Code, Failure};
use crate::input::PlaceOrder;
use crate::lasting::Lasting;
use crate::log::{self, Log};
use crate::lookup::Lookup;
use crate::metrics::PLACEMENTS_TOTAL;
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::recent::{Ending, Entered, First, Outcome, Recent, Sighting, Stored};
pub(crate) use placed::{Known, Placed, Refused, Shown};

/// Places orders.
pub(crate) struct Placing {
    publisher: Publisher,
    store: Store,
    lookup: Lookup,
    registry: Registry,
    /// Name of the orders topic.
    topic: Arc<str>,
    recent: Arc<Recent>,
    log: Log,
    accepted: Counter,
}

impl Placing {
    pub fn start(
        publisher: Publisher,
        registry: Registry,
        log: log::Parts,
        (max_recent, max_bytes): (usize, usize),
        recent_age: Duration,
    ) -> Arc<Self> {
        let recent = Arc::new(Recent::new(max_recent, max_bytes, recent_age));
        let (store, topic) = (log.store.clone(), log.names.name(Topic::Orders).into());
        let log = Log::start(log, recent.clone(), max_recent);
        let lookup = Lookup::new(store.clone());
        let accepted = counter!(PLACEMENTS_TOTAL, "outcome" => "accepted");
        Arc::new(Self { publisher, store, lookup, registry, topic, recent, log, accepted })
    }

    /// Places an order, or finds that the same request placed it before.
    pub async fn place(
        self: &Arc<Self>,
        wanted: PlaceOrder,
        trace: TraceContext,
    ) -> Result<Placed, Refused> {
        let (id, is_keyed) = (wanted.order_id(), wanted.idempotency_key.is_some());
        let event = Arc::new(event(id, wanted));
        let outcome = if is_keyed {
            self.settle(&event, trace).await
        } else {
            let outcome = self.publish(&event, &trace).await;
            outcome.inspect(|known| self.recent.remember(id, known))
        };
        let known = self.counted(outcome)?;
        // By now an earlier one may have gone on.
        let current = if known.is_new { None } else { self.current(id).await };
        let placed = Placed::new(event, known);
        Ok(match current {
            Some(order) => Placed { order: Shown::Stored(order), ..placed },
            None => placed,
        })
    }

    /// Counts how a placement ended.
    fn counted(&self, outcome: Outcome) -> Outcome {
        match &outcome {
            Ok(known) if known.is_new => self.accepted.increment(1),
            Ok(_) => count("repeated"),
            Err(Refused::Conflict) => count("IDEMPOTENCY_CONFLICT"),
            Err(Refused::Failed(failure)) => count(failure.code.as_str()),
        }
        outcome
    }

    /// The order as the store has it, where it has it.
    async fn current(&self, id: OrderId) -> Option<Box<OrderView>> {
        // In a box, because it is large and seldom.
        Box::pin(self.store.order(id)).await.ok().flatten().map(Box::new)
    }

    /// One order per key.
    async fn settle(self: &Arc<Self>, event: &Arc<OrderEvent>, trace: TraceContext) -> Outcome {
        let id = event.order_id;
        let print: Arc<str> = fingerprint(&event.customer_id, &event.order).into();
        match self.recent.enter(id, &print) {
            Entered::Conflict => Err(Refused::Conflict),
            Entered::Known(known) => Ok(known),
            Entered::Waiting(outcome) => outcome.await,
            Entered::First(first) => {
                // Others may wait for it, and the event is on its way even if this client goes.
                let settling = self.clone().settle_first(event.clone(), trace, first);
                Lasting::new(settling).await.unwrap_or_else(|| Err(lost()))
            }
            Entered::Full => self.settle_unseen(event, &trace, &print).await,
        }
    }

    /// One order per key, as far as the store knows it.
    async fn settle_unseen(
        &self,
        event: &OrderEvent,
        trace: &TraceContext,
        print: &Arc<str>,
    ) -> Outcome {
        match self.in_store(event).await? {
            None => self.publish(event, trace).await,
            Some(earlier) if earlier.fingerprint == *print => Ok(earlier.known),
            Some(_) => Err(Refused::Conflict),
        }
    }

    async fn settle_first(
        self: Arc<Self>,
        event: Arc<OrderEvent>,
        trace: TraceContext,
        first: First,
    ) -> Outcome {
        let ending = match first.stored() {
            Some(ours) => self.decide(&event, &first, ours).await,
            None => self.find_or_publish(&event, &trace, &first).await,
        };
        first.finish(ending)
    }

    /// What was placed under the same key before, or else a new event.
    async fn find_or_publish(
        &self,
        event: &OrderEvent,
        trace: &TraceContext,
        first: &First,
    ) -> Ending {
        let found = match self.in_log(event.order_id, first, None).await {
            Ok(None) => self.in_store(event).await,
            found => found,
        };
        match found {
            Ok(None) => {}
            Ok(Some(earlier)) => return Ending::Decided(earlier),
            Err(refused) => return Ending::Failed(refused),
        }
        match written(first, self.publish(event, trace).await) {
            Ok(ours) if self.publisher.has_log() => self.decide(event, first, ours).await,
            Ok(ours) => Ending::Decided(ours),
            Err(ending) => ending,
        }
    }

    /// Which record of the order is the first, now that `ours` is stored: the log decides.
    async fn decide(&self, event: &OrderEvent, first: &First, ours: Stored) -> Ending {
        if self.is_first(first, &ours) {
            return Ending::Decided(ours);
        }
        let (partition, offset) = ours.place();
        if !self.log.passed(partition, offset).await {
            return Ending::Undecided(ours, undecided());
        }
        let found = match self.in_log(event.order_id, first, Some(ours.place())).await {
            Ok(None) if self.log.is_before(partition, offset) => self.in_store(event).await,
            found => found,
        };
        match found {
            Ok(Some(earlier)) if earlier.place() < ours.place() => Ending::Decided(earlier),
            Ok(_) => Ending::Decided(ours),
            Err(_) => Ending::Undecided(ours, undecided()),
        }
    }

    /// Whether `ours` is known to be the first record of the order, without waiting or asking.
    fn is_first(&self, first: &First, ours: &Stored) -> bool {
        let (partition, offset) = ours.place();
        // In this order: what stands before the mark was noted before the mark passed it.
        self.log.has_passed(partition, offset)
            && !self.log.is_before(partition, offset)
            && first.sighting().is_none_or(|seen| seen.place() >= ours.place())
    }

    /// What the log has, as far as it was read, before a record or at all.
    async fn in_log(
        &self,
        id: OrderId,
        first: &First,
        before: Option<(i32, i64)>,
    ) -> Result<Option<Stored>, Refused> {
        let seen = first.sighting();
        let Some(seen) = seen.filter(|seen| before.is_none_or(|place| seen.place() < place)) else {
            return Ok(None);
        };
        match Box::pin(self.registry.read::<OrderEvent>(&seen.value)).await {
            Ok(event) if event.order_id == id && event.r#type == OrderEventType::Placed => {
                Ok(Some(self.earlier(&event, &seen)))
            }
            Ok(_) | Err(ReadError::Decode(_)) => {
                first.dismiss(&seen);
                Ok(None)
            }
            Err(ReadError::Registry(error)) => {
                warn!(error = error_chain(&error), "a placement in the log can't be read");
                Err(undecided())
            }
        }
    }

    fn earlier(&self, event: &OrderEvent, seen: &Sighting) -> Stored {
        let Sighting { partition, offset, timestamp, .. } = *seen;
        let at = Recorded { topic: (*self.topic).into(), partition, offset, timestamp };
        Stored {
            fingerprint: fingerprint(&event.customer_id, &event.order).into(),
            known: Known::again(event.occurred_at, at, &event.customer_id),
        }
    }

    /// What the order store has.
    async fn in_store(&self, event: &OrderEvent) -> Result<Option<Stored>, Refused> {
        let found = self.lookup.placement(event.order_id).await.map_err(Refused::Failed)?;
        Ok(found.map(|found| of_store(event, found)))
    }

    async fn publish(&self, event: &OrderEvent, trace: &TraceContext) -> Outcome {
        self.published(event, self.publisher.publish(event, trace).await)
    }

    /// What is known of an event that was to be stored.
    fn published(
        &self,
        event: &OrderEvent,
        told: Result<producer::Receipt, producer::Error>,
    ) -> Outcome {
        let receipt = told.map_err(|error| Refused::Failed(Failure::from(&error)))?;
        Ok(Known {
            occurred_at: event.occurred_at,
            at: Arc::new(self.wrote(receipt)),
            owner: event.customer_id.as_str().into(),
            is_new: true,
        })
    }

    /// Stores an event of an order; where it stands.
    pub async fn write(
        &self,
        event: &OrderEvent,
        trace: &TraceContext,
    ) -> Result<Recorded, producer::Error> {
        Ok(self.wrote(self.publisher.publish(event, trace).await?))
    }

    /// Notes where a record of ours stands.
    fn wrote(&self, receipt: producer::Receipt) -> Recorded {
        let producer::Receipt { topic, partition, offset, timestamp } = receipt;
        self.log.wrote(partition, offset);
        Recorded { topic, partition, offset, timestamp }
    }

    /// Where the placement of an order is stored, as long as that is remembered; `None` as well
    /// where `principal` may not see the order.
    pub fn recent_receipt(&self, id: OrderId, principal: &Principal) -> Option<Arc<Recorded>> {
        let known = self.recent.stored(id)?;
        principal.is_allowed(&known.owner).then_some(known.at)
    }

    /// Whether there is nothing to forget.
    pub fn is_idle(&self) -> bool {
        self.recent.is_empty()
    }

    /// Forgets what need not be remembered any more.
    pub fn sweep(&self, progress: &Progress) {
        self.recent
            .sweep(|partition, offset| progress.is_known_passed(&self.topic, partition, offset));
    }
}

/// A record of this request that is stored, or else how the placement ends.
fn written(first: &First, outcome: Outcome) -> Result<Stored, Ending> {
    match outcome {
        Ok(known) => Ok(Stored { fingerprint: first.fingerprint(), known }),
        Err(refused) if refused.leaves_doubt() => Err(Ending::Unknown(refused)),
        Err(refused) => Err(Ending::Failed(refused)),
    }
}

/// What the order store has found of the order of `event`.
fn of_store(event: &OrderEvent, found: Placement) -> Stored {
    Stored {
        fingerprint: found.fingerprint.into(),
        // The id follows from the customer, too.
        known: Known::again(found.receipt.timestamp, found.receipt, &event.customer_id),
    }
}

fn count(outcome: &'static str) {
    counter!(PLACEMENTS_TOTAL, "outcome" => outcome).increment(1);
}

/// The event that places `wanted`.
fn event(id: OrderId, wanted: PlaceOrder) -> OrderEvent {
    OrderEvent {
        event_id: OrderEvent::derive_id(id, 1, OrderEventType::Placed),
        r#type: OrderEventType::Placed,
        order_id: id,
        version: 1,
        occurred_at: Timestamp::now(),
        customer_id: wanted.customer_id,
        order: wanted.order,
        reason: None,
        seen_offset: None,
    }
}

/// The order is stored, and more is not known.
fn undecided() -> Refused {
    Refused::Failed(Failure::new(
        Code::OutcomeUnknown,
        "whether another order was placed before under the idempotency key is not known yet; the \
         same request with the same idempotency key is safe",
    ))
}

/// The part of the gateway that knew is gone.
pub(crate) fn lost() -> Refused {
    Refused::Failed(Failure::new(
        Code::OutcomeUnknown,
        "the gateway lost track of the order: it may be stored or not; the same request with the \
         same idempotency key is safe",
    ))
}

#[cfg(test)]
mod tests;
