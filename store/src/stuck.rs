//! Orders that wait for the result of one of their events for too long.

use comanda_schemas::{OrderId, Timestamp};

use crate::backend::Id;
use crate::rows::facts_of;
use crate::{Error, MAX_PAGE, OrderView, Store, fold};

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
        let mut session = self.reader(doing).await?;
        let mut sql =
            session.sql("SELECT count(*), min(waiting_since) FROM orders WHERE waiting_since < ");
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
    ) -> Result<Vec<OrderView>, Error> {
        let doing = "list the orders that wait";
        let mut session = self.reader(doing).await?;
        session.begin_snapshot(doing).await?;
        let mut sql =
            session.sql("SELECT order_id, waiting_since FROM orders WHERE waiting_since < ");
        sql.bind(before.as_micros());
        if let Some((since, id)) = after {
            sql.push(" AND (waiting_since, order_id) > (").bind(since.as_micros());
            sql.push(", ").bind(Id(id.as_uuid())).push(")");
        }
        sql.push(" ORDER BY waiting_since, order_id LIMIT ").bind(i64::from(limit.min(MAX_PAGE)));
        let found: Vec<(Id, i64)> = session.fetch(sql, doing).await?;
        let ids: Vec<OrderId> = found.into_iter().map(|(id, _)| id.0.into()).collect();
        let mut facts = facts_of(&mut session, &ids).await?;
        session.commit(doing).await?;
        Ok(ids.iter().filter_map(|id| fold(&facts.remove(id)?)).collect())
    }
}
