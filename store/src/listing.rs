//! Lists of orders: keyset pagination over the table `orders`.

use comanda_schemas::{OrderId, Timestamp};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::error::Doing;
use crate::rows::facts_of;
use crate::{Cursor, Error, Filter, Listing, MAX_PAGE, Page, Store, fold};

/// What a failed query was for.
const DOING: &str = "list orders";

impl Store {
    /// A page of the orders that pass `filter`, newest first by the time they were placed.
    ///
    /// Three statements at most, whatever the size of the page.
    pub async fn orders(&self, filter: &Filter, page: Page) -> Result<Listing, Error> {
        // One transaction: the page, what lies beyond it and its events belong together.
        let mut transaction = self.readers.begin().await.doing(DOING)?;
        let (direction, size, cursor) = match page {
            Page::Forward { first, after } => (Direction::Older, first, after),
            Page::Backward { last, before } => (Direction::Newer, last, before),
        };
        let size = size.min(MAX_PAGE);
        let beyond = cursor.map(|cursor| Bound { cursor, inclusive: false });
        let mut ids = select(&mut transaction, filter, direction, beyond, size + 1).await?;
        let more_ahead = ids.len() > size as usize;
        ids.truncate(size as usize);
        let more_behind = match cursor {
            None => false,
            Some(cursor) => {
                let back = Some(Bound { cursor, inclusive: true });
                let found = select(&mut transaction, filter, direction.reverse(), back, 1).await?;
                !found.is_empty()
            }
        };
        let mut facts = facts_of(&mut transaction, &ids).await?;
        transaction.commit().await.doing(DOING)?;
        let mut orders: Vec<_> = ids.iter().filter_map(|id| fold(&facts.remove(id)?)).collect();
        Ok(match direction {
            Direction::Older => Listing { orders, has_next: more_ahead, has_previous: more_behind },
            Direction::Newer => {
                orders.reverse();
                Listing { orders, has_next: more_behind, has_previous: more_ahead }
            }
        })
    }
}

/// Which way to walk through the list, which runs from the newest to the oldest.
#[derive(Clone, Copy)]
enum Direction {
    Older,
    Newer,
}

impl Direction {
    fn reverse(self) -> Self {
        match self {
            Self::Older => Self::Newer,
            Self::Newer => Self::Older,
        }
    }
}

/// Where to begin.
struct Bound {
    cursor: Cursor,
    /// Whether the order at the cursor belongs to it.
    inclusive: bool,
}

/// Ids of the first `limit` orders from `bound` on, in the direction walked.
async fn select(
    connection: &mut SqliteConnection,
    filter: &Filter,
    direction: Direction,
    bound: Option<Bound>,
    limit: u32,
) -> Result<Vec<OrderId>, Error> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT order_id FROM orders");
    push_conditions(&mut query, filter, direction, bound);
    query.push(match direction {
        Direction::Older => " ORDER BY placed_at DESC, order_id DESC LIMIT ",
        Direction::Newer => " ORDER BY placed_at ASC, order_id ASC LIMIT ",
    });
    query.push_bind(i64::from(limit));
    let ids: Vec<String> = query.build_query_scalar().fetch_all(connection).await.doing(DOING)?;
    ids.iter()
        .map(|id| {
            id.parse().map_err(|e| Error::Query {
                doing: DOING,
                source: sqlx::Error::Decode(Box::<dyn std::error::Error + Send + Sync>::from(e)),
            })
        })
        .collect()
}

fn push_conditions(
    query: &mut QueryBuilder<Sqlite>,
    filter: &Filter,
    direction: Direction,
    bound: Option<Bound>,
) {
    let mut joint = [" WHERE "].into_iter().chain(std::iter::repeat(" AND "));
    let mut and = |query: &mut QueryBuilder<Sqlite>, condition: &str| {
        query.push(joint.next().unwrap_or_default()).push(condition);
    };
    if let Some(customer_id) = &filter.customer_id {
        and(query, "customer_id = ");
        query.push_bind(customer_id.clone());
    }
    if !filter.statuses.is_empty() {
        and(query, "status IN (");
        let mut statuses = query.separated(", ");
        for status in &filter.statuses {
            statuses.push_bind(status.as_str());
        }
        query.push(")");
    }
    let mut and_time = |query: &mut QueryBuilder<Sqlite>, condition, time: Option<Timestamp>| {
        if let Some(time) = time {
            and(query, condition);
            query.push_bind(time.as_micros());
        }
    };
    and_time(query, "placed_at >= ", filter.placed_after);
    and_time(query, "placed_at < ", filter.placed_before);
    if let Some(Bound { cursor, inclusive }) = bound {
        and(query, "(placed_at, order_id) ");
        query.push(match (direction, inclusive) {
            (Direction::Older, false) => "< (",
            (Direction::Older, true) => "<= (",
            (Direction::Newer, false) => "> (",
            (Direction::Newer, true) => ">= (",
        });
        query.push_bind(cursor.placed_at.as_micros()).push(", ");
        query.push_bind(cursor.id.to_string()).push(")");
    }
}
