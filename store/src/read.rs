//! Reading orders, facts and positions.

use std::collections::{HashMap, HashSet};

use comanda_schemas::OrderId;
use sqlx::FromRow;
use uuid::Uuid;

use crate::backend::{Either, Id, Session, Text};
use crate::fold::fold_steps;
use crate::rows::{BareFact, CHUNK, contents, facts_of, placement_id, recorded, with_contents};
use crate::step::Step;
use crate::{AnyEvent, Error, OrderView, Placement, Position, Store, StoredEvent, fold};

/// Which events of an order come with what the order contained by them. The others have the
/// currency and the total, but no lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Every one.
    All,
    /// None.
    None,
    /// Those that [`fold`] shows, and those of one version where one is given.
    Shown {
        /// The version.
        and_version: Option<i32>,
    },
}

impl Store {
    /// How far each partition has been applied; a partition of which nothing was is missing.
    pub async fn positions(&self) -> Result<Vec<Position>, Error> {
        positions(&mut self.keyed_reader("read positions").await?).await
    }

    /// Whether the record at `offset` has been applied.
    pub async fn passed(&self, topic: &str, partition: i32, offset: i64) -> Result<bool, Error> {
        let doing = "read a position";
        let mut session = self.keyed_reader(doing).await?;
        let mut sql = session.sql("SELECT next_offset FROM applied_offsets WHERE topic = ");
        sql.bind(topic.to_owned()).push(" AND partition_id = ").bind(partition);
        sql.push(" AND next_offset > ").bind(offset);
        let found: Vec<(i64,)> = session.fetch(sql, doing).await?;
        Ok(!found.is_empty())
    }

    /// One order with its whole history; `None` until its first order event was applied.
    pub async fn order(&self, id: OrderId) -> Result<Option<OrderView>, Error> {
        Ok(fold(&self.facts(id, Contents::Shown { and_version: None }).await?))
    }

    /// All events of one order: what [`fold`] makes the order of.
    pub async fn facts(&self, id: OrderId, wanted: Contents) -> Result<Vec<StoredEvent>, Error> {
        let doing = "read the events of an order";
        let mut session = self.order_reader(doing).await?;
        let facts = facts_of(&mut session, id, doing).await?;
        let wanted: HashSet<Uuid> = match wanted {
            Contents::All => facts.iter().filter_map(|fact| fact.content_id).collect(),
            Contents::None => HashSet::new(),
            Contents::Shown { and_version } => shown(id, &facts, and_version),
        };
        if wanted.is_empty() {
            return Ok(with_contents(facts, &HashMap::new()));
        }
        // Contents are never changed, and written with the facts that name them.
        let contents = contents(&mut session, wanted, doing).await?;
        Ok(with_contents(facts, &contents))
    }

    /// Whether there is such an order of this customer; the order itself is not looked into.
    pub async fn is_order_of(&self, id: OrderId, customer_id: &str) -> Result<bool, Error> {
        let doing = "read whose an order is";
        let mut session = self.keyed_reader(doing).await?;
        let mut sql = session.sql("SELECT status FROM order_states WHERE order_id = ");
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
        let mut session = self.keyed_reader(doing).await?;
        let mut placements = HashMap::with_capacity(orders.len());
        for chunk in orders.chunks(CHUNK) {
            let keys: Vec<_> = chunk.iter().map(|id| (id.as_uuid(), placement_id(*id))).collect();
            let mut sql = session.sql(
                "SELECT facts.order_id, fingerprint, topic, partition_id, record_offset, \
                 recorded_at ",
            );
            from_facts(&mut sql, &keys);
            sql.push(" AND fingerprint IS NOT NULL");
            let found: Vec<(Id, String, String, i32, i64, i64)> = session.fetch(sql, doing).await?;
            placements.extend(found.into_iter().map(
                |(id, fingerprint, topic, partition, offset, micros)| {
                    let receipt = recorded(topic, partition, offset, micros);
                    (OrderId::from(id.0), Placement { fingerprint, receipt })
                },
            ));
        }
        Ok(placements)
    }
}

/// The contents that an order shows, and those of `version`.
fn shown(id: OrderId, facts: &[BareFact], version: Option<i32>) -> HashSet<Uuid> {
    let step = |bare: &BareFact| {
        let content = bare.content_id.unwrap_or_default();
        Step::new(&bare.fact.at, &bare.fact.event, content)
    };
    let steps: Vec<Step> = facts.iter().filter_map(step).collect();
    let updated_at = comanda_schemas::Timestamp::from_micros(0);
    let state = fold_steps(id, &steps, updated_at);
    let mut wanted: HashSet<Uuid> =
        state.iter().flat_map(|state| [state.content, state.latest]).collect();
    wanted.extend(facts.iter().filter_map(|bare| match &bare.fact.event {
        AnyEvent::Order(event) if Some(event.version) == version => bare.content_id,
        _ => None,
    }));
    wanted
}

/// The facts of orders by their ids: `keys` are pairs of both.
pub(crate) fn from_facts(sql: &mut crate::backend::Sql, keys: &[(Uuid, Uuid)]) {
    match &mut sql.builder {
        Either::Sqlite(query) => {
            let keys: Vec<[String; 2]> = keys
                .iter()
                .map(|(order, event)| [order, event].map(|id| id.hyphenated().to_string()))
                .collect();
            let keys =
                serde_json::Value::from(keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>());
            // A cross join is carried out in the order in which it is written.
            query.push("FROM json_each(").push_bind(keys.to_string()).push(
                ") AS wanted CROSS JOIN facts \
                 ON facts.order_id = json_extract(wanted.value, '$[0]') \
                 AND facts.event_id = json_extract(wanted.value, '$[1]') WHERE true",
            );
        }
        Either::Postgres(query) => {
            let (orders, events): (Vec<Uuid>, Vec<Uuid>) = keys.iter().copied().unzip();
            query.push("FROM UNNEST(").push_bind(orders).push(", ").push_bind(events).push(
                ") AS wanted (order_id, event_id) JOIN facts USING (order_id, event_id) WHERE true",
            );
        }
    }
}

#[derive(FromRow)]
struct PositionRow {
    topic: String,
    partition_id: i32,
    next_offset: i64,
}

pub(crate) async fn positions(session: &mut Session) -> Result<Vec<Position>, Error> {
    let sql =
        session.sql("SELECT topic, partition_id, next_offset FROM applied_offsets ORDER BY 1, 2");
    let rows: Vec<PositionRow> = session.fetch(sql, "read positions").await?;
    let position = |PositionRow { topic, partition_id, next_offset }| Position {
        topic,
        partition: partition_id,
        next_offset,
    };
    Ok(rows.into_iter().map(position).collect())
}
