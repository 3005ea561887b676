//! Orders that wait for the result of one of their events for too long.

use comanda_schemas::{OrderId, Timestamp};

use crate::backend::Id;
use crate::state::{STATE_COLUMNS, StateRow};
use crate::{Error, MAX_PAGE, OrderState, Store};

/// How many orders wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many there are.
    pub orders: u64,
    /// Since when the first of them waits.
    pub since: Option<Timestamp>,
}

impl Store {
    /// How many orders have been waiting since before `before`. Reads no more than those.
    pub async fn count_waiting(&self, before: Timestamp) -> Result<Waiting, Error> {
        let doing = "count the orders that wait";
        let mut session = self.list_reader(doing).await?;
        let mut sql = session
            .sql("SELECT count(*), min(waiting_since) FROM order_states WHERE waiting_since < ");
        sql.bind(before.as_micros());
        let found: Vec<(i64, Option<i64>)> = session.fetch(sql, doing).await?;
        let (orders, since) = found.first().copied().unwrap_or_default();
        Ok(Waiting { orders: orders.unsigned_abs(), since: since.map(Timestamp::from_micros) })
    }

    /// The orders that have been waiting since before `before`, from those on that have waited
    /// longer, at most `limit` and at most [`MAX_PAGE`]. `after` is the last one of the page
    /// before.
    pub async fn waiting(
        &self,
        before: Timestamp,
        after: Option<(Timestamp, OrderId)>,
        limit: u32,
    ) -> Result<Vec<OrderState>, Error> {
        let doing = "list the orders that wait";
        let mut session = self.list_reader(doing).await?;
        let mut sql =
            session.sql(format!("SELECT {STATE_COLUMNS} FROM order_states WHERE waiting_since < "));
        sql.bind(before.as_micros());
        if let Some((since, id)) = after {
            sql.push(" AND (waiting_since, order_id) > (").bind(since.as_micros());
            sql.push(", ").bind(Id(id.as_uuid())).push(")");
        }
        sql.push(" ORDER BY waiting_since, order_id LIMIT ").bind(i64::from(limit.min(MAX_PAGE)));
        let found: Vec<StateRow> = session.fetch(sql, doing).await?;
        found.into_iter().map(StateRow::read).collect()
    }
}
