//! Changing orders: what the order store shows to be impossible is refused, the log decides the
//! rest.
//!
//! - `decision`: what an order allows
//! - `turns`: one change of an order after another, as far as one gateway can see to it

mod decision;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use comanda_producer as producer;
use comanda_schemas::{OrderEvent, OrderId, Timestamp, TraceContext};
use comanda_store::{AnyEvent, Contents, OrderView, Recorded, Store, StoredEvent, fold};
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::auth::Principal;
use crate::failure::{Code, Failure};
use crate::input::{Ask, Change, ErrorCode, UserError};
use crate::metrics::CHANGES_TOTAL;
use crate::place::Placing;
use crate::progress::Progress;
pub(crate) use decision::Bounds;
use decision::{Decision, Wanted};
use turns::Turns;

/// How often orders that the store has caught up with are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// A change that is stored, and where.
#[derive(Debug)]
pub(crate) struct Changed {
    pub order: OrderView,
    pub receipt: Recorded,
}

/// Why an order was not changed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// For reasons of its own; the order as it is, where the caller may see it.
    Wrong(Vec<UserError>, Option<Box<OrderView>>),
    Failed(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Changes orders. Clones share what is remembered.
#[derive(Clone)]
pub(crate) struct Changing {
    store: Store,
    progress: Progress,
    placing: Arc<Placing>,
    turns: Arc<Turns>,
    wait: Duration,
    bounds: Bounds,
}

/// What the store knows of an order.
struct Known {
    facts: Vec<StoredEvent>,
    order: OrderView,
    /// Below this offset of the order's partition it knows everything.
    seen_offset: i64,
}

impl Changing {
    /// Remembers `max` orders for `max_age` at most; the store is waited for `wait` at most, and no
    /// order changes beyond `bounds`.
    pub fn new(
        placing: &Arc<Placing>,
        store: Store,
        progress: Progress,
        (max, max_age): (usize, Duration),
        wait: Duration,
        bounds: Bounds,
    ) -> Self {
        let turns = Arc::new(Turns::new(max, max_age));
        Self { store, progress, placing: placing.clone(), turns, wait, bounds }
    }

    /// Changes an order, or finds that the same request changed it before.
    pub async fn change(
        &self,
        principal: &Principal,
        ask: Ask,
        trace: TraceContext,
    ) -> Result<Changed, Refused> {
        let change = match ask.change {
            Change::Update(_) => "update",
            Change::Cancel { .. } => "cancel",
            Change::Retry { .. } => "retry",
        };
        let settled = match self.own(principal, ask.order_id).await {
            Ok(id) => {
                // On a task of its own: the next change of the order waits for it, and the event is
                // on its way even if this client goes.
                let settling = self.clone().settle(principal.clone(), id, ask, trace);
                tokio::spawn(settling).await.unwrap_or_else(|_| Err(lost().into()))
            }
            Err(refused) => Err(refused),
        };
        let outcome = match &settled {
            Ok((_, true)) => "accepted",
            Ok((_, false)) => "repeated",
            Err(Refused::Wrong(..)) => "refused",
            Err(Refused::Failed(failure)) => failure.code.as_str(),
        };
        counter!(CHANGES_TOTAL, "change" => change, "outcome" => outcome).increment(1);
        settled.map(|(changed, _)| changed)
    }

    /// The order, where `principal` may change it. This comes before the order's turn and before any
    /// wait for it: another's order takes no longer than none, and its owner waits for no stranger.
    async fn own(&self, principal: &Principal, id: Option<OrderId>) -> Result<OrderId, Refused> {
        let id = id.ok_or_else(not_found)?;
        let is_allowed = match principal {
            Principal::Operator => true,
            Principal::Customer(own) => {
                self.placing.recent_receipt(id, principal).is_some()
                    || self.store.is_order_of(id, own).await.map_err(Failure::from)?
            }
        };
        if is_allowed { Ok(id) } else { Err(not_found()) }
    }

    /// The order after the change, and whether that is new.
    async fn settle(
        self,
        principal: Principal,
        id: OrderId,
        ask: Ask,
        trace: TraceContext,
    ) -> Result<(Changed, bool), Refused> {
        let turn = self.turns.of(id);
        let mut turn = turn.lock().await;
        let last = turn.last().cloned().or_else(|| self.placing.recent_receipt(id, &principal));
        let Known { mut facts, order, seen_offset } = self.know(id, &principal, &ask, last).await?;
        let wanted = match decision::decide(&order, &facts, &ask, self.bounds) {
            Decision::Write(wanted) => wanted,
            Decision::Done(receipt) => return Ok((Changed { order, receipt }, false)),
            Decision::Refuse(errors) => return Err(Refused::Wrong(errors, Some(order.into()))),
        };
        let event = event(order, wanted, seen_offset);
        let at = match self.placing.write(&event, &trace).await {
            Ok(at) => at,
            Err(producer::Error::OutcomeUnknown(_)) => return Err(unknown().into()),
            Err(error) => return Err(Failure::from(&error).into()),
        };
        turn.remember(Arc::new(at.clone()));
        debug!(order_id = %id, version = event.version, "change accepted");
        facts.push(StoredEvent { at: at.clone(), event: AnyEvent::Order(event) });
        let order = fold(&facts).ok_or_else(lost)?;
        Ok((Changed { order, receipt: at }, true))
    }

    /// The order as the store has it once it has seen the event at `last`.
    async fn know(
        &self,
        id: OrderId,
        principal: &Principal,
        ask: &Ask,
        last: Option<Arc<Recorded>>,
    ) -> Result<Known, Refused> {
        if let Some(at) = last
            && !self.progress.passed(&[at.passed()], self.wait).await
        {
            let message = "the order store has not seen the order's last change yet; nothing was \
                           stored, try again";
            return Err(Failure::new(Code::ReceiptTimeout, message).into());
        }
        // Before the order, which then has everything below.
        let positions = self.store.positions().await.map_err(Failure::from)?;
        // What the order contains, and what a request like this one may have made of it.
        let and_version = ask.expected_version.and_then(|version| version.checked_add(1));
        let facts =
            self.store.facts(id, Contents::Shown { and_version }).await.map_err(Failure::from)?;
        let order = fold(&facts).filter(|order| principal.is_allowed(&order.customer_id));
        let order = order.ok_or_else(not_found)?;
        let Recorded { topic, partition, offset: placed, .. } = &order.receipt;
        let own = positions.iter().find(|p| p.topic == *topic && p.partition == *partition);
        let seen_offset = own.map_or(0, |position| position.next_offset).max(*placed);
        Ok(Known { facts, order, seen_offset })
    }

    /// Forgets changes and placements that need not be remembered any more, until `shutdown`.
    pub async fn keep_house(self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(SWEEP);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            if self.turns.is_empty() && self.placing.is_idle() {
                continue;
            }
            self.progress.look().await;
            let progress = &self.progress;
            self.turns.sweep(|at| progress.is_known_passed(&at.topic, at.partition, at.offset));
            self.placing.sweep(progress);
        }
    }
}

/// The event that changes `order`.
fn event(order: OrderView, wanted: Wanted, seen_offset: i64) -> OrderEvent {
    let (order_id, version) = (order.id, order.version + 1);
    let Wanted { r#type, order: content, reason } = wanted;
    OrderEvent {
        event_id: OrderEvent::derive_change_id(
            order_id,
            version,
            r#type,
            &content,
            reason.as_deref(),
        ),
        r#type,
        order_id,
        version,
        occurred_at: Timestamp::now(),
        customer_id: order.customer_id,
        order: content,
        reason,
        seen_offset: Some(seen_offset),
    }
}

/// The same for an order of somebody else and for one that does not exist.
fn not_found() -> Refused {
    let message = "there is no such order, or none that the caller may see";
    let error = UserError::new(ErrorCode::NotFound, &["input", "orderId"], message);
    Refused::Wrong(vec![error], None)
}

fn unknown() -> Failure {
    Failure::new(
        Code::OutcomeUnknown,
        "the broker did not answer in time: the change may be stored or not; the same request with \
         an expectedVersion is safe",
    )
}

/// The part of the gateway that knew is gone.
fn lost() -> Failure {
    Failure::new(
        Code::OutcomeUnknown,
        "the gateway lost track of the change: it may be stored or not; the same request with an \
         expectedVersion is safe",
    )
}

#[cfg(test)]
mod tests;
