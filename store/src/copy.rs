//! From the first form of the store to the second.
//!
//! The tables of the first form (`events`, `orders`, `positions`) stay as they are, so that
//! processes of the last build go on with them, a projector that writes among them. Their events are
//! applied to the second form as if they came from the topics, partition by partition, in small
//! transactions: how far that has come stands in the second form's own positions, so that it goes on
//! after a crash, and so that a projector of this build goes on where it ended, whatever the other
//! one has written since.

use tracing::{info, warn};

use crate::backend::{Id, Session};
use crate::rows::{event, recorded};
use crate::write::Changes;
use crate::{Applied, Error, Position, Store};

/// Events in one transaction at the most.
const BATCH: i64 = 200;
/// What a failed query was for.
const DOING: &str = "copy what an older form has";

impl Store {
    /// Finishes what a migration has begun, where this process may; the number of events copied.
    pub(crate) async fn finish(&self, may_migrate: bool) -> Result<u64, Error> {
        if !is_unfinished(&mut self.keyed_reader(DOING).await?).await? {
            return Ok(0);
        }
        if !may_migrate {
            return Err(Error::Unfinished);
        }
        let denied = |error: Error| if error.is_denied() { Error::Unfinished } else { error };
        let copied = self.copy().await.map_err(denied)?;
        info!(copied, "order store: the events of the older form are copied");
        Ok(copied)
    }

    async fn copy(&self) -> Result<u64, Error> {
        info!("order store: copies the events of the older form");
        let (mut copied, mut partitions) = (0, self.old_positions().await?);
        // A projector of the last build may write meanwhile.
        while !partitions.is_empty() {
            for partition in &partitions {
                while let Some(applied) = self.copy_batch(partition).await? {
                    copied += applied;
                }
            }
            let before = partitions;
            partitions = self.old_positions().await?;
            partitions.retain(|partition| !before.contains(partition));
        }
        let mut session = self.writer(DOING).await?;
        session.execute(session.sql("DELETE FROM unfinished"), DOING).await?;
        Ok(copied)
    }

    async fn old_positions(&self) -> Result<Vec<Position>, Error> {
        let mut session = self.keyed_reader(DOING).await?;
        let sql = session.sql("SELECT topic, partition_id, next_offset FROM positions");
        let found: Vec<(String, i32, i64)> = session.fetch(sql, DOING).await?;
        let position = |(topic, partition, next_offset)| Position { topic, partition, next_offset };
        Ok(found.into_iter().map(position).collect())
    }

    /// Copies the next events of a partition, as far as it went when `until` was read; `None` where
    /// there are none any more.
    async fn copy_batch(&self, until: &Position) -> Result<Option<u64>, Error> {
        let mut session = self.writer(DOING).await?;
        session.begin(DOING).await?;
        // Another process may be at it, too: one batch after another.
        let lock = if session.is_postgres() { " FOR UPDATE" } else { "" };
        let sql = session.sql(format!("SELECT task FROM unfinished{lock}"));
        let unfinished: Vec<(String,)> = session.fetch(sql, DOING).await?;
        let from = next_offset(&mut session, until).await?;
        if unfinished.is_empty() || from >= until.next_offset {
            session.commit(DOING).await?;
            return Ok(None);
        }
        let (batch, copied) = read_batch(&mut session, until, from).await?;
        Changes::of(&batch)?.write(&mut session).await?;
        session.commit(DOING).await?;
        Ok(Some(copied))
    }

    /// Removes the tables of the first form, once what they had is copied. Processes of the last
    /// build can't go on after that.
    pub async fn drop_old_tables(&self) -> Result<(), Error> {
        let doing = "remove the tables of the older form";
        let mut session = self.writer(doing).await?;
        if is_unfinished(&mut session).await? {
            return Err(Error::Unfinished);
        }
        for table in ["events", "orders", "positions"] {
            session.execute(session.sql(format!("DROP TABLE IF EXISTS {table}")), doing).await?;
        }
        Ok(())
    }
}

async fn is_unfinished(session: &mut Session) -> Result<bool, Error> {
    let tasks: Vec<(String,)> =
        session.fetch(session.sql("SELECT task FROM unfinished"), DOING).await?;
    Ok(!tasks.is_empty())
}

/// How far a partition is copied.
async fn next_offset(session: &mut Session, at: &Position) -> Result<i64, Error> {
    let mut sql = session.sql("SELECT next_offset FROM applied_offsets WHERE topic = ");
    sql.bind(at.topic.clone()).push(" AND partition_id = ").bind(at.partition);
    let found: Vec<(i64,)> = session.fetch(sql, DOING).await?;
    Ok(found.first().map_or(0, |(next,)| *next))
}

/// The events of a partition from an offset on, and how many they are. Where they are the last ones,
/// the position moves up to `until`.
async fn read_batch(
    session: &mut Session,
    until: &Position,
    from: i64,
) -> Result<(Vec<Applied>, u64), Error> {
    let mut sql = session.sql(
        "SELECT event_id, kind, record_offset, recorded_at, payload FROM events WHERE topic = ",
    );
    sql.bind(until.topic.clone()).push(" AND partition_id = ").bind(until.partition);
    sql.push(" AND record_offset >= ").bind(from);
    sql.push(" AND record_offset < ").bind(until.next_offset);
    sql.push(" ORDER BY record_offset LIMIT ").bind(BATCH);
    let rows: Vec<(Id, String, i64, i64, String)> = session.fetch(sql, DOING).await?;
    let is_last = rows.len() < BATCH as usize;
    let (mut batch, mut copied) = (Vec::with_capacity(rows.len() + 1), 0);
    for (id, kind, offset, micros, payload) in rows {
        let at = recorded(until.topic.clone(), until.partition, offset, micros);
        let event = match event(id, &kind, &payload) {
            Ok(event) => Some(event),
            Err(error) => {
                let Position { topic, partition, .. } = until;
                let error = error.to_string();
                warn!(topic, partition, offset, error, "order store: an event is not copied");
                None
            }
        };
        copied += u64::from(event.is_some());
        batch.push(Applied { at, event });
    }
    if is_last {
        let at = recorded(until.topic.clone(), until.partition, until.next_offset - 1, 0);
        batch.push(Applied { at, event: None });
    }
    Ok((batch, copied))
}
