//! Placing orders: one order per idempotency key, accepted means stored.

use std::sync::Arc;
use std::time::Duration;

use comanda_schemas::{Event, OrderEvent, OrderEventType, OrderId, Timestamp, TraceContext};
use comanda_store::{AnyEvent, OrderView, Recorded, Store, StoredEvent, fingerprint, fold};
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::auth::Principal;
use crate::failure::{Code, Failure};
use crate::input::PlaceOrder;
use crate::metrics::PLACEMENTS_TOTAL;
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::recent::{Entered, First, Recent};

/// How often placements that the store has seen by now are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// An order that is stored, and where.
#[derive(Debug)]
pub(crate) struct Placed {
    pub order: OrderView,
    pub receipt: Recorded,
}

/// Why an order was not placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The idempotency key was used for another order.
    Conflict,
    /// Something failed; whether the order is stored is for the code to say.
    Failed(Failure),
}

/// A placement that is stored.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// When the gateway took the first request.
    pub occurred_at: Timestamp,
    pub at: Arc<Recorded>,
    /// Whose order it is.
    pub owner: Arc<str>,
    /// Whether the request this answers is the one that placed it.
    is_new: bool,
}

impl Known {
    /// One that an earlier request placed.
    pub fn again(occurred_at: Timestamp, at: Recorded, owner: &str) -> Self {
        Self { occurred_at, at: Arc::new(at), owner: owner.into(), is_new: false }
    }
}

/// Places orders. Clones share what is remembered.
#[derive(Clone)]
pub(crate) struct Placing {
    producer: Publisher,
    store: Store,
    recent: Arc<Recent>,
}

impl Placing {
    pub fn new(producer: Publisher, store: Store, max_recent: usize, recent_age: Duration) -> Self {
        let recent = Arc::new(Recent::new(max_recent, recent_age));
        Self { producer, store, recent }
    }

    /// Places an order, or finds that the same request placed it before.
    pub async fn place(&self, wanted: PlaceOrder, trace: TraceContext) -> Result<Placed, Refused> {
        let outcome = self.settle(&wanted, trace).await;
        let label = match &outcome {
            Ok((_, known)) if known.is_new => "accepted",
            Ok(_) => "repeated",
            Err(Refused::Conflict) => "IDEMPOTENCY_CONFLICT",
            Err(Refused::Failed(failure)) => failure.code.as_str(),
        };
        counter!(PLACEMENTS_TOTAL, "outcome" => label).increment(1);
        let (id, known) = outcome?;
        if known.is_new {
            debug!(order_id = %id, "order accepted");
        }
        self.answer(id, wanted, known).await
    }

    async fn settle(
        &self,
        wanted: &PlaceOrder,
        trace: TraceContext,
    ) -> Result<(OrderId, Known), Refused> {
        let id = wanted.order_id();
        if wanted.idempotency_key.is_none() {
            let known = self.publish(event(id, wanted.clone()), trace).await?;
            self.recent.remember(id, &known);
            return Ok((id, known));
        }
        let print: Arc<str> = fingerprint(&wanted.customer_id, &wanted.order).into();
        let outcome = match self.recent.enter(id, &print) {
            Entered::Conflict => Err(Refused::Conflict),
            Entered::Known(known) => Ok(known),
            Entered::Waiting(outcome) => {
                outcome.await.map(|known| Known { is_new: false, ..known })
            }
            Entered::First(first) => {
                // On a task of its own: others may wait for it, and the event is on its way even
                // if this client goes.
                let settling = self.clone().settle_first(wanted.clone(), print, trace, first);
                tokio::spawn(settling).await.unwrap_or_else(|_| Err(lost()))
            }
            Entered::Full => self.find_or_publish(wanted, &print, trace).await,
        };
        outcome.map(|known| (id, known))
    }

    async fn settle_first(
        self,
        wanted: PlaceOrder,
        print: Arc<str>,
        trace: TraceContext,
        first: First,
    ) -> Result<Known, Refused> {
        let outcome = self.find_or_publish(&wanted, &print, trace).await;
        first.finish(outcome.clone().map(|known| Known { is_new: false, ..known }));
        outcome
    }

    /// What was placed under the same key before this gateway remembers, or else a new event.
    async fn find_or_publish(
        &self,
        wanted: &PlaceOrder,
        print: &str,
        trace: TraceContext,
    ) -> Result<Known, Refused> {
        let id = wanted.order_id();
        match self.store.placement(id).await {
            Ok(None) => self.publish(event(id, wanted.clone()), trace).await,
            Ok(Some(found)) if found.fingerprint == print => {
                Ok(Known::again(found.receipt.timestamp, found.receipt, &wanted.customer_id))
            }
            Ok(Some(_)) => Err(Refused::Conflict),
            Err(error) => Err(Refused::Failed(error.into())),
        }
    }

    async fn publish(&self, event: OrderEvent, trace: TraceContext) -> Result<Known, Refused> {
        match self.producer.publish(&event, &trace).await {
            Ok(receipt) => Ok(Known {
                occurred_at: event.occurred_at(),
                at: Arc::new(Recorded {
                    topic: receipt.topic,
                    partition: receipt.partition,
                    offset: receipt.offset,
                    timestamp: receipt.timestamp,
                }),
                owner: event.customer_id.into(),
                is_new: true,
            }),
            Err(error) => Err(Refused::Failed(Failure::from(&error))),
        }
    }

    /// The order as it stands: from the store where it may have gone on, else as it was placed.
    async fn answer(
        &self,
        id: OrderId,
        wanted: PlaceOrder,
        known: Known,
    ) -> Result<Placed, Refused> {
        let receipt = (*known.at).clone();
        if !known.is_new
            && let Ok(Some(order)) = self.store.order(id).await
        {
            return Ok(Placed { order, receipt });
        }
        let event = OrderEvent { occurred_at: known.occurred_at, ..event(id, wanted) };
        let fact = StoredEvent { at: receipt.clone(), event: AnyEvent::Order(event) };
        let order = fold(&[fact]).ok_or_else(lost)?;
        Ok(Placed { order, receipt })
    }

    /// Where the placement of an order is stored, as long as that is remembered; `None` as well
    /// where `principal` may not see the order.
    pub fn recent_receipt(&self, id: OrderId, principal: &Principal) -> Option<Arc<Recorded>> {
        let known = self.recent.stored(id)?;
        principal.is_allowed(&known.owner).then_some(known.at)
    }

    /// Forgets what need not be remembered any more, until `shutdown`.
    pub async fn keep_house(self, progress: Progress, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(SWEEP);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            if self.recent.is_empty() {
                continue;
            }
            progress.look().await;
            self.recent.sweep(|at| progress.is_known_passed(&at.topic, at.partition, at.offset));
        }
    }
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

/// The part of the gateway that knew is gone.
pub(crate) fn lost() -> Refused {
    Refused::Failed(Failure::new(
        Code::OutcomeUnknown,
        "the gateway lost track of the order: it may be stored or not; the same request with the \
         same idempotency key is safe",
    ))
}
