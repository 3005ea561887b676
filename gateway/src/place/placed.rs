//! What becomes of a placement, and what there is to show of it.

use std::sync::Arc;

use comanda_schemas::{OrderEvent, Timestamp};
use comanda_store::{OrderView, Recorded};
use tracing::debug;

use crate::failure::{Code, Failure};

/// An order that is stored, and where.
#[derive(Debug)]
pub(crate) struct Placed {
    pub order: Shown,
    pub receipt: Arc<Recorded>,
}

/// What there is to show of an order.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Nothing is known of it but the event that placed it.
    Placed(Arc<OrderEvent>),
    /// As the order store has it.
    Stored(Box<OrderView>),
}

impl Placed {
    /// A copy of the whole order.
    pub fn to_view(&self) -> OrderView {
        match &self.order {
            Shown::Stored(order) => (**order).clone(),
            Shown::Placed(event) => OrderView::placed((**event).clone(), (*self.receipt).clone()),
        }
    }

    /// The whole order.
    pub fn view(self) -> OrderView {
        match self.order {
            Shown::Stored(order) => *order,
            Shown::Placed(event) => {
                let receipt = Arc::unwrap_or_clone(self.receipt);
                OrderView::placed(Arc::unwrap_or_clone(event), receipt)
            }
        }
    }
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
    pub(super) is_new: bool,
}

impl Known {
    /// One that an earlier request placed.
    pub fn again(occurred_at: Timestamp, at: Recorded, owner: &str) -> Self {
        Self { occurred_at, at: Arc::new(at), owner: owner.into(), is_new: false }
    }

    /// The same, for another request.
    pub fn repeated(self) -> Self {
        Self { is_new: false, ..self }
    }
}

impl Refused {
    /// Whether the order may be stored all the same.
    pub(super) fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.code == Code::OutcomeUnknown)
    }
}

impl Placed {
    /// The order of `event`, as it was placed.
    pub(super) fn new(event: Arc<OrderEvent>, known: Known) -> Self {
        let event = if known.is_new {
            debug!(order_id = %event.order_id, "order accepted");
            event
        } else {
            // As the first request placed it.
            let event = Arc::unwrap_or_clone(event);
            Arc::new(OrderEvent { occurred_at: known.occurred_at, ..event })
        };
        Self { order: Shown::Placed(event), receipt: known.at }
    }
}
