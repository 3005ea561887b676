//! Finding the orders that pass a filter, at a cost that has a bound.
//!
//! Some conditions are answered by an index, in the order of the list; the others are checked order
//! by order, of as many as that index gives up to [`MAX_SEARCH`].

use comanda_schemas::Timestamp;

use crate::backend::{Id, Session, Sql, Text};
use crate::listing::key;
use crate::rows::searchable;
use crate::{Cursor, Error, Filter, MAX_SEARCH, OrderStatus, PaymentStatus};

/// What a failed query was for.
const DOING: &str = "find orders";

/// Writes a condition.
type Condition<'s> = Box<dyn Fn(&mut Sql) + 's>;

/// Which way to walk through the list, which runs from the newest to the oldest.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Older,
    Newer,
}

/// Where to begin.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub cursor: Cursor,
    /// Whether the order at the cursor belongs to it.
    pub inclusive: bool,
}

/// What a search found.
pub(crate) struct Found {
    /// The places of the orders, in the direction walked.
    pub keys: Vec<Cursor>,
    /// The last place that was looked at, where there may be more behind it.
    pub end: Option<Cursor>,
}

/// A search for the orders that pass a filter.
pub(crate) struct Search<'f> {
    filter: &'f Filter,
    source: Source<'f>,
    text: Option<String>,
}

/// The index that gives the orders.
enum Source<'f> {
    Payment(&'f str),
    Customer(&'f str),
    Statuses(Vec<OrderStatus>),
    PaymentStatuses(Vec<PaymentStatus>),
    /// Few enough were updated in the time that is asked for.
    Updated,
    Time,
}

impl Direction {
    pub fn reverse(self) -> Self {
        match self {
            Self::Older => Self::Newer,
            Self::Newer => Self::Older,
        }
    }

    fn order_by(self) -> &'static str {
        match self {
            Self::Older => " ORDER BY placed_at DESC, order_id DESC LIMIT ",
            Self::Newer => " ORDER BY placed_at ASC, order_id ASC LIMIT ",
        }
    }
}

impl<'f> Search<'f> {
    pub async fn new(session: &mut Session, filter: &'f Filter) -> Result<Self, Error> {
        let distinct = |all: &[OrderStatus]| {
            let is_asked = |status: &&OrderStatus| filter.statuses.contains(status);
            all.iter().filter(is_asked).copied().collect::<Vec<_>>()
        };
        let of_payment = |all: &[PaymentStatus]| {
            let is_asked = |status: &&PaymentStatus| filter.payment_statuses.contains(status);
            all.iter().filter(is_asked).copied().collect::<Vec<_>>()
        };
        let source = if let Some(payment_id) = &filter.payment_id {
            Source::Payment(payment_id)
        } else if let Some(customer_id) = &filter.customer_id {
            Source::Customer(customer_id)
        } else if !filter.statuses.is_empty() {
            Source::Statuses(distinct(OrderStatus::ALL))
        } else if !filter.payment_statuses.is_empty() {
            Source::PaymentStatuses(of_payment(PaymentStatus::ALL))
        } else if filter.updated_after.is_some() && few_updated(session, filter).await? {
            Source::Updated
        } else {
            Source::Time
        };
        Ok(Self { filter, source, text: filter.text.as_deref().map(searchable) })
    }

    /// The first `limit` orders from `bound` on, in the direction walked.
    pub async fn find(
        &self,
        session: &mut Session,
        direction: Direction,
        bound: Option<Bound>,
        limit: u32,
    ) -> Result<Found, Error> {
        let mut sql = session.sql("");
        if !self.has_rest() {
            self.push_source(&mut sql, direction, bound, limit, 0);
            let rows: Vec<(Id, i64)> = session.fetch(sql, DOING).await?;
            return Ok(Found { keys: rows.into_iter().map(key).collect(), end: None });
        }
        sql.push("SELECT order_id, placed_at FROM (");
        self.push_source(&mut sql, direction, bound, MAX_SEARCH, 0);
        sql.push(") AS searched WHERE ");
        self.push_rest(&mut sql);
        sql.push(direction.order_by()).bind(i64::from(limit));
        let rows: Vec<(Id, i64)> = session.fetch(sql, DOING).await?;
        let keys: Vec<Cursor> = rows.into_iter().map(key).collect();
        let end = match keys.len() < limit as usize {
            true => {
                let mut sql = session.sql("");
                self.push_source(&mut sql, direction, bound, 1, MAX_SEARCH - 1);
                let last: Vec<(Id, i64)> = session.fetch(sql, DOING).await?;
                last.into_iter().next().map(key)
            }
            false => None,
        };
        Ok(Found { keys, end })
    }

    /// How many there are; `None` where that are too many to look at.
    pub async fn count(&self, session: &mut Session) -> Result<Option<u32>, Error> {
        let mut sql = session.sql("SELECT count(*), sum(CASE WHEN ");
        match self.has_rest() {
            true => self.push_rest(&mut sql),
            false => _ = sql.push("true"),
        }
        sql.push(" THEN 1 ELSE 0 END) FROM (");
        self.push_source(&mut sql, Direction::Older, None, MAX_SEARCH + 1, 0);
        sql.push(") AS searched");
        let counted: Vec<(i64, Option<i64>)> = session.fetch(sql, DOING).await?;
        let (searched, passing) = counted.first().copied().unwrap_or_default();
        let is_all = searched <= i64::from(MAX_SEARCH);
        Ok(is_all.then(|| u32::try_from(passing.unwrap_or(0)).unwrap_or(0)))
    }

    /// Whether there are conditions that the source does not answer.
    fn has_rest(&self) -> bool {
        let filter = self.filter;
        let by_payment = matches!(self.source, Source::Payment(_)) && filter.customer_id.is_some();
        let status = !matches!(self.source, Source::Statuses(_)) && !filter.statuses.is_empty();
        let payment_status = !matches!(self.source, Source::PaymentStatuses(_))
            && !filter.payment_statuses.is_empty();
        let updated = !matches!(self.source, Source::Updated)
            && (filter.updated_after.is_some() || filter.updated_before.is_some());
        by_payment || status || payment_status || updated || self.text.is_some()
    }

    /// What the source has: ids, times, and what the rest of the conditions is about.
    fn push_source(
        &self,
        sql: &mut Sql,
        direction: Direction,
        bound: Option<Bound>,
        limit: u32,
        skip: u32,
    ) {
        let columns = match self.has_rest() {
            true => COLUMNS,
            false => "order_id, placed_at",
        };
        let part = |sql: &mut Sql, condition: &dyn Fn(&mut Sql)| {
            sql.push(format!("SELECT {columns} FROM "));
            match self.source {
                // The limit makes it one question of its own, answered by the index.
                Source::Updated => {
                    sql.push(format!("(SELECT {COLUMNS} FROM order_states"));
                    push_updated(sql, self.filter);
                    sql.push(" LIMIT ").bind(i64::from(MAX_SEARCH)).push(") AS updated");
                }
                _ => _ = sql.push("order_states"),
            }
            sql.push(" WHERE ");
            condition(sql);
            self.push_times(sql, direction, bound);
            sql.push(direction.order_by()).bind(i64::from(limit) + i64::from(skip));
        };
        let equal = |column: &'static str, value: &'static str| {
            move |sql: &mut Sql| {
                sql.push(column).push(" = ").bind(value);
            }
        };
        let mut parts: Vec<Condition<'_>> = match &self.source {
            Source::Payment(id) => vec![Box::new(|sql| {
                sql.push("payment_id = ").bind(Text(id));
            })],
            Source::Customer(id) => vec![Box::new(|sql| {
                sql.push("customer_id = ").bind(Text(id));
            })],
            Source::Statuses(statuses) => statuses
                .iter()
                .map(|status| Box::new(equal("status", status.as_str())) as _)
                .collect(),
            Source::PaymentStatuses(statuses) => statuses
                .iter()
                .map(|status| Box::new(equal("payment_status", status.as_str())) as _)
                .collect(),
            Source::Updated | Source::Time => vec![Box::new(|sql| {
                sql.push("true");
            })],
        };
        match parts.len() {
            1 if skip == 0 => part(sql, &*parts.remove(0)),
            // Each has its part of an index in the order wanted; all together have not.
            _ => {
                sql.push("SELECT * FROM (");
                let mut joint = "";
                for condition in &parts {
                    sql.push(joint).push("SELECT * FROM (");
                    part(sql, &**condition);
                    sql.push(") AS one");
                    joint = " UNION ALL ";
                }
                sql.push(") AS several").push(direction.order_by()).bind(i64::from(limit));
                sql.push(" OFFSET ").bind(i64::from(skip));
            }
        }
    }

    fn push_times(&self, sql: &mut Sql, direction: Direction, bound: Option<Bound>) {
        let and_time = |sql: &mut Sql, condition: &str, time: Option<Timestamp>| {
            if let Some(time) = time {
                sql.push(condition).bind(time.as_micros());
            }
        };
        and_time(sql, " AND placed_at >= ", self.filter.placed_after);
        and_time(sql, " AND placed_at < ", self.filter.placed_before);
        if let Some(Bound { cursor, inclusive }) = bound {
            sql.push(" AND (placed_at, order_id) ").push(match (direction, inclusive) {
                (Direction::Older, false) => "< (",
                (Direction::Older, true) => "<= (",
                (Direction::Newer, false) => "> (",
                (Direction::Newer, true) => ">= (",
            });
            sql.bind(cursor.placed_at.as_micros()).push(", ");
            sql.bind(Id(cursor.id.as_uuid())).push(")");
        }
    }

    /// The conditions that are checked order by order, over [`COLUMNS`].
    fn push_rest(&self, sql: &mut Sql) {
        let filter = self.filter;
        sql.push("true");
        if let (Source::Payment(_), Some(customer_id)) = (&self.source, &filter.customer_id) {
            sql.push(" AND customer_id = ").bind(Text(customer_id));
        }
        if !matches!(self.source, Source::Statuses(_)) {
            let asked = OrderStatus::ALL.iter().filter(|s| filter.statuses.contains(s));
            let names = asked.map(|status| status.as_str());
            push_any(sql, "status", names);
        }
        if !matches!(self.source, Source::PaymentStatuses(_)) {
            let asked = PaymentStatus::ALL.iter().filter(|s| filter.payment_statuses.contains(s));
            let names = asked.map(|status| status.as_str());
            push_any(sql, "payment_status", names);
        }
        if let Some(time) = filter.updated_after {
            sql.push(" AND updated_at >= ").bind(time.as_micros());
        }
        if let Some(time) = filter.updated_before {
            sql.push(" AND updated_at < ").bind(time.as_micros());
        }
        if let Some(text) = &self.text {
            let find = if sql.is_postgres() { "strpos" } else { "instr" };
            sql.push(format!(" AND {find}((SELECT search_text FROM contents "));
            sql.push("WHERE contents.content_id = searched.content_id), ");
            sql.bind(text.clone()).push(") > 0");
        }
    }
}

/// What the conditions are about.
const COLUMNS: &str = "order_id, placed_at, customer_id, status, payment_status, \
                       updated_at, content_id";

/// Where there are names, that the column has one of them.
fn push_any(sql: &mut Sql, column: &str, names: impl Iterator<Item = &'static str>) {
    let mut joint = format!(" AND {column} IN (");
    let mut is_empty = true;
    for name in names {
        sql.push(&joint).bind(name);
        joint = ", ".to_owned();
        is_empty = false;
    }
    if !is_empty {
        sql.push(")");
    }
}

fn push_updated(sql: &mut Sql, filter: &Filter) {
    sql.push(" WHERE true");
    if let Some(time) = filter.updated_after {
        sql.push(" AND updated_at >= ").bind(time.as_micros());
    }
    if let Some(time) = filter.updated_before {
        sql.push(" AND updated_at < ").bind(time.as_micros());
    }
}

/// Whether so few orders were updated in the time that is asked for that all can be looked at.
async fn few_updated(session: &mut Session, filter: &Filter) -> Result<bool, Error> {
    let mut sql = session.sql("SELECT count(*) FROM (SELECT updated_at FROM order_states");
    push_updated(&mut sql, filter);
    sql.push(" LIMIT ").bind(i64::from(MAX_SEARCH) + 1).push(") AS updated");
    let counted: Vec<(i64,)> = session.fetch(sql, DOING).await?;
    Ok(counted.first().is_some_and(|(count,)| *count <= i64::from(MAX_SEARCH)))
}
