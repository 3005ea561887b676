//! The statements that write rows: one parameter a value on SQLite; on PostgreSQL one a column, so
//! that a statement stays the same whatever the number of its rows.

use comanda_schemas::Timestamp;
use sqlx::{Postgres, QueryBuilder};

use crate::backend::{Either, Id, Session, Text};
use crate::rows::{CHUNK, ContentRow, Fact};
use crate::{Error, OrderState, Position};

/// Longest id of a payment that orders are found by, in bytes.
const MAX_PAYMENT_ID: usize = 255;

pub(crate) async fn insert_facts(session: &mut Session, facts: &[Fact]) -> Result<(), Error> {
    for chunk in facts.chunks(CHUNK) {
        let mut sql = session.sql(
            "INSERT INTO facts (event_id, order_id, kind, happened, version, occurred_at, topic, \
             partition_id, record_offset, recorded_at, customer_id, fingerprint, content_id, step, \
             body) ",
        );
        match &mut sql.builder {
            Either::Sqlite(query) => {
                query.push_values(chunk, |mut values, fact| {
                    values
                        .push_bind(fact.event_id)
                        .push_bind(fact.order_id)
                        .push_bind(fact.kind)
                        .push_bind(fact.happened)
                        .push_bind(fact.version)
                        .push_bind(fact.occurred_at)
                        .push_bind(&fact.at.topic)
                        .push_bind(fact.at.partition)
                        .push_bind(fact.at.offset)
                        .push_bind(fact.at.timestamp.as_micros())
                        .push_bind(fact.customer_id.as_deref())
                        .push_bind(fact.fingerprint.as_deref())
                        .push_bind(fact.content_id)
                        .push_bind(fact.step.as_deref())
                        .push_bind(&fact.body);
                });
                sql.is_kept = chunk.len() == 1;
            }
            Either::Postgres(query) => push_facts(query, chunk),
        }
        sql.push(
            " ON CONFLICT (order_id, event_id) DO UPDATE SET kind = excluded.kind, \
             happened = excluded.happened, version = excluded.version, \
             occurred_at = excluded.occurred_at, topic = excluded.topic, \
             partition_id = excluded.partition_id, record_offset = excluded.record_offset, \
             recorded_at = excluded.recorded_at, customer_id = excluded.customer_id, \
             fingerprint = excluded.fingerprint, content_id = excluded.content_id, \
             step = excluded.step, body = excluded.body \
             WHERE (excluded.partition_id, excluded.record_offset) \
             < (facts.partition_id, facts.record_offset)",
        );
        session.execute(sql, "store events").await?;
    }
    Ok(())
}

fn push_facts(query: &mut QueryBuilder<Postgres>, facts: &[Fact]) {
    let customer = |fact: &Fact| fact.customer_id.as_deref().map(text);
    let mut columns = query.push("SELECT * FROM UNNEST(").separated(", ");
    columns
        .push_bind(column(facts, |fact| fact.event_id.0))
        .push_bind(column(facts, |fact| fact.order_id.0))
        .push_bind(column(facts, |fact| fact.kind))
        .push_bind(column(facts, |fact| fact.happened))
        .push_bind(column(facts, |fact| fact.version))
        .push_bind(column(facts, |fact| fact.occurred_at))
        .push_bind(column(facts, |fact| fact.at.topic.as_str()))
        .push_bind(column(facts, |fact| fact.at.partition))
        .push_bind(column(facts, |fact| fact.at.offset))
        .push_bind(column(facts, |fact| fact.at.timestamp.as_micros()))
        .push_bind(column(facts, customer))
        .push_bind(column(facts, |fact| fact.fingerprint.as_deref()))
        .push_bind(column(facts, |fact| fact.content_id.map(|id| id.0)))
        .push_bind(column(facts, |fact| fact.step.as_deref()))
        .push_bind(column(facts, |fact| fact.body.as_str()))
        .push_unseparated(")");
}

pub(crate) async fn insert_contents(
    session: &mut Session,
    contents: &[ContentRow],
) -> Result<(), Error> {
    for chunk in contents.chunks(CHUNK) {
        let mut sql =
            session.sql("INSERT INTO contents (content_id, order_id, search_text, body) ");
        match &mut sql.builder {
            Either::Sqlite(query) => {
                query.push_values(chunk, |mut values, content| {
                    values
                        .push_bind(content.content_id)
                        .push_bind(content.order_id)
                        .push_bind(&content.search_text)
                        .push_bind(&content.body);
                });
                sql.is_kept = chunk.len() == 1;
            }
            Either::Postgres(query) => {
                let mut columns = query.push("SELECT * FROM UNNEST(").separated(", ");
                columns
                    .push_bind(column(chunk, |content| content.content_id.0))
                    .push_bind(column(chunk, |content| content.order_id.0))
                    .push_bind(column(chunk, |content| content.search_text.as_str()))
                    .push_bind(column(chunk, |content| content.body.as_str()))
                    .push_unseparated(")");
            }
        }
        sql.push(" ON CONFLICT (content_id) DO NOTHING");
        session.execute(sql, "store contents").await?;
    }
    Ok(())
}

pub(crate) async fn upsert_states(
    session: &mut Session,
    states: &[OrderState],
) -> Result<(), Error> {
    for chunk in states.chunks(CHUNK) {
        let bodies: Vec<String> = chunk
            .iter()
            .map(|state| {
                serde_json::to_string(state)
                    .map_err(|source| crate::rows::corrupt(Id(state.id.as_uuid()), source))
            })
            .collect::<Result<_, _>>()?;
        let waiting = |state: &OrderState| state.waiting_since.map(Timestamp::as_micros);
        let mut sql = session.sql(
            "INSERT INTO order_states (order_id, customer_id, status, payment_status, payment_id, \
             placed_at, updated_at, waiting_since, content_id, body) ",
        );
        match &mut sql.builder {
            Either::Sqlite(query) => {
                query.push_values(chunk.iter().zip(&bodies), |mut values, (state, body)| {
                    values
                        .push_bind(Id(state.id.as_uuid()))
                        .push_bind(&state.customer_id)
                        .push_bind(state.status.as_str())
                        .push_bind(state.payment.status.as_str())
                        .push_bind(payment_id(state))
                        .push_bind(state.placed_at.as_micros())
                        .push_bind(state.updated_at.as_micros())
                        .push_bind(waiting(state))
                        .push_bind(Id(state.content))
                        .push_bind(body);
                });
                sql.is_kept = chunk.len() == 1;
            }
            Either::Postgres(query) => {
                let payment = |state: &OrderState| payment_id(state).map(text);
                let mut columns = query.push("SELECT * FROM UNNEST(").separated(", ");
                columns
                    .push_bind(column(chunk, |state| state.id.as_uuid()))
                    .push_bind(column(chunk, |state| text(&state.customer_id)))
                    .push_bind(column(chunk, |state| state.status.as_str()))
                    .push_bind(column(chunk, |state| state.payment.status.as_str()))
                    .push_bind(column(chunk, payment))
                    .push_bind(column(chunk, |state| state.placed_at.as_micros()))
                    .push_bind(column(chunk, |state| state.updated_at.as_micros()))
                    .push_bind(column(chunk, waiting))
                    .push_bind(column(chunk, |state| state.content))
                    .push_bind(bodies)
                    .push_unseparated(")");
            }
        }
        // A row that is written though nothing changed is one to clean up.
        sql.push(
            " ON CONFLICT (order_id) DO UPDATE SET customer_id = excluded.customer_id, \
             status = excluded.status, payment_status = excluded.payment_status, \
             payment_id = excluded.payment_id, placed_at = excluded.placed_at, \
             updated_at = excluded.updated_at, waiting_since = excluded.waiting_since, \
             content_id = excluded.content_id, body = excluded.body \
             WHERE (order_states.updated_at, order_states.body) \
             <> (excluded.updated_at, excluded.body)",
        );
        session.execute(sql, "store orders").await?;
    }
    Ok(())
}

/// The id that the order is found by. One that no provider gives is not worth an index's room, and
/// must not keep the order out.
fn payment_id(state: &OrderState) -> Option<&str> {
    state.payment.payment_id.as_deref().filter(|id| id.len() <= MAX_PAYMENT_ID)
}

/// Moves the positions forward, never back. They are to be sorted.
pub(crate) async fn advance(session: &mut Session, positions: &[Position]) -> Result<(), Error> {
    for chunk in positions.chunks(CHUNK) {
        let mut sql =
            session.sql("INSERT INTO applied_offsets (topic, partition_id, next_offset) ");
        match &mut sql.builder {
            Either::Sqlite(query) => {
                query.push_values(chunk, |mut values, position| {
                    values
                        .push_bind(&position.topic)
                        .push_bind(position.partition)
                        .push_bind(position.next_offset);
                });
                sql.is_kept = chunk.len() == 1;
            }
            Either::Postgres(query) => {
                let mut columns = query.push("SELECT * FROM UNNEST(").separated(", ");
                columns
                    .push_bind(column(chunk, |position| position.topic.as_str()))
                    .push_bind(column(chunk, |position| position.partition))
                    .push_bind(column(chunk, |position| position.next_offset))
                    .push_unseparated(")");
            }
        }
        sql.push(
            " ON CONFLICT (topic, partition_id) DO UPDATE SET next_offset = excluded.next_offset \
             WHERE excluded.next_offset > applied_offsets.next_offset",
        );
        session.execute(sql, "store positions").await?;
    }
    Ok(())
}

/// One column of `rows`.
fn column<'r, R, T>(rows: &'r [R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// A text as PostgreSQL takes it.
fn text(text: &str) -> String {
    Text(text).without_nul().into_owned()
}
