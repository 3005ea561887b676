//! Events as rows of the table `events`, and back.

use std::collections::HashMap;

use comanda_schemas::{OrderId, Timestamp};
use serde::de::DeserializeOwned;
use sqlx::FromRow;

use crate::backend::{Id, Session, Sql};
use crate::{AnyEvent, Error, Recorded, StoredEvent};

/// Values of one statement that come from a list: lists beyond it take several statements. SQLite
/// binds at most 32,766 values a statement, and a row has up to eight; a reader's list is one value,
/// and is cut so that no statement takes long.
pub(crate) const CHUNK: usize = 500;

/// The columns that [`Row`] reads.
pub(crate) const COLUMNS: &str =
    "event_id, order_id, kind, topic, partition_id, record_offset, recorded_at, payload";

/// A row of `events`.
#[derive(FromRow)]
pub(crate) struct Row {
    pub event_id: Id,
    pub order_id: Id,
    pub kind: String,
    pub topic: String,
    pub partition_id: i32,
    pub record_offset: i64,
    pub recorded_at: i64,
    pub payload: String,
}

impl Row {
    pub fn new(at: &Recorded, event: &AnyEvent) -> Result<Self, Error> {
        let (kind, payload) = match event {
            AnyEvent::Order(event) => ("order", serde_json::to_string(event)),
            AnyEvent::Payment(event) => ("payment", serde_json::to_string(event)),
            AnyEvent::Notification(event) => ("notification", serde_json::to_string(event)),
            AnyEvent::Report(event) => ("payment_report", serde_json::to_string(event)),
        };
        let event_id = Id(event.event_id());
        let payload = payload.map_err(|source| corrupt(event_id, source))?;
        Ok(Self {
            event_id,
            order_id: Id(event.order_id().as_uuid()),
            kind: kind.to_owned(),
            topic: at.topic.clone(),
            partition_id: at.partition,
            record_offset: at.offset,
            recorded_at: at.timestamp.as_micros(),
            payload,
        })
    }

    pub fn read(self) -> Result<StoredEvent, Error> {
        let event = match self.kind.as_str() {
            "order" => AnyEvent::Order(self.payload()?),
            "payment" => AnyEvent::Payment(self.payload()?),
            "notification" => AnyEvent::Notification(self.payload()?),
            "payment_report" => AnyEvent::Report(self.payload()?),
            other => return Err(corrupt(self.event_id, format!("unknown kind {other:?}"))),
        };
        let at = Recorded {
            topic: self.topic,
            partition: self.partition_id,
            offset: self.record_offset,
            timestamp: Timestamp::from_micros(self.recorded_at),
        };
        Ok(StoredEvent { at, event })
    }

    fn payload<E: DeserializeOwned>(&self) -> Result<E, Error> {
        serde_json::from_str(&self.payload).map_err(|source| corrupt(self.event_id, source))
    }
}

fn corrupt(event_id: Id, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Corrupt { event_id: event_id.0.to_string(), source: source.into() }
}

/// All events of `orders`, by order.
pub(crate) async fn facts_of(
    session: &mut Session,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, Vec<StoredEvent>>, Error> {
    let mut facts: HashMap<OrderId, Vec<StoredEvent>> = HashMap::with_capacity(orders.len());
    for chunk in orders.chunks(CHUNK) {
        let mut sql = session.sql(format!("SELECT {COLUMNS} FROM events WHERE order_id"));
        sql.one_of(chunk.iter().map(|id| id.as_uuid()));
        for fact in fetch(session, sql, "read the events of orders").await? {
            facts.entry(fact.event.order_id()).or_default().push(fact);
        }
    }
    Ok(facts)
}

/// Runs a query that selects [`COLUMNS`].
pub(crate) async fn fetch(
    session: &mut Session,
    sql: Sql,
    doing: &'static str,
) -> Result<Vec<StoredEvent>, Error> {
    let rows: Vec<Row> = session.fetch(sql, doing).await?;
    rows.into_iter().map(Row::read).collect()
}
