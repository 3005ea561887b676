//! Lists of orders: keyset pagination over the table `order_states`.

use std::collections::HashMap;

use comanda_schemas::{Order, OrderId};
use uuid::Uuid;

use crate::backend::{Id, Session};
use crate::rows::{CHUNK, contents};
use crate::search::{Bound, Direction, Search};
use crate::state::{STATE_COLUMNS, StateRow};
use crate::{Cursor, Error, Filter, Listing, MAX_PAGE, OrderState, Page, Store};

/// What a failed query was for.
const DOING: &str = "list orders";

impl Store {
    /// A page of the orders that pass `filter`, newest first by the time they were placed.
    ///
    /// Five statements at most, whatever the size of the page; what the orders contain and their
    /// history is not read.
    pub async fn orders(&self, filter: &Filter, page: Page) -> Result<Listing, Error> {
        // One transaction: the page, and what lies beyond it, belong together.
        let mut session = self.list_reader(DOING).await?;
        session.begin_snapshot(DOING).await?;
        let (direction, size, cursor) = match page {
            Page::Forward { first, after } => (Direction::Older, first, after),
            Page::Backward { last, before } => (Direction::Newer, last, before),
        };
        let size = size.min(MAX_PAGE);
        let search = Search::new(&mut session, filter).await?;
        let beyond = cursor.map(|cursor| Bound { cursor, inclusive: false });
        let mut found = search.find(&mut session, direction, beyond, size + 1).await?;
        let is_full = found.keys.len() > size as usize;
        found.keys.truncate(size as usize);
        let edge = found.end.filter(|_| !is_full);
        let more_behind = match cursor {
            None => false,
            Some(cursor) => {
                let back = Some(Bound { cursor, inclusive: true });
                let behind = search.find(&mut session, direction.reverse(), back, 1).await?;
                !behind.keys.is_empty() || behind.end.is_some()
            }
        };
        let mut orders = states(&mut session, &found.keys).await?;
        session.commit(DOING).await?;
        let more_ahead = is_full || edge.is_some();
        Ok(match direction {
            Direction::Older => {
                Listing { orders, has_next: more_ahead, has_previous: more_behind, edge }
            }
            Direction::Newer => {
                orders.reverse();
                Listing { orders, has_next: more_behind, has_previous: more_ahead, edge }
            }
        })
    }

    /// How many orders pass `filter`; `None` where more than [`MAX_SEARCH`](crate::MAX_SEARCH)
    /// would have to be looked at.
    pub async fn count(&self, filter: &Filter) -> Result<Option<u32>, Error> {
        let mut session = self.list_reader("count orders").await?;
        session.begin_snapshot(DOING).await?;
        let search = Search::new(&mut session, filter).await?;
        let count = search.count(&mut session).await?;
        session.commit(DOING).await?;
        Ok(count)
    }

    /// What orders contain, by the ids that their states have: [`OrderState::content`].
    pub async fn contents(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Order>, Error> {
        let doing = "read what orders contain";
        let mut session = self.list_reader(doing).await?;
        contents(&mut session, ids.iter().copied(), doing).await
    }
}

/// The states of the orders at `keys`, in their order.
async fn states(session: &mut Session, keys: &[Cursor]) -> Result<Vec<OrderState>, Error> {
    let mut found: HashMap<OrderId, OrderState> = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(CHUNK) {
        let mut sql =
            session.sql(format!("SELECT {STATE_COLUMNS} FROM order_states WHERE order_id"));
        sql.one_of(chunk.iter().map(|key| key.id.as_uuid()));
        for row in session.fetch::<StateRow>(sql, DOING).await? {
            let state = row.read()?;
            found.insert(state.id, state);
        }
    }
    Ok(keys.iter().filter_map(|key| found.remove(&key.id)).collect())
}

/// The place of a row in the list.
pub(crate) fn key((id, placed_at): (Id, i64)) -> Cursor {
    Cursor { placed_at: comanda_schemas::Timestamp::from_micros(placed_at), id: id.0.into() }
}
