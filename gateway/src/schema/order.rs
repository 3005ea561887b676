//! The type `Order`: whole where all of it is at hand, else read as far as it is selected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_graphql::{ID, Object};
use comanda_schemas::OrderId;
use comanda_store::{Latest, OrderState, OrderView, Store};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::outputs::{
    Contact, Notification, OrderLine, OrderStatus, Payment, Receipt, TIMELINE, TimelineEntry,
    WholeOrder,
};
use super::scalars::{DateTime, Long};
use crate::failure::{Code, Failure};

/// The type `Order`.
pub(crate) enum Order {
    /// One of which everything is at hand.
    Whole(Box<WholeOrder>),
    /// One of those that were read together.
    Listed(Box<OrderState>, Arc<Siblings>),
}

/// What orders that were read together contain, and their history: read for all of them at once,
/// where it is selected of one.
pub(crate) struct Siblings {
    store: Store,
    ids: Vec<OrderId>,
    content_ids: Vec<Uuid>,
    contents: OnceCell<HashMap<Uuid, comanda_schemas::Order>>,
    notifications: OnceCell<HashMap<OrderId, Vec<comanda_store::NotificationView>>>,
    timelines: Mutex<TimelineParts>,
}

/// Parts of the timelines, by what is asked for.
type TimelineParts = HashMap<(u32, Option<Uuid>), Arc<Timelines>>;
type Timelines = OnceCell<HashMap<OrderId, Vec<comanda_store::TimelineEntry>>>;

impl Order {
    /// Orders that were read together.
    pub fn listed(store: &Store, states: Vec<OrderState>) -> Vec<Self> {
        let siblings = Arc::new(Siblings {
            store: store.clone(),
            ids: states.iter().map(|state| state.id).collect(),
            content_ids: states.iter().map(|state| state.content).collect(),
            contents: OnceCell::new(),
            notifications: OnceCell::new(),
            timelines: Mutex::default(),
        });
        let listed = |state| Self::Listed(Box::new(state), siblings.clone());
        states.into_iter().map(listed).collect()
    }

    /// An order that was read alone.
    pub fn single(store: &Store, state: OrderState) -> Option<Self> {
        Self::listed(store, vec![state]).pop()
    }
}

impl From<OrderView> for Order {
    fn from(view: OrderView) -> Self {
        Self::Whole(Box::new(view.into()))
    }
}

/// An order with everything that happened to it.
#[Object(serial)]
impl Order {
    /// Its id, a UUID.
    async fn id(&self) -> ID {
        match self {
            Self::Whole(order) => order.id.clone(),
            Self::Listed(state, _) => state.id.to_string().into(),
        }
    }

    /// Who ordered.
    async fn customer_id(&self) -> ID {
        match self {
            Self::Whole(order) => order.customer_id.clone(),
            Self::Listed(state, _) => state.customer_id.clone().into(),
        }
    }

    /// Where it stands.
    async fn status(&self) -> OrderStatus {
        match self {
            Self::Whole(order) => order.status,
            Self::Listed(state, _) => state.status.into(),
        }
    }

    /// Its version, counted from 1; every change makes the next one.
    async fn version(&self) -> i32 {
        match self {
            Self::Whole(order) => order.version,
            Self::Listed(state, _) => state.version,
        }
    }

    /// ISO 4217 code of all amounts.
    async fn currency(&self) -> &str {
        match self {
            Self::Whole(order) => &order.currency,
            Self::Listed(state, _) => state.currency.code(),
        }
    }

    /// Sum of the lines in minor units of the currency.
    async fn total_minor(&self) -> Long {
        match self {
            Self::Whole(order) => order.total_minor,
            Self::Listed(state, _) => state.total_minor.into(),
        }
    }

    /// What is ordered.
    async fn lines(&self) -> Result<Vec<OrderLine>, Failure> {
        match self {
            Self::Whole(order) => Ok(order.lines.clone()),
            Self::Listed(state, siblings) => {
                let lines = &siblings.content(state).await?.lines;
                Ok(lines.iter().cloned().map(OrderLine::from).collect())
            }
        }
    }

    /// Whom to tell about the outcome.
    async fn contact(&self) -> Result<Contact, Failure> {
        match self {
            Self::Whole(order) => Ok(order.contact.clone()),
            Self::Listed(state, siblings) => {
                Ok(siblings.content(state).await?.contact.clone().into())
            }
        }
    }

    /// The payment provider's token of the payment method.
    async fn payment_method(&self) -> Result<&str, Failure> {
        match self {
            Self::Whole(order) => Ok(&order.payment_method),
            Self::Listed(state, siblings) => Ok(&siblings.content(state).await?.payment_method),
        }
    }

    /// A note for the kitchen.
    async fn note(&self) -> Result<Option<&str>, Failure> {
        match self {
            Self::Whole(order) => Ok(order.note.as_deref()),
            Self::Listed(state, siblings) => Ok(siblings.content(state).await?.note.as_deref()),
        }
    }

    /// When it was placed.
    async fn placed_at(&self) -> DateTime {
        match self {
            Self::Whole(order) => order.placed_at,
            Self::Listed(state, _) => state.placed_at.into(),
        }
    }

    /// When the last thing happened to it.
    async fn updated_at(&self) -> DateTime {
        match self {
            Self::Whole(order) => order.updated_at,
            Self::Listed(state, _) => state.updated_at.into(),
        }
    }

    /// Its payment.
    async fn payment(&self) -> Payment {
        match self {
            Self::Whole(order) => order.payment.clone(),
            Self::Listed(state, _) => state.payment.clone().into(),
        }
    }

    /// The messages to the customer, oldest first: the latest 100.
    async fn notifications(&self) -> Result<Vec<Notification>, Failure> {
        match self {
            Self::Whole(order) => {
                let skipped = order.notifications.len().saturating_sub(TIMELINE as usize);
                Ok(order.notifications[skipped..].to_vec())
            }
            Self::Listed(state, siblings) => {
                let all = siblings.notifications().await?;
                let own = all.get(&state.id).map(Vec::as_slice).unwrap_or_default();
                Ok(own.iter().cloned().map(Notification::from).collect())
            }
        }
    }

    /// What happened to it, oldest first: the latest entries, or the latest before one.
    #[graphql(complexity = "10 * child_complexity")]
    async fn timeline(
        &self,
        #[graphql(
            desc = "How many entries, the latest ones: 0 to 100. 100 where nothing is said."
        )]
        last: Option<i32>,
        #[graphql(desc = "The eventId of an entry: only what comes before it.")] before: Option<ID>,
    ) -> Result<Vec<TimelineEntry>, Failure> {
        let last = match last.map_or(Ok(TIMELINE), u32::try_from) {
            Ok(last) if last <= TIMELINE => last,
            _ => {
                let message = format!("last must be from 0 to {TIMELINE}");
                return Err(Failure::new(Code::Invalid, message));
            }
        };
        let parse = |id: ID| {
            let message = "before must be the eventId of an entry";
            Uuid::try_parse(&id).map_err(|_| Failure::new(Code::Invalid, message))
        };
        let before = before.map(parse).transpose()?;
        match self {
            Self::Whole(order) => Ok(order.timeline(last as usize, before)),
            Self::Listed(state, siblings) => siblings.timeline(state.id, last, before).await,
        }
    }

    /// Where the event is stored that placed it.
    async fn receipt(&self) -> Receipt {
        match self {
            Self::Whole(order) => order.receipt.clone(),
            Self::Listed(state, _) => Receipt(Arc::new(state.receipt.clone())),
        }
    }
}

impl WholeOrder {
    fn timeline(&self, last: usize, before: Option<Uuid>) -> Vec<TimelineEntry> {
        let all: Vec<&TimelineEntry> = self.earlier.iter().chain(&self.timeline).collect();
        let end = match before.map(|id| id.to_string()) {
            Some(id) => all.iter().position(|entry| *entry.event_id == id).unwrap_or(0),
            None => all.len(),
        };
        all[end.saturating_sub(last)..end].iter().copied().cloned().collect()
    }
}

impl Siblings {
    async fn content(&self, state: &OrderState) -> Result<&comanda_schemas::Order, Failure> {
        let read = async || self.store.contents(&self.content_ids).await;
        let contents = self.contents.get_or_try_init(read).await?;
        contents.get(&state.content).ok_or_else(Failure::internal)
    }

    async fn notifications(
        &self,
    ) -> Result<&HashMap<OrderId, Vec<comanda_store::NotificationView>>, Failure> {
        let read = async || self.store.notifications(&self.ids, TIMELINE).await;
        Ok(self.notifications.get_or_try_init(read).await?)
    }

    async fn timeline(
        &self,
        id: OrderId,
        last: u32,
        before: Option<Uuid>,
    ) -> Result<Vec<TimelineEntry>, Failure> {
        let part = {
            let mut timelines = self.timelines.lock().unwrap_or_else(|e| e.into_inner());
            timelines.entry((last, before)).or_default().clone()
        };
        let read = async || self.store.timelines(&self.ids, Latest { last, before }).await;
        let all = part.get_or_try_init(read).await?;
        let own = all.get(&id).map(Vec::as_slice).unwrap_or_default();
        Ok(own.iter().cloned().map(TimelineEntry::from).collect())
    }
}
