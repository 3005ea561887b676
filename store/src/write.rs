//! Applying a batch of records: facts, contents, folded states and offsets in one SQL transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use comanda_schemas::OrderId;
use uuid::Uuid;

use crate::backend::{Either, Session};
use crate::fold::place;
use crate::insert::{advance, insert_contents, insert_facts, upsert_states};
use crate::refold;
use crate::rows::{CHUNK, ContentRow, Fact};
use crate::{AnyEvent, Applied, Error, OrderState, Position, Store};

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
        let changes = Changes::of(batch)?;
        let mut session = self.writer("begin a batch").await?;
        session.begin("begin a batch").await?;
        changes.write(&mut session).await?;
        session.commit("commit a batch").await
    }
}

/// What a batch of records brings.
pub(crate) struct Changes {
    facts: Vec<Fact>,
    contents: Vec<ContentRow>,
    /// Orders to fold again, ascending.
    folded: Vec<OrderId>,
    /// Orders of which nothing but the time of the last change can be another, ascending.
    touched: Vec<OrderId>,
    /// Who placed an order, as the batch has it.
    customers: HashMap<Uuid, String>,
    positions: Vec<Position>,
}

impl Changes {
    pub fn of(batch: &[Applied]) -> Result<Self, Error> {
        let first = first_records(batch);
        let (mut folded, mut touched) = (BTreeSet::new(), BTreeSet::new());
        let (mut facts, mut contents) = (Vec::with_capacity(first.len()), Vec::new());
        let mut seen = HashSet::new();
        let mut customers: HashMap<Uuid, (_, &str)> = HashMap::new();
        for (applied, event) in first {
            let (fact, content) = Fact::new(&applied.at, event)?;
            match event {
                AnyEvent::Notification(_) => touched.insert(event.order_id()),
                AnyEvent::Order(_) | AnyEvent::Payment(_) | AnyEvent::Report(_) => {
                    folded.insert(event.order_id())
                }
            };
            if let AnyEvent::Order(event) = event {
                let named = (place(&applied.at), event.customer_id.as_str());
                let first = customers.entry(event.order_id.as_uuid()).or_insert(named);
                *first = named.min(*first);
            }
            contents.extend(content.filter(|content| seen.insert(content.content_id)));
            facts.push(fact);
        }
        let customers = customers.into_iter().map(|(id, (_, customer))| (id, customer.to_owned()));
        Ok(Self {
            facts,
            contents,
            touched: touched.difference(&folded).copied().collect(),
            folded: folded.into_iter().collect(),
            customers: customers.collect(),
            positions: passed(batch),
        })
    }

    /// Writes them within the transaction that `session` has begun.
    pub async fn write(mut self, session: &mut Session) -> Result<(), Error> {
        let mut orders = [self.folded.as_slice(), &self.touched].concat();
        orders.sort();
        lock(session, &orders).await?;
        let known = refold::customers(session, &orders).await?;
        for fact in &mut self.facts {
            let id = &fact.order_id.0;
            fact.customer_id = known.get(id).or_else(|| self.customers.get(id)).cloned();
        }
        insert_facts(session, &self.facts).await?;
        insert_contents(session, &self.contents).await?;
        let mut states: Vec<OrderState> = Vec::with_capacity(self.folded.len());
        for chunk in self.folded.chunks(CHUNK) {
            states.extend(refold::fold_again(session, chunk).await?);
        }
        upsert_states(session, &states).await?;
        refold::touch(session, &self.touched).await?;
        advance(session, &self.positions).await
    }
}

/// The first record of each event of an order: one statement may not meet the same event twice.
fn first_records(batch: &[Applied]) -> Vec<(&Applied, &AnyEvent)> {
    let mut first: HashMap<(OrderId, Uuid), (&Applied, &AnyEvent)> =
        HashMap::with_capacity(batch.len());
    for applied in batch {
        let Some(event) = &applied.event else { continue };
        first
            .entry((event.order_id(), event.event_id()))
            .and_modify(|seen| {
                if place(&applied.at) < place(&seen.0.at) {
                    *seen = (applied, event);
                }
            })
            .or_insert((applied, event));
    }
    first.into_values().collect()
}

/// Where a batch ends in each partition. Sorted, so that two transactions can't wait for each other.
fn passed(batch: &[Applied]) -> Vec<Position> {
    let mut next: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for Applied { at, .. } in batch {
        let passed = at.offset.saturating_add(1);
        let position = next.entry((&at.topic, at.partition)).or_insert(passed);
        *position = passed.max(*position);
    }
    let position = |((topic, partition), next_offset): ((&str, i32), i64)| Position {
        topic: topic.to_owned(),
        partition,
        next_offset,
    };
    next.into_iter().map(position).collect()
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
        let all = "SELECT pg_advisory_xact_lock('applied_offsets'::regclass::oid::int4, 0)";
        return session.execute(session.sql(all), doing).await;
    }
    let shared = "SELECT pg_advisory_xact_lock_shared('applied_offsets'::regclass::oid::int4, 0)";
    session.execute(session.sql(shared), doing).await?;
    let keys: BTreeSet<i32> = orders.iter().map(|id| lock_key(*id)).collect();
    let mut sql =
        session.sql("SELECT pg_advisory_xact_lock('order_states'::regclass::oid::int4, key) FROM ");
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
