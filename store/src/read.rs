//! Reading orders and positions.

use std::collections::HashMap;

use comanda_schemas::{OrderEvent, OrderEventType, OrderId};
use sqlx::FromRow;

use crate::backend::{Id, Session, Text};
use crate::rows::{CHUNK, COLUMNS, facts_of, fetch};
use crate::{
    AnyEvent, Error, OrderView, Placement, Position, Store, StoredEvent, fingerprint, fold,
};

impl Store {
    /// How far each partition has been applied; a partition of which nothing was is missing.
    pub async fn positions(&self) -> Result<Vec<Position>, Error> {
        positions(&mut self.reader("read positions").await?).await
    }

    /// Whether the record at `offset` has been applied.
    pub async fn passed(&self, topic: &str, partition: i32, offset: i64) -> Result<bool, Error> {
        let doing = "read a position";
        let mut session = self.reader(doing).await?;
        let mut sql = session.sql("SELECT next_offset FROM positions WHERE topic = ");
        sql.bind(topic.to_owned()).push(" AND partition_id = ").bind(partition);
        sql.push(" AND next_offset > ").bind(offset);
        let found: Vec<(i64,)> = session.fetch(sql, doing).await?;
        Ok(!found.is_empty())
    }

    /// One order; `None` until its first order event was applied.
    pub async fn order(&self, id: OrderId) -> Result<Option<OrderView>, Error> {
        Ok(fold(&self.facts(id).await?))
    }

    /// All events of one order: what [`fold`] makes the order of.
    pub async fn facts(&self, id: OrderId) -> Result<Vec<StoredEvent>, Error> {
        let mut session = self.reader("read an order").await?;
        let mut facts = facts_of(&mut session, &[id]).await?;
        Ok(facts.remove(&id).unwrap_or_default())
    }

    /// Whether there is such an order of this customer; the order itself is not looked into.
    pub async fn is_order_of(&self, id: OrderId, customer_id: &str) -> Result<bool, Error> {
        let doing = "read whose an order is";
        let mut session = self.reader(doing).await?;
        let mut sql = session.sql("SELECT status FROM orders WHERE order_id = ");
        sql.bind(Id(id.as_uuid())).push(" AND customer_id = ").bind(Text(customer_id));
        let found: Vec<(String,)> = session.fetch(sql, doing).await?;
        Ok(!found.is_empty())
    }

    /// How an order was first asked for; `None` until that was applied.
    pub async fn placement(&self, id: OrderId) -> Result<Option<Placement>, Error> {
        Ok(self.placements(&[id]).await?.remove(&id))
    }

    /// How each of `orders` was first asked for; those of which that was not applied are missing.
    pub async fn placements(
        &self,
        orders: &[OrderId],
    ) -> Result<HashMap<OrderId, Placement>, Error> {
        let doing = "read how orders were placed";
        let mut session = self.reader(doing).await?;
        let mut placements = HashMap::with_capacity(orders.len());
        for chunk in orders.chunks(CHUNK) {
            let mut sql = session.sql(format!("SELECT {COLUMNS} FROM events WHERE event_id"));
            let placed = |id: &OrderId| OrderEvent::derive_id(*id, 1, OrderEventType::Placed);
            sql.one_of(chunk.iter().map(placed));
            for StoredEvent { at, event } in fetch(&mut session, sql, doing).await? {
                if let AnyEvent::Order(event) = event {
                    let fingerprint = fingerprint(&event.customer_id, &event.order);
                    placements.insert(event.order_id, Placement { fingerprint, receipt: at });
                }
            }
        }
        Ok(placements)
    }
}

#[derive(FromRow)]
struct PositionRow {
    topic: String,
    partition_id: i32,
    next_offset: i64,
}

pub(crate) async fn positions(session: &mut Session) -> Result<Vec<Position>, Error> {
    let sql = session.sql("SELECT topic, partition_id, next_offset FROM positions ORDER BY 1, 2");
    let rows: Vec<PositionRow> = session.fetch(sql, "read positions").await?;
    let position = |PositionRow { topic, partition_id, next_offset }| Position {
        topic,
        partition: partition_id,
        next_offset,
    };
    Ok(rows.into_iter().map(position).collect())
}
