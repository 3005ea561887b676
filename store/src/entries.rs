//! What happened to orders, an order's latest events at a time.

use std::collections::HashMap;

use comanda_schemas::OrderId;
use uuid::Uuid;

use crate::backend::{Id, Session};
use crate::read::from_facts;
use crate::rows::{CHUNK, FACT_COLUMNS, fetch};
use crate::timeline::{notification_view, of_fact};
use crate::{AnyEvent, Error, MAX_PAGE, NotificationView, Store, StoredEvent, TimelineEntry};

/// What the facts of an order are sorted by, as [`crate::facts::in_time`] does it.
const IN_TIME: [&str; 5] = [
    "occurred_at",
    "CASE kind WHEN 'order' THEN 0 WHEN 'payment_report' THEN 1 WHEN 'payment' THEN 2 ELSE 3 END",
    "partition_id",
    "record_offset",
    "event_id",
];

/// A part of the history of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latest {
    /// How many of the latest entries, at most [`MAX_PAGE`].
    pub last: u32,
    /// Only what comes before the entry of this event.
    pub before: Option<Uuid>,
}

impl Store {
    /// Part of the timeline of each of `orders`, oldest entry first; of those that have one.
    pub async fn timelines(
        &self,
        orders: &[OrderId],
        part: Latest,
    ) -> Result<HashMap<OrderId, Vec<TimelineEntry>>, Error> {
        let doing = "read timelines";
        let mut session = self.list_reader(doing).await?;
        session.begin_snapshot(doing).await?;
        let facts = latest(&mut session, orders, part, None, doing).await?;
        let versions = versions(&mut session, &facts, doing).await?;
        session.commit(doing).await?;
        Ok(by_order(&facts, |fact| {
            Some(of_fact(fact, |payment| versions.get(&payment).copied().flatten()))
        }))
    }

    /// The latest messages to the customer of each of `orders`, at most `last`, oldest first; of
    /// those orders that have one.
    pub async fn notifications(
        &self,
        orders: &[OrderId],
        last: u32,
    ) -> Result<HashMap<OrderId, Vec<NotificationView>>, Error> {
        let doing = "read messages";
        let mut session = self.list_reader(doing).await?;
        let part = Latest { last, before: None };
        let facts = latest(&mut session, orders, part, Some("notification"), doing).await?;
        Ok(by_order(&facts, |fact| match &fact.event {
            AnyEvent::Notification(event) => Some(notification_view(event)),
            AnyEvent::Order(_) | AnyEvent::Payment(_) | AnyEvent::Report(_) => None,
        }))
    }
}

fn by_order<T>(
    facts: &[StoredEvent],
    entry: impl Fn(&StoredEvent) -> Option<T>,
) -> HashMap<OrderId, Vec<T>> {
    let mut entries: HashMap<OrderId, Vec<T>> = HashMap::new();
    for fact in facts {
        entries.entry(fact.event.order_id()).or_default().extend(entry(fact));
    }
    entries
}

/// Facts of `orders` without contents, each order's oldest first.
async fn latest(
    session: &mut Session,
    orders: &[OrderId],
    Latest { last, before }: Latest,
    kind: Option<&'static str>,
    doing: &'static str,
) -> Result<Vec<StoredEvent>, Error> {
    let (keys, down) = (IN_TIME.join(", "), IN_TIME.map(|key| format!("{key} DESC")).join(", "));
    let mut facts = Vec::new();
    for chunk in orders.chunks(CHUNK) {
        let mut sql = session.sql(format!(
            "SELECT {FACT_COLUMNS} FROM (SELECT *, row_number() OVER \
             (PARTITION BY order_id ORDER BY {down}) AS behind FROM facts WHERE order_id"
        ));
        sql.one_of(chunk.iter().map(|id| id.as_uuid()));
        if let Some(kind) = kind {
            sql.push(" AND kind = ").bind(kind);
        }
        if let Some(event_id) = before {
            sql.push(format!(" AND ({keys}) < (SELECT {keys} FROM facts WHERE order_id"));
            sql.one_of(chunk.iter().map(|id| id.as_uuid()));
            sql.push(" AND event_id = ").bind(Id(event_id)).push(" LIMIT 1)");
        }
        sql.push(") AS numbered WHERE behind <= ").bind(i64::from(last.min(MAX_PAGE)));
        sql.push(" ORDER BY behind DESC");
        facts.extend(fetch(session, sql, doing).await?.into_iter().map(|bare| bare.fact));
    }
    Ok(facts)
}

/// The versions that the payment events are about of which messages among `facts` tell.
async fn versions(
    session: &mut Session,
    facts: &[StoredEvent],
    doing: &'static str,
) -> Result<HashMap<Uuid, Option<i32>>, Error> {
    let told: Vec<(Uuid, Uuid)> = facts
        .iter()
        .filter_map(|fact| match &fact.event {
            AnyEvent::Notification(event) => {
                Some((event.order_id.as_uuid(), event.payment_event_id))
            }
            AnyEvent::Order(_) | AnyEvent::Payment(_) | AnyEvent::Report(_) => None,
        })
        .collect();
    let mut versions = HashMap::new();
    for chunk in told.chunks(CHUNK) {
        let mut sql = session.sql("SELECT facts.event_id, version ");
        from_facts(&mut sql, chunk);
        sql.push(" AND kind = 'payment'");
        let found: Vec<(Id, Option<i32>)> = session.fetch(sql, doing).await?;
        versions.extend(found.into_iter().map(|(id, version)| (id.0, version)));
    }
    Ok(versions)
}
