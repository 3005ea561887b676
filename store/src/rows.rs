//! Events as rows of `facts` and `contents`, and back.

use std::collections::{BTreeSet, HashMap};

use comanda_schemas::{Contact, Order, OrderEvent, OrderEventType, OrderId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sqlx::FromRow;
use uuid::{Builder, Uuid};

use crate::backend::{Id, Session, Sql};
use crate::step::Step;
use crate::{AnyEvent, Error, Recorded, StoredEvent, TimelineKind, fingerprint};

/// Values of one statement that come from a list: lists beyond it take several statements. SQLite
/// binds at most 32,766 values a statement, and a row has up to fifteen; a reader's list is one
/// value, and is cut so that no statement takes long.
pub(crate) const CHUNK: usize = 500;
/// Characters of an order that are searched.
const SEARCH_CHARS: usize = 2_000;

/// A fact to be written.
pub(crate) struct Fact {
    pub event_id: Id,
    pub order_id: Id,
    pub kind: &'static str,
    pub happened: &'static str,
    pub version: Option<i32>,
    pub occurred_at: i64,
    pub at: Recorded,
    pub customer_id: Option<String>,
    pub fingerprint: Option<String>,
    pub content_id: Option<Id>,
    pub step: Option<String>,
    pub body: String,
}

/// A content to be written.
pub(crate) struct ContentRow {
    pub content_id: Id,
    pub order_id: Id,
    pub search_text: String,
    pub body: String,
}

impl Fact {
    /// The fact, and what the order contained by it.
    pub fn new(at: &Recorded, event: &AnyEvent) -> Result<(Self, Option<ContentRow>), Error> {
        let event_id = Id(event.event_id());
        let json = |value: Result<String, serde_json::Error>| {
            value.map_err(|source| corrupt(event_id, source))
        };
        let content = event.content().map(|order| ContentRow::new(event.order_id(), order));
        let content = content.transpose().map_err(|source| corrupt(event_id, source))?;
        let content_id = content.as_ref().map(|content| content.content_id);
        let step = Step::new(at, event, content_id.map_or(Uuid::nil(), |id| id.0));
        let mut bare = event.clone();
        if let Some(order) = bare.content_mut() {
            *order = without_content(order);
        }
        let (kind, body) = match &bare {
            AnyEvent::Order(event) => ("order", to_json(event)),
            AnyEvent::Payment(event) => ("payment", to_json(event)),
            AnyEvent::Notification(event) => ("notification", to_json(event)),
            AnyEvent::Report(event) => ("payment_report", to_json(event)),
        };
        let fact = Self {
            event_id,
            order_id: Id(event.order_id().as_uuid()),
            kind,
            happened: TimelineKind::from(event).as_str(),
            version: event.version(),
            occurred_at: event.occurred_at().as_micros(),
            at: at.clone(),
            customer_id: None,
            fingerprint: placement(event),
            content_id,
            step: step.as_ref().map(to_json).map(json).transpose()?,
            body: json(body)?,
        };
        Ok((fact, content))
    }
}

/// The fingerprint of the request, where the event is the one that places its order.
fn placement(event: &AnyEvent) -> Option<String> {
    let AnyEvent::Order(event) = event else { return None };
    (event.event_id == placement_id(event.order_id))
        .then(|| fingerprint(&event.customer_id, &event.order))
}

/// Id of the event that places an order.
pub(crate) fn placement_id(order: OrderId) -> Uuid {
    OrderEvent::derive_id(order, 1, OrderEventType::Placed)
}

impl ContentRow {
    fn new(order_id: OrderId, order: &Order) -> Result<Self, serde_json::Error> {
        let body = to_json(order)?;
        let mut hash = Sha256::new();
        hash.update(order_id.as_uuid().as_bytes());
        hash.update(&body);
        let hash = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        let content_id = Builder::from_custom_bytes(bytes).into_uuid();
        let order_id = Id(order_id.as_uuid());
        Ok(Self { content_id: Id(content_id), order_id, search_text: search_text(order), body })
    }
}

/// What a text is looked for in: name and address of the contact, and the note.
fn search_text(order: &Order) -> String {
    let Order { contact, note, .. } = order;
    let note = note.as_deref().unwrap_or_default();
    let text = format!("{}\n{}\n{note}", contact.name, contact.email);
    searchable(&text.chars().take(SEARCH_CHARS).collect::<String>())
}

/// A text as it is compared: in lower case, without NUL, which PostgreSQL does not take.
pub(crate) fn searchable(text: &str) -> String {
    text.to_lowercase().replace('\0', " ")
}

/// What stands for the content in the body of a fact.
fn without_content(order: &Order) -> Order {
    Order {
        currency: order.currency,
        total_minor: order.total_minor,
        lines: Vec::new(),
        contact: Contact { name: String::new(), email: String::new() },
        payment_method: String::new(),
        note: None,
    }
}

fn to_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}

/// The columns that [`FactRow`] reads.
pub(crate) const FACT_COLUMNS: &str = "event_id, order_id, kind, topic, partition_id, \
                                       record_offset, recorded_at, content_id, body";

/// A row of `facts` as it is read.
#[derive(FromRow)]
pub(crate) struct FactRow {
    event_id: Id,
    order_id: Id,
    kind: String,
    topic: String,
    partition_id: i32,
    record_offset: i64,
    recorded_at: i64,
    content_id: Option<Id>,
    body: String,
}

/// A fact whose event has no content yet.
pub(crate) struct BareFact {
    pub fact: StoredEvent,
    pub content_id: Option<Uuid>,
}

impl FactRow {
    pub fn read(self) -> Result<BareFact, Error> {
        let event = event(self.event_id, &self.kind, &self.body)?;
        let at = recorded(self.topic, self.partition_id, self.record_offset, self.recorded_at);
        debug_assert_eq!(event.order_id().as_uuid(), self.order_id.0);
        Ok(BareFact { fact: StoredEvent { at, event }, content_id: self.content_id.map(|id| id.0) })
    }
}

/// The event of a kind in a text.
pub(crate) fn event(event_id: Id, kind: &str, body: &str) -> Result<AnyEvent, Error> {
    Ok(match kind {
        "order" => AnyEvent::Order(from_json(event_id, body)?),
        "payment" => AnyEvent::Payment(from_json(event_id, body)?),
        "notification" => AnyEvent::Notification(from_json(event_id, body)?),
        "payment_report" => AnyEvent::Report(from_json(event_id, body)?),
        other => return Err(corrupt(event_id, format!("unknown kind {other:?}"))),
    })
}

pub(crate) fn recorded(topic: String, partition: i32, offset: i64, micros: i64) -> Recorded {
    Recorded { topic, partition, offset, timestamp: Timestamp::from_micros(micros) }
}

pub(crate) fn from_json<T: DeserializeOwned>(id: Id, body: &str) -> Result<T, Error> {
    serde_json::from_str(body).map_err(|source| corrupt(id, source))
}

pub(crate) fn corrupt(
    id: Id,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Corrupt { event_id: id.0.to_string(), source: source.into() }
}

/// All facts of an order, without contents.
pub(crate) async fn facts_of(
    session: &mut Session,
    order: OrderId,
    doing: &'static str,
) -> Result<Vec<BareFact>, Error> {
    let mut sql = session.sql(format!("SELECT {FACT_COLUMNS} FROM facts WHERE order_id = "));
    sql.bind(Id(order.as_uuid()));
    fetch(session, sql, doing).await
}

/// Runs a query that selects [`FACT_COLUMNS`].
pub(crate) async fn fetch(
    session: &mut Session,
    sql: Sql,
    doing: &'static str,
) -> Result<Vec<BareFact>, Error> {
    let rows: Vec<FactRow> = session.fetch(sql, doing).await?;
    rows.into_iter().map(FactRow::read).collect()
}

/// What stands under `ids`.
pub(crate) async fn contents(
    session: &mut Session,
    ids: impl IntoIterator<Item = Uuid>,
    doing: &'static str,
) -> Result<HashMap<Uuid, Order>, Error> {
    let ids: Vec<Uuid> = ids.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let mut contents = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let mut sql = session.sql("SELECT content_id, body FROM contents WHERE content_id");
        sql.one_of(chunk.iter().copied());
        for (id, body) in session.fetch::<(Id, String)>(sql, doing).await? {
            contents.insert(id.0, from_json(id, &body)?);
        }
    }
    Ok(contents)
}

/// Gives the events their contents, as far as those are there.
pub(crate) fn with_contents(
    facts: Vec<BareFact>,
    contents: &HashMap<Uuid, Order>,
) -> Vec<StoredEvent> {
    let whole = |BareFact { mut fact, content_id }: BareFact| {
        let content = content_id.and_then(|id| contents.get(&id));
        if let (Some(order), Some(content)) = (fact.event.content_mut(), content) {
            order.clone_from(content);
        }
        fact
    };
    facts.into_iter().map(whole).collect()
}

/// The name of what happened, of this build or a newer one.
pub(crate) fn happened(name: &str) -> TimelineKind {
    TimelineKind::from_symbol(name).unwrap_or(TimelineKind::Unknown)
}
