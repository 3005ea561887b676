//! Lists of orders: keyset pagination over the table `orders`.

use comanda_schemas::{OrderId, Timestamp};

use crate::backend::{Id, Session, Sql, Text};
use crate::rows::facts_of;
use crate::{Cursor, Error, Filter, Listing, MAX_PAGE, OrderStatus, Page, Store, fold};

/// What a failed query was for.
const DOING: &str = "list orders";

impl Store {
    /// A page of the orders that pass `filter`, newest first by the time they were placed.
    ///
    /// Three statements at most, whatever the size of the page.
    pub async fn orders(&self, filter: &Filter, page: Page) -> Result<Listing, Error> {
        // One transaction: the page, what lies beyond it and its events belong together.
        let mut session = self.reader(DOING).await?;
        session.begin_snapshot(DOING).await?;
        let (direction, size, cursor) = match page {
            Page::Forward { first, after } => (Direction::Older, first, after),
            Page::Backward { last, before } => (Direction::Newer, last, before),
        };
        let size = size.min(MAX_PAGE);
        let beyond = cursor.map(|cursor| Bound { cursor, inclusive: false });
        let mut ids = select(&mut session, filter, direction, beyond, size + 1).await?;
        let more_ahead = ids.len() > size as usize;
        ids.truncate(size as usize);
        let more_behind = match cursor {
            None => false,
            Some(cursor) => {
                let back = Some(Bound { cursor, inclusive: true });
                let found = select(&mut session, filter, direction.reverse(), back, 1).await?;
                !found.is_empty()
            }
        };
        let mut facts = facts_of(&mut session, &ids).await?;
        session.commit(DOING).await?;
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
#[derive(Clone, Copy)]
struct Bound {
    cursor: Cursor,
    /// Whether the order at the cursor belongs to it.
    inclusive: bool,
}

/// Ids of the first `limit` orders from `bound` on, in the direction walked.
async fn select(
    session: &mut Session,
    filter: &Filter,
    direction: Direction,
    bound: Option<Bound>,
    limit: u32,
) -> Result<Vec<OrderId>, Error> {
    let mut sql = session.sql("");
    let order = match direction {
        Direction::Older => " ORDER BY placed_at DESC, order_id DESC LIMIT ",
        Direction::Newer => " ORDER BY placed_at ASC, order_id ASC LIMIT ",
    };
    let part = |sql: &mut Sql, status: Option<OrderStatus>| {
        sql.push("SELECT order_id, placed_at FROM orders");
        push_conditions(sql, filter, status, direction, bound);
        sql.push(order).bind(i64::from(limit));
    };
    let mut statuses = OrderStatus::ALL.to_vec();
    statuses.retain(|status| filter.statuses.contains(status));
    match statuses.as_slice() {
        [] => part(&mut sql, None),
        [status] => part(&mut sql, Some(*status)),
        // Each status has its part of an index in the order wanted; all together have not.
        statuses => {
            sql.push("SELECT order_id, placed_at FROM (");
            let mut joint = "";
            for status in statuses {
                sql.push(joint).push("SELECT * FROM (");
                part(&mut sql, Some(*status));
                sql.push(") AS one");
                joint = " UNION ALL ";
            }
            sql.push(") AS several").push(order).bind(i64::from(limit));
        }
    }
    let found: Vec<(Id, i64)> = session.fetch(sql, DOING).await?;
    Ok(found.into_iter().map(|(id, _)| id.0.into()).collect())
}

fn push_conditions(
    sql: &mut Sql,
    filter: &Filter,
    status: Option<OrderStatus>,
    direction: Direction,
    bound: Option<Bound>,
) {
    let mut joint = [" WHERE "].into_iter().chain(std::iter::repeat(" AND "));
    let mut and = |sql: &mut Sql, condition: &str| {
        sql.push(joint.next().unwrap_or_default()).push(condition);
    };
    if let Some(customer_id) = &filter.customer_id {
        and(sql, "customer_id = ");
        sql.bind(Text(customer_id));
    }
    if let Some(status) = status {
        and(sql, "status = ");
        sql.bind(status.as_str());
    }
    let mut and_time = |sql: &mut Sql, condition, time: Option<Timestamp>| {
        if let Some(time) = time {
            and(sql, condition);
            sql.bind(time.as_micros());
        }
    };
    and_time(sql, "placed_at >= ", filter.placed_after);
    and_time(sql, "placed_at < ", filter.placed_before);
    if let Some(Bound { cursor, inclusive }) = bound {
        and(sql, "(placed_at, order_id) ");
        sql.push(match (direction, inclusive) {
            (Direction::Older, false) => "< (",
            (Direction::Older, true) => "<= (",
            (Direction::Newer, false) => "> (",
            (Direction::Newer, true) => ">= (",
        });
        sql.bind(cursor.placed_at.as_micros()).push(", ").bind(Id(cursor.id.as_uuid())).push(")");
    }
}
