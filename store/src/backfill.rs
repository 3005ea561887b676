//! Events from given offsets on: what a subscriber has missed.

use std::collections::HashMap;

use comanda_schemas::{OrderId, Timestamp};
use uuid::Uuid;

use crate::backend::{Id, Session};
use crate::read::positions;
use crate::rows::{CHUNK, COLUMNS, facts_of, fetch};
use crate::{Error, MAX_PAGE, Position, Recorded, Store, StoredEvent};

/// Partitions that one statement looks into; SQLite joins at most 500 selections.
const PARTITIONS: usize = 100;
/// What a failed query was for.
const DOING: &str = "read the events after an offset";

impl Store {
    /// Events from the offsets in `after` on, of one order or of all: at most `limit`, and at most
    /// [`MAX_PAGE`]. A partition that `after` does not name is read from its beginning.
    ///
    /// They come by the time they were recorded, then by topic, but within a partition always by
    /// offset, whatever clock stamped the records: whoever goes on behind the last event of each
    /// partition misses none.
    pub async fn events_after(
        &self,
        order: Option<OrderId>,
        after: &[Position],
        limit: u32,
    ) -> Result<Vec<StoredEvent>, Error> {
        let limit = limit.min(MAX_PAGE) as usize;
        let after: HashMap<(&str, i32), i64> =
            after.iter().map(|p| ((p.topic.as_str(), p.partition), p.next_offset)).collect();
        let from = |topic: &str, partition| after.get(&(topic, partition)).copied().unwrap_or(0);
        let mut session = self.reader(DOING).await?;
        session.begin_snapshot(DOING).await?;
        let events = match order {
            Some(order) => {
                let mut facts = facts_of(&mut session, &[order]).await?;
                let events = facts.remove(&order).unwrap_or_default();
                let missed = events.into_iter().map(|StoredEvent { at, event }| (at, event));
                let missed = missed.filter(|(at, _)| at.offset >= from(&at.topic, at.partition));
                let missed = first(missed.collect(), limit).into_iter();
                missed.map(|(at, event)| StoredEvent { at, event }).collect()
            }
            None => {
                let mut starts = positions(&mut session).await?;
                for start in &mut starts {
                    start.next_offset = from(&start.topic, start.partition);
                }
                let places = select_places(&mut session, &starts, limit).await?;
                select_events(&mut session, first(places, limit)).await?
            }
        };
        session.commit(DOING).await?;
        Ok(events)
    }
}

/// The first `limit` of what was recorded, by time, topic, partition and offset. A record counts
/// as no older than any before it in its partition: clients' clocks may differ.
fn first<T>(mut recorded: Vec<(Recorded, T)>, limit: usize) -> Vec<(Recorded, T)> {
    let place = |at: &Recorded| (at.topic.clone(), at.partition, at.offset);
    recorded.sort_by_cached_key(|(at, _)| place(at));
    let mut latest: HashMap<(String, i32), Timestamp> = HashMap::new();
    let mut timed: Vec<_> = recorded
        .into_iter()
        .map(|(at, what)| {
            let time = latest.entry((at.topic.clone(), at.partition)).or_insert(at.timestamp);
            *time = at.timestamp.max(*time);
            (*time, at, what)
        })
        .collect();
    // Stable, so that what has the same time stays in the order of the places.
    timed.sort_by_key(|(time, _, _)| *time);
    timed.truncate(limit);
    timed.into_iter().map(|(_, at, what)| (at, what)).collect()
}

/// Where the first `limit` events of each partition are, with their ids.
async fn select_places(
    session: &mut Session,
    starts: &[Position],
    limit: usize,
) -> Result<Vec<(Recorded, Uuid)>, Error> {
    let mut found = Vec::new();
    for chunk in starts.chunks(PARTITIONS) {
        let mut sql = session.sql("");
        let mut joint = "";
        for start in chunk {
            sql.push(joint).push(
                "SELECT * FROM (SELECT topic, partition_id, record_offset, recorded_at, event_id \
                 FROM events WHERE topic = ",
            );
            sql.bind(start.topic.clone()).push(" AND partition_id = ").bind(start.partition);
            sql.push(" AND record_offset >= ").bind(start.next_offset);
            sql.push(" ORDER BY record_offset LIMIT ").bind(limit as i64).push(") AS missed");
            joint = " UNION ALL ";
        }
        let rows: Vec<(String, i32, i64, i64, Id)> = session.fetch(sql, DOING).await?;
        found.extend(rows.into_iter().map(|(topic, partition, offset, micros, event_id)| {
            let timestamp = Timestamp::from_micros(micros);
            (Recorded { topic, partition, offset, timestamp }, event_id.0)
        }));
    }
    Ok(found)
}

/// The events at `places`, in that order.
async fn select_events(
    session: &mut Session,
    places: Vec<(Recorded, Uuid)>,
) -> Result<Vec<StoredEvent>, Error> {
    let mut events = HashMap::with_capacity(places.len());
    for chunk in places.chunks(CHUNK) {
        let mut sql = session.sql(format!("SELECT {COLUMNS} FROM events WHERE event_id"));
        sql.one_of(chunk.iter().map(|(_, event_id)| *event_id));
        let found = fetch(session, sql, DOING).await?;
        events.extend(found.into_iter().map(|e| (e.event.event_id(), e)));
    }
    Ok(places.iter().filter_map(|(_, event_id)| events.remove(event_id)).collect())
}
