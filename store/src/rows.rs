//! Events as rows of the table `events`, and back.

use std::collections::HashMap;

use comanda_schemas::{OrderId, Timestamp};
use serde::de::DeserializeOwned;
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};

use crate::error::Doing;
use crate::{AnyEvent, Error, Recorded, StoredEvent};

/// Values of one statement that come from a list: lists beyond it take several statements.
/// SQLite binds at most 32,766 values a statement, PostgreSQL 65,535; a row has up to eight.
pub(crate) const CHUNK: usize = 500;

/// The columns that [`Row`] reads.
pub(crate) const COLUMNS: &str =
    "event_id, order_id, kind, topic, partition_id, record_offset, recorded_at, payload";

/// A row of `events`.
#[derive(FromRow)]
pub(crate) struct Row {
    pub event_id: String,
    pub order_id: String,
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
        };
        let event_id = event.event_id().to_string();
        let payload = payload.map_err(|source| corrupt(&event_id, source))?;
        Ok(Self {
            event_id,
            order_id: event.order_id().to_string(),
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
            other => return Err(corrupt(&self.event_id, format!("unknown kind {other:?}"))),
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
        serde_json::from_str(&self.payload).map_err(|source| corrupt(&self.event_id, source))
    }
}

fn corrupt(event_id: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Corrupt { event_id: event_id.to_owned(), source: source.into() }
}

/// All events of `orders`, by order.
pub(crate) async fn facts_of(
    connection: &mut SqliteConnection,
    orders: &[OrderId],
) -> Result<HashMap<OrderId, Vec<StoredEvent>>, Error> {
    let mut facts: HashMap<OrderId, Vec<StoredEvent>> = HashMap::with_capacity(orders.len());
    for chunk in orders.chunks(CHUNK) {
        let mut query: QueryBuilder<Sqlite> =
            QueryBuilder::new(format!("SELECT {COLUMNS} FROM events WHERE order_id IN ("));
        let mut ids = query.separated(", ");
        for id in chunk {
            ids.push_bind(id.to_string());
        }
        query.push(")");
        for fact in fetch(connection, &mut query, "read the events of orders").await? {
            facts.entry(fact.event.order_id()).or_default().push(fact);
        }
    }
    Ok(facts)
}

/// Runs a query that selects [`COLUMNS`]. It is not kept prepared: lists of any length would
/// drive out the others.
pub(crate) async fn fetch(
    connection: &mut SqliteConnection,
    query: &mut QueryBuilder<Sqlite>,
    doing: &'static str,
) -> Result<Vec<StoredEvent>, Error> {
    let query = query.build_query_as::<Row>().persistent(false);
    let rows = query.fetch_all(connection).await.doing(doing)?;
    rows.into_iter().map(Row::read).collect()
}
