//! An order as lists show it, and its row.

use comanda_schemas::{Currency, OrderId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use crate::backend::{Id, Session, Text};
use crate::rows::corrupt;
use crate::{Error, OrderStatus, PaymentView, Recorded, Store};

/// An order without what it contains and without its history: a row of `order_states`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// Its id.
    pub id: OrderId,
    /// Who placed it.
    pub customer_id: String,
    /// Highest version that is known, counted from 1.
    pub version: i32,
    /// How many of its order events wait for their results.
    pub open_events: u32,
    /// Where it stands.
    pub status: OrderStatus,
    /// Currency of its amounts.
    pub currency: Currency,
    /// Sum of its lines in minor units.
    pub total_minor: i64,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When the last thing happened to it. In a column alone, where a message changes it.
    #[serde(skip, default = "never")]
    pub updated_at: Timestamp,
    /// When the oldest of its events came that has no result yet and has none behind it; `None`
    /// where all is settled.
    pub waiting_since: Option<Timestamp>,
    /// Its payment.
    pub payment: PaymentView,
    /// The record of its first version.
    pub receipt: Recorded,
    /// What it contains: what was charged, or where nothing was, the latest version.
    pub content: Uuid,
    /// What it contains with all that was asked for and not rejected yet.
    pub latest: Uuid,
}

fn never() -> Timestamp {
    Timestamp::from_micros(0)
}

/// The columns that [`StateRow`] reads.
pub(crate) const STATE_COLUMNS: &str = "order_id, updated_at, body";

/// What is read of a row of `order_states`.
#[derive(FromRow)]
pub(crate) struct StateRow {
    order_id: Id,
    updated_at: i64,
    body: String,
}

impl StateRow {
    pub fn read(self) -> Result<OrderState, Error> {
        let state: OrderState =
            serde_json::from_str(&self.body).map_err(|source| corrupt(self.order_id, source))?;
        Ok(OrderState { updated_at: Timestamp::from_micros(self.updated_at), ..state })
    }
}

impl Store {
    /// One order as lists show it; `None` until its first order event was applied.
    pub async fn state(&self, id: OrderId) -> Result<Option<OrderState>, Error> {
        let doing = "read an order";
        let mut session = self.keyed_reader(doing).await?;
        state(&mut session, id, None, doing).await
    }

    /// One order as lists show it, where it is one of `customer_id`. Another's takes no longer than
    /// none.
    pub async fn state_of(
        &self,
        id: OrderId,
        customer_id: &str,
    ) -> Result<Option<OrderState>, Error> {
        let doing = "read an order of a customer";
        let mut session = self.keyed_reader(doing).await?;
        state(&mut session, id, Some(customer_id), doing).await
    }

    /// Who placed an order; `None` until its first order event was applied.
    pub async fn customer_of(&self, id: OrderId) -> Result<Option<String>, Error> {
        Ok(self.state(id).await?.map(|state| state.customer_id))
    }
}

async fn state(
    session: &mut Session,
    id: OrderId,
    customer_id: Option<&str>,
    doing: &'static str,
) -> Result<Option<OrderState>, Error> {
    let mut sql =
        session.sql(format!("SELECT {STATE_COLUMNS} FROM order_states WHERE order_id = "));
    sql.bind(Id(id.as_uuid()));
    if let Some(customer_id) = customer_id {
        sql.push(" AND customer_id = ").bind(Text(customer_id));
    }
    let found: Vec<StateRow> = session.fetch(sql, doing).await?;
    found.into_iter().next().map(StateRow::read).transpose()
}
