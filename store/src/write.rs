//! Applying a batch of records: events, folded orders and positions in one SQL transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use comanda_schemas::{OrderId, Timestamp};
use uuid::Uuid;

use crate::backend::{Either, Id, Session, Sql, Text};
use crate::fold::place;
use crate::rows::{CHUNK, Row, facts_of};
use crate::{Applied, Error, OrderView, Store, fold};

/// Orders that a batch locks one by one. PostgreSQL has room for 64 locks a connection on average
/// (`max_locks_per_transaction`); a larger batch takes one for all orders.
const LOCKS: usize = 1_000;

impl Store {
    /// Applies records in one transaction: all of them, or none where it fails.
    ///
    /// Applying a record again changes nothing, and topics may be applied in any order relative
    /// to each other, also at the same time: the same records always give the same store. Of an
    /// event that was recorded twice the first record counts. Positions only move forward.
    pub async fn apply(&self, batch: &[Applied]) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let rows = first_records(batch)?;
        let touched: BTreeSet<OrderId> =
            batch.iter().filter_map(|applied| Some(applied.event.as_ref()?.order_id())).collect();
        let touched: Vec<OrderId> = touched.into_iter().collect();

        let mut session = self.writer("begin a batch").await?;
        session.begin("begin a batch").await?;
        lock(&mut session, &touched).await?;
        insert_events(&mut session, &rows).await?;
        let facts = facts_of(&mut session, &touched).await?;
        let orders: Vec<OrderView> = facts.values().filter_map(|facts| fold(facts)).collect();
        upsert_orders(&mut session, &orders).await?;
        advance_positions(&mut session, batch).await?;
        session.commit("commit a batch").await
    }
}

/// The first record of each event: one statement may not meet the same event twice.
fn first_records(batch: &[Applied]) -> Result<Vec<Row>, Error> {
    let mut first: HashMap<Uuid, &Applied> = HashMap::with_capacity(batch.len());
    for applied in batch {
        let Some(event) = &applied.event else { continue };
        first
            .entry(event.event_id())
            .and_modify(|seen| {
                if place(&applied.at) < place(&seen.at) {
                    *seen = applied;
                }
            })
            .or_insert(applied);
    }
    let row = |applied: &Applied| Some(Row::new(&applied.at, applied.event.as_ref()?));
    first.into_values().filter_map(row).collect()
}

/// Lets nobody else write these orders until the transaction ends.
///
/// Without, two projectors that each apply an event of one order at the same time would each fold
/// the order without the other's. SQLite has one writer anyway. On PostgreSQL these are advisory
/// locks under the ids of tables, so that two stores in one database don't meet. Keys are locked in
/// ascending order, so that nobody waits in a circle; two orders that share a key only wait for each
/// other without need.
async fn lock(session: &mut Session, orders: &[OrderId]) -> Result<(), Error> {
    if !session.is_postgres() {
        return Ok(());
    }
    let doing = "lock orders";
    if orders.len() > LOCKS {
        let all = "SELECT pg_advisory_xact_lock('positions'::regclass::oid::int4, 0)";
        return session.execute(session.sql(all), doing).await;
    }
    let shared = "SELECT pg_advisory_xact_lock_shared('positions'::regclass::oid::int4, 0)";
    session.execute(session.sql(shared), doing).await?;
    let keys: BTreeSet<i32> = orders.iter().map(|id| lock_key(*id)).collect();
    let mut sql =
        session.sql("SELECT pg_advisory_xact_lock('orders'::regclass::oid::int4, key) FROM ");
    if let Either::Postgres(query) = &mut sql.builder {
        let keys: Vec<i32> = keys.into_iter().collect();
        query.push("UNNEST(").push_bind(keys).push(") AS key");
    }
    session.execute(sql, doing).await
}

/// The end of an id: the beginning of a random one is the time.
fn lock_key(id: OrderId) -> i32 {
    let [.., a, b, c, d] = *id.as_uuid().as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

async fn insert_events(session: &mut Session, rows: &[Row]) -> Result<(), Error> {
    for chunk in rows.chunks(CHUNK) {
        let mut sql = session.sql(
            "INSERT INTO events (event_id, order_id, kind, topic, partition_id, record_offset, \
             recorded_at, payload) ",
        );
        push_events(&mut sql, chunk);
        sql.push(
            " ON CONFLICT (event_id) DO UPDATE SET topic = excluded.topic, \
             partition_id = excluded.partition_id, record_offset = excluded.record_offset, \
             recorded_at = excluded.recorded_at, payload = excluded.payload \
             WHERE (excluded.partition_id, excluded.record_offset) \
             < (events.partition_id, events.record_offset)",
        );
        session.execute(sql, "store events").await?;
    }
    Ok(())
}

/// The rows, one parameter a value; on PostgreSQL one a column, so that the statement stays the
/// same whatever their number.
fn push_events(sql: &mut Sql, rows: &[Row]) {
    match &mut sql.builder {
        Either::Sqlite(query) => {
            query.push_values(rows, |mut values, row| {
                values
                    .push_bind(row.event_id)
                    .push_bind(row.order_id)
                    .push_bind(&row.kind)
                    .push_bind(&row.topic)
                    .push_bind(row.partition_id)
                    .push_bind(row.record_offset)
                    .push_bind(row.recorded_at)
                    .push_bind(&row.payload);
            });
            sql.is_kept = false;
        }
        Either::Postgres(query) => {
            let mut columns = query.push("SELECT * FROM UNNEST(").separated(", ");
            columns
                .push_bind(column(rows, |row| row.event_id.0))
                .push_bind(column(rows, |row| row.order_id.0))
                .push_bind(column(rows, |row| row.kind.as_str()))
                .push_bind(column(rows, |row| row.topic.as_str()))
                .push_bind(column(rows, |row| row.partition_id))
                .push_bind(column(rows, |row| row.record_offset))
                .push_bind(column(rows, |row| row.recorded_at))
                .push_bind(column(rows, |row| row.payload.as_str()))
                .push_unseparated(")");
        }
    }
}

async fn upsert_orders(session: &mut Session, orders: &[OrderView]) -> Result<(), Error> {
    for chunk in orders.chunks(CHUNK) {
        let mut sql = session
            .sql("INSERT INTO orders (order_id, customer_id, status, placed_at, waiting_since) ");
        match &mut sql.builder {
            Either::Sqlite(query) => {
                query.push_values(chunk, |mut values, order| {
                    values
                        .push_bind(Id(order.id.as_uuid()))
                        .push_bind(Text(&order.customer_id))
                        .push_bind(order.status.as_str())
                        .push_bind(order.placed_at.as_micros())
                        .push_bind(order.waiting_since.map(Timestamp::as_micros));
                });
                sql.is_kept = false;
            }
            Either::Postgres(query) => {
                let mut columns = query.push("SELECT * FROM UNNEST(").separated(", ");
                columns
                    .push_bind(column(chunk, |order| order.id.as_uuid()))
                    .push_bind(column(chunk, |o| Text(&o.customer_id).without_nul().into_owned()))
                    .push_bind(column(chunk, |order| order.status.as_str()))
                    .push_bind(column(chunk, |order| order.placed_at.as_micros()))
                    .push_bind(column(chunk, |order| order.waiting_since.map(Timestamp::as_micros)))
                    .push_unseparated(")");
            }
        }
        // Most events change nothing of it; a row that is written all the same is one to clean up.
        sql.push(
            " ON CONFLICT (order_id) DO UPDATE SET customer_id = excluded.customer_id, \
             status = excluded.status, placed_at = excluded.placed_at, \
             waiting_since = excluded.waiting_since \
             WHERE (orders.customer_id, orders.status, orders.placed_at) \
             <> (excluded.customer_id, excluded.status, excluded.placed_at) \
             OR orders.waiting_since IS DISTINCT FROM excluded.waiting_since",
        );
        session.execute(sql, "store orders").await?;
    }
    Ok(())
}

async fn advance_positions(session: &mut Session, batch: &[Applied]) -> Result<(), Error> {
    // Sorted, so that two transactions can't wait for each other.
    let mut next: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for Applied { at, .. } in batch {
        let position = next.entry((&at.topic, at.partition)).or_default();
        *position = at.offset.saturating_add(1).max(*position);
    }
    let next: Vec<_> = next.into_iter().collect();
    for chunk in next.chunks(CHUNK) {
        let mut sql = session.sql("INSERT INTO positions (topic, partition_id, next_offset) ");
        match &mut sql.builder {
            Either::Sqlite(query) => {
                query.push_values(chunk, |mut values, ((topic, partition), next)| {
                    values.push_bind(*topic).push_bind(*partition).push_bind(*next);
                });
                sql.is_kept = false;
            }
            Either::Postgres(query) => {
                let mut columns = query.push("SELECT * FROM UNNEST(").separated(", ");
                columns
                    .push_bind(column(chunk, |((topic, _), _)| *topic))
                    .push_bind(column(chunk, |((_, partition), _)| *partition))
                    .push_bind(column(chunk, |(_, next)| *next))
                    .push_unseparated(")");
            }
        }
        sql.push(
            " ON CONFLICT (topic, partition_id) DO UPDATE SET next_offset = excluded.next_offset \
             WHERE excluded.next_offset > positions.next_offset",
        );
        session.execute(sql, "store positions").await?;
    }
    Ok(())
}

/// One column of `rows`.
fn column<'r, R, T>(rows: &'r [R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
