//! Applying a batch of records: events, folded orders and positions in one SQL transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use comanda_schemas::OrderId;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use crate::error::Doing;
use crate::fold::place;
use crate::rows::{CHUNK, Row, facts_of};
use crate::{Applied, Error, OrderView, Store, fold};

impl Store {
    /// Applies records in one transaction: all of them, or none where it fails.
    ///
    /// Applying a record again changes nothing, and topics may be applied in any order relative
    /// to each other: the same records always give the same store. Of an event that was recorded
    /// twice the first record counts. Positions only move forward.
    pub async fn apply(&self, batch: &[Applied]) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        // Written from the start: a transaction that turns from reading to writing can find that
        // another process has written in between, and would have to begin again.
        let mut transaction =
            self.writer.begin_with("BEGIN IMMEDIATE").await.doing("begin a batch")?;
        let touched = insert_events(&mut transaction, batch).await?;
        let facts = facts_of(&mut transaction, &touched).await?;
        let orders: Vec<OrderView> = facts.values().filter_map(|facts| fold(facts)).collect();
        upsert_orders(&mut transaction, &orders).await?;
        advance_positions(&mut transaction, batch).await?;
        transaction.commit().await.doing("commit a batch")
    }
}

/// Keeps the first record of each event; the orders the batch is about.
async fn insert_events(
    connection: &mut SqliteConnection,
    batch: &[Applied],
) -> Result<Vec<OrderId>, Error> {
    // One statement may not meet the same event twice (PostgreSQL refuses that).
    let mut first: HashMap<Uuid, &Applied> = HashMap::with_capacity(batch.len());
    let mut touched = HashSet::new();
    for applied in batch {
        let Some(event) = &applied.event else { continue };
        touched.insert(event.order_id());
        first
            .entry(event.event_id())
            .and_modify(|seen| {
                if place(&applied.at) < place(&seen.at) {
                    *seen = applied;
                }
            })
            .or_insert(applied);
    }
    let rows = first.into_values().filter_map(|applied| {
        let event = applied.event.as_ref()?;
        Some(Row::new(&applied.at, event))
    });
    let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
    for chunk in rows.chunks(CHUNK) {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO events (event_id, order_id, kind, topic, partition_id, record_offset, \
             recorded_at, payload) ",
        );
        query.push_values(chunk, |mut values, row| {
            values
                .push_bind(&row.event_id)
                .push_bind(&row.order_id)
                .push_bind(&row.kind)
                .push_bind(&row.topic)
                .push_bind(row.partition_id)
                .push_bind(row.record_offset)
                .push_bind(row.recorded_at)
                .push_bind(&row.payload);
        });
        query.push(
            " ON CONFLICT (event_id) DO UPDATE SET topic = excluded.topic, \
             partition_id = excluded.partition_id, record_offset = excluded.record_offset, \
             recorded_at = excluded.recorded_at, payload = excluded.payload \
             WHERE (excluded.partition_id, excluded.record_offset) \
             < (events.partition_id, events.record_offset)",
        );
        query.build().persistent(false).execute(&mut *connection).await.doing("store events")?;
    }
    Ok(touched.into_iter().collect())
}

async fn upsert_orders(
    connection: &mut SqliteConnection,
    orders: &[OrderView],
) -> Result<(), Error> {
    for chunk in orders.chunks(CHUNK) {
        let mut query: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO orders (order_id, customer_id, status, placed_at) ");
        query.push_values(chunk, |mut values, order| {
            values
                .push_bind(order.id.to_string())
                .push_bind(&order.customer_id)
                .push_bind(order.status.as_str())
                .push_bind(order.placed_at.as_micros());
        });
        query.push(
            " ON CONFLICT (order_id) DO UPDATE SET customer_id = excluded.customer_id, \
             status = excluded.status, placed_at = excluded.placed_at",
        );
        query.build().persistent(false).execute(&mut *connection).await.doing("store orders")?;
    }
    Ok(())
}

async fn advance_positions(
    connection: &mut SqliteConnection,
    batch: &[Applied],
) -> Result<(), Error> {
    let mut next: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for Applied { at, .. } in batch {
        let position = next.entry((&at.topic, at.partition)).or_default();
        *position = at.offset.saturating_add(1).max(*position);
    }
    let next: Vec<_> = next.into_iter().collect();
    for chunk in next.chunks(CHUNK) {
        let mut query: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO positions (topic, partition_id, next_offset) ");
        query.push_values(chunk, |mut values, ((topic, partition), next)| {
            values.push_bind(*topic).push_bind(*partition).push_bind(*next);
        });
        query.push(
            " ON CONFLICT (topic, partition_id) DO UPDATE SET next_offset = excluded.next_offset \
             WHERE excluded.next_offset > positions.next_offset",
        );
        query.build().persistent(false).execute(&mut *connection).await.doing("store positions")?;
    }
    Ok(())
}
