//! What happened to orders since given offsets, in pages: what a subscriber has missed.

use std::collections::HashMap;
use std::time::Duration;

use comanda_schemas::{OrderId, Timestamp};
use sqlx::FromRow;
use uuid::Uuid;

use crate::backend::{Id, Session, Text};
use crate::read::{from_facts, positions};
use crate::rows::{BareFact, CHUNK, FACT_COLUMNS, fetch, happened, recorded};
use crate::{Error, MAX_PAGE, Position, Recorded, Store, StoredEvent, TimelineKind};

/// Partitions that one statement looks into; SQLite joins at most 500 selections.
const PARTITIONS: usize = 100;
/// How long an event may come before its order does. After that it is taken for one without.
const UNNAMED: Duration = Duration::from_secs(600);
/// What a failed query was for.
const DOING: &str = "read what happened to orders";

/// Whose events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Those of every order.
    All,
    /// Those of one order.
    Order(OrderId),
    /// Those of the orders of one customer. An event that came before its order did belongs to the
    /// customer from the moment at which the store has the order.
    Customer(&'a str),
}

/// An event without its content: what happened to which order, and where that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSummary {
    /// The record; the first one where the event was recorded more than once.
    pub at: Recorded,
    /// The event.
    pub event_id: Uuid,
    /// The order it happened to.
    pub order_id: OrderId,
    /// What happened.
    pub kind: TimelineKind,
    /// When it happened.
    pub occurred_at: Timestamp,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events, by the time they were recorded, then by topic; within a partition always by
    /// offset.
    pub events: Vec<EventSummary>,
    /// Whether the store has no more of them.
    pub is_last: bool,
    /// Where to go on: below these offsets there is no event of the scope but those that were
    /// given in this page or before. They move on where nothing of the scope happened, too.
    pub next: Vec<Position>,
}

impl Store {
    /// A page of the events of `scope` from the offsets in `after` on: at most `limit`, and at most
    /// [`MAX_PAGE`]. A partition that `after` does not name is read from its beginning.
    ///
    /// The cost goes by the events of the scope, not by those of others.
    pub async fn event_page(
        &self,
        scope: Scope<'_>,
        after: &[Position],
        limit: u32,
    ) -> Result<EventPage, Error> {
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        let after: HashMap<(&str, i32), i64> =
            after.iter().map(|p| ((p.topic.as_str(), p.partition), p.next_offset)).collect();
        let mut session = self.list_reader(DOING).await?;
        session.begin_snapshot(DOING).await?;
        let ends = positions(&mut session).await?;
        let starts: Vec<Position> = ends
            .iter()
            .map(|end| {
                let from = after.get(&(end.topic.as_str(), end.partition)).copied().unwrap_or(0);
                Position { next_offset: from, ..end.clone() }
            })
            .collect();
        // One more than is given tells whether that is all.
        let found = select(&mut session, scope, &starts, limit + 1).await?;
        let ends = match scope {
            Scope::Customer(_) => without_unnamed(&mut session, ends).await?,
            Scope::All | Scope::Order(_) => ends,
        };
        session.commit(DOING).await?;
        Ok(page(found, starts, &ends, limit))
    }

    /// Events from the offsets in `after` on, of one order or of all, without what the orders
    /// contained: as [`Store::event_page`] gives them.
    pub async fn events_after(
        &self,
        order: Option<OrderId>,
        after: &[Position],
        limit: u32,
    ) -> Result<Vec<StoredEvent>, Error> {
        let scope = order.map_or(Scope::All, Scope::Order);
        let page = self.event_page(scope, after, limit).await?;
        let keys: Vec<(Uuid, Uuid)> =
            page.events.iter().map(|event| (event.order_id.as_uuid(), event.event_id)).collect();
        let mut session = self.list_reader(DOING).await?;
        let mut events = HashMap::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            let columns =
                FACT_COLUMNS.replace("event_id, order_id", "facts.event_id, facts.order_id");
            let mut sql = session.sql(format!("SELECT {columns} "));
            from_facts(&mut sql, chunk);
            for BareFact { fact, .. } in fetch(&mut session, sql, DOING).await? {
                events.insert((fact.event.order_id().as_uuid(), fact.event.event_id()), fact);
            }
        }
        Ok(keys.iter().filter_map(|key| events.remove(key)).collect())
    }
}

/// The first `limit` of the events that were found, each partition's from its start on.
fn page(
    mut found: Vec<EventSummary>,
    starts: Vec<Position>,
    ends: &[Position],
    limit: usize,
) -> EventPage {
    sort_by_time(&mut found);
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let mut next: HashMap<(String, i32), i64> = starts
        .into_iter()
        .map(|start| ((start.topic, start.partition), start.next_offset))
        .collect();
    for event in &found {
        let Position { topic, partition, next_offset } = event.at.passed();
        let known = next.entry((topic, partition)).or_default();
        *known = next_offset.max(*known);
    }
    if is_last {
        for end in ends {
            let known = next.entry((end.topic.clone(), end.partition)).or_default();
            *known = end.next_offset.max(*known);
        }
    }
    let mut next: Vec<Position> = next
        .into_iter()
        .map(|((topic, partition), next_offset)| Position { topic, partition, next_offset })
        .collect();
    next.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    EventPage { events: found, is_last, next }
}

/// Sorts by time, topic, partition and offset. A record counts as no older than any before it in
/// its partition: clients' clocks may differ.
fn sort_by_time(events: &mut Vec<EventSummary>) {
    events.sort_by(|a, b| place(&a.at).cmp(&place(&b.at)));
    let mut latest: HashMap<(String, i32), Timestamp> = HashMap::new();
    let mut timed: Vec<(Timestamp, EventSummary)> = std::mem::take(events)
        .into_iter()
        .map(|event| {
            let at = &event.at;
            let time = latest.entry((at.topic.clone(), at.partition)).or_insert(at.timestamp);
            *time = at.timestamp.max(*time);
            (*time, event)
        })
        .collect();
    // Stable, so that what has the same time stays in the order of the places.
    timed.sort_by_key(|(time, _)| *time);
    events.extend(timed.into_iter().map(|(_, event)| event));
}

fn place(at: &Recorded) -> (&str, i32, i64) {
    (&at.topic, at.partition, at.offset)
}

async fn select(
    session: &mut Session,
    scope: Scope<'_>,
    starts: &[Position],
    limit: usize,
) -> Result<Vec<EventSummary>, Error> {
    let mut found = Vec::new();
    for chunk in starts.chunks(PARTITIONS) {
        let mut sql = session.sql("");
        let mut joint = "";
        for start in chunk {
            sql.push(joint).push(
                "SELECT * FROM (SELECT event_id, order_id, happened, occurred_at, topic, \
                 partition_id, record_offset, recorded_at FROM facts WHERE ",
            );
            match scope {
                Scope::All => {}
                Scope::Order(id) => {
                    sql.push("order_id = ").bind(Id(id.as_uuid())).push(" AND ");
                }
                Scope::Customer(customer_id) => {
                    sql.push("customer_id = ").bind(Text(customer_id)).push(" AND ");
                }
            }
            sql.push("topic = ").bind(start.topic.clone());
            sql.push(" AND partition_id = ").bind(start.partition);
            sql.push(" AND record_offset >= ").bind(start.next_offset);
            sql.push(" ORDER BY record_offset LIMIT ").bind(limit as i64).push(") AS missed");
            joint = " UNION ALL ";
        }
        let rows: Vec<SummaryRow> = session.fetch(sql, DOING).await?;
        found.extend(rows.into_iter().map(EventSummary::from));
    }
    Ok(found)
}

/// `ends`, but no further than the first recent event whose customer is not known: it may turn out
/// to be of this one's.
async fn without_unnamed(
    session: &mut Session,
    mut ends: Vec<Position>,
) -> Result<Vec<Position>, Error> {
    let recent = Timestamp::now().as_micros().saturating_sub(UNNAMED.as_micros() as i64);
    let mut sql = session.sql(
        "SELECT topic, partition_id, min(record_offset) FROM facts \
         WHERE customer_id IS NULL AND recorded_at >= ",
    );
    sql.bind(recent).push(" GROUP BY topic, partition_id");
    for (topic, partition, first) in session.fetch::<(String, i32, i64)>(sql, DOING).await? {
        let held = ends.iter_mut().filter(|end| end.topic == topic && end.partition == partition);
        held.for_each(|end| end.next_offset = end.next_offset.min(first));
    }
    Ok(ends)
}

#[derive(FromRow)]
struct SummaryRow {
    event_id: Id,
    order_id: Id,
    happened: String,
    occurred_at: i64,
    topic: String,
    partition_id: i32,
    record_offset: i64,
    recorded_at: i64,
}

impl From<SummaryRow> for EventSummary {
    fn from(row: SummaryRow) -> Self {
        Self {
            at: recorded(row.topic, row.partition_id, row.record_offset, row.recorded_at),
            event_id: row.event_id.0,
            order_id: row.order_id.0.into(),
            kind: happened(&row.happened),
            occurred_at: Timestamp::from_micros(row.occurred_at),
        }
    }
}

impl From<StoredEvent> for EventSummary {
    fn from(StoredEvent { at, event }: StoredEvent) -> Self {
        Self {
            at,
            event_id: event.event_id(),
            order_id: event.order_id(),
            kind: (&event).into(),
            occurred_at: event.occurred_at(),
        }
    }
}
