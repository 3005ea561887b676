//! Folding orders that are in the store again, from the steps of their facts.

use std::collections::HashMap;

use comanda_schemas::{OrderId, Timestamp};
use uuid::Uuid;

use crate::backend::{Id, Session, Text};
use crate::fold::fold_steps;
use crate::rows::{CHUNK, corrupt};
use crate::step::Step;
use crate::{Error, OrderState};

/// Who placed each of `orders`, as far as that is known.
pub(crate) async fn customers(
    session: &mut Session,
    orders: &[OrderId],
) -> Result<HashMap<Uuid, String>, Error> {
    let mut known = HashMap::new();
    for chunk in orders.chunks(CHUNK) {
        let mut sql = session.sql("SELECT order_id, customer_id FROM order_states WHERE order_id");
        sql.one_of(chunk.iter().map(|id| id.as_uuid()));
        let found: Vec<(Id, String)> = session.fetch(sql, "read whose orders are").await?;
        let is_postgres = session.is_postgres();
        known.extend(found.into_iter().map(|(id, customer_id)| {
            let customer_id = match is_postgres {
                true => Text::with_nul(&customer_id),
                false => customer_id,
            };
            (id.0, customer_id)
        }));
    }
    Ok(known)
}

/// The states of `orders`, of those whose first event is there; each fact of theirs learns its
/// customer.
///
/// One row an order comes back, however many facts it has: a row each would cost more than all the
/// rest.
pub(crate) async fn fold_again(
    session: &mut Session,
    orders: &[OrderId],
) -> Result<Vec<OrderState>, Error> {
    let doing = "fold orders";
    let steps = match session.is_postgres() {
        true => "string_agg(step, ',')",
        false => "group_concat(step, ',')",
    };
    let mut sql = session.sql(format!(
        "SELECT order_id, {steps}, max(occurred_at), count(*), count(customer_id), \
         min(customer_id), max(customer_id) FROM facts WHERE order_id"
    ));
    sql.one_of(orders.iter().map(|id| id.as_uuid())).push(" GROUP BY order_id");
    type Folded = (Id, Option<String>, i64, i64, i64, Option<String>, Option<String>);
    let found: Vec<Folded> = session.fetch(sql, doing).await?;
    let (mut states, mut to_name) = (Vec::with_capacity(found.len()), Vec::new());
    for (id, steps, updated_at, facts, named, first, last) in found {
        let steps = format!("[{}]", steps.unwrap_or_default());
        let steps: Vec<Step> =
            serde_json::from_str(&steps).map_err(|source| corrupt(id, source))?;
        let updated_at = Timestamp::from_micros(updated_at);
        let Some(state) = fold_steps(id.0.into(), &steps, updated_at) else { continue };
        let name = match session.is_postgres() {
            true => Text(&state.customer_id).without_nul(),
            false => state.customer_id.as_str().into(),
        };
        let is_named = |found: Option<String>| found.is_some_and(|found| *found == *name);
        if facts != named || !is_named(first) || !is_named(last) {
            to_name.push((id, state.customer_id.clone()));
        }
        states.push(state);
    }
    for (id, customer_id) in to_name {
        let mut sql = session.sql("UPDATE facts SET customer_id = ");
        sql.bind(Text(&customer_id)).push(" WHERE order_id = ").bind(id);
        session.execute(sql, "store whose facts are").await?;
    }
    Ok(states)
}

/// Notes when the last thing happened to `orders`.
pub(crate) async fn touch(session: &mut Session, orders: &[OrderId]) -> Result<(), Error> {
    for chunk in orders.chunks(CHUNK) {
        let mut sql = session.sql(
            "UPDATE order_states SET updated_at = (SELECT max(occurred_at) FROM facts \
             WHERE facts.order_id = order_states.order_id) WHERE order_id",
        );
        sql.one_of(chunk.iter().map(|id| id.as_uuid()));
        session.execute(sql, "note when orders changed").await?;
    }
    Ok(())
}
