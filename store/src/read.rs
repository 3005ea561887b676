//! Reading orders and positions.

use comanda_schemas::{OrderEvent, OrderEventType, OrderId};
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};

use crate::error::Doing;
use crate::rows::{COLUMNS, facts_of, fetch};
use crate::{
    AnyEvent, Error, OrderView, Placement, Position, Store, StoredEvent, fingerprint, fold,
};

impl Store {
    /// How far each partition has been applied; a partition of which nothing was is missing.
    pub async fn positions(&self) -> Result<Vec<Position>, Error> {
        let mut connection = self.readers.acquire().await.doing("read positions")?;
        positions(&mut connection).await
    }

    /// Whether the record at `offset` has been applied.
    pub async fn passed(&self, topic: &str, partition: i32, offset: i64) -> Result<bool, Error> {
        let found = sqlx::query(
            "SELECT 1 FROM positions WHERE topic = ? AND partition_id = ? AND next_offset > ?",
        )
        .bind(topic)
        .bind(partition)
        .bind(offset)
        .fetch_optional(&self.readers)
        .await
        .doing("read a position")?;
        Ok(found.is_some())
    }

    /// One order; `None` until its first order event was applied.
    pub async fn order(&self, id: OrderId) -> Result<Option<OrderView>, Error> {
        Ok(fold(&self.facts(id).await?))
    }

    /// All events of one order: what [`fold`] makes the order of.
    pub async fn facts(&self, id: OrderId) -> Result<Vec<StoredEvent>, Error> {
        let mut connection = self.readers.acquire().await.doing("read an order")?;
        let mut facts = facts_of(&mut connection, &[id]).await?;
        Ok(facts.remove(&id).unwrap_or_default())
    }

    /// Whether there is such an order of this customer; the order itself is not looked into.
    pub async fn is_order_of(&self, id: OrderId, customer_id: &str) -> Result<bool, Error> {
        let found = sqlx::query("SELECT 1 FROM orders WHERE order_id = ? AND customer_id = ?")
            .bind(id.to_string())
            .bind(customer_id)
            .fetch_optional(&self.readers)
            .await
            .doing("read whose an order is")?;
        Ok(found.is_some())
    }

    /// How an order was first asked for; `None` until that was applied.
    pub async fn placement(&self, id: OrderId) -> Result<Option<Placement>, Error> {
        let doing = "read how an order was placed";
        let event_id = OrderEvent::derive_id(id, 1, OrderEventType::Placed);
        let mut connection = self.readers.acquire().await.doing(doing)?;
        let mut query: QueryBuilder<Sqlite> =
            QueryBuilder::new(format!("SELECT {COLUMNS} FROM events WHERE event_id = "));
        query.push_bind(event_id.to_string());
        let found = fetch(&mut connection, &mut query, doing).await?;
        Ok(found.into_iter().find_map(|StoredEvent { at, event }| match event {
            AnyEvent::Order(event) => Some(Placement {
                fingerprint: fingerprint(&event.customer_id, &event.order),
                receipt: at,
            }),
            AnyEvent::Payment(_) | AnyEvent::Notification(_) => None,
        }))
    }
}

#[derive(FromRow)]
struct PositionRow {
    topic: String,
    partition_id: i32,
    next_offset: i64,
}

pub(crate) async fn positions(connection: &mut SqliteConnection) -> Result<Vec<Position>, Error> {
    let rows: Vec<PositionRow> =
        sqlx::query_as("SELECT topic, partition_id, next_offset FROM positions ORDER BY 1, 2")
            .fetch_all(connection)
            .await
            .doing("read positions")?;
    let position = |PositionRow { topic, partition_id, next_offset }| Position {
        topic,
        partition: partition_id,
        next_offset,
    };
    Ok(rows.into_iter().map(position).collect())
}
