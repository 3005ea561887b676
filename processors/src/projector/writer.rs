//! Decodes batches and writes them to the store, each in one SQL transaction.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use comanda_schemas::{Health, ReadError, ReadTries, Registry, Timestamp, Topic, headers};
use comanda_store::{AnyEvent, Applied, Store};
use metrics::{counter, gauge, histogram};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::batch::{Batch, Raw};
use super::metrics::{
    AGE_SECONDS, APPLY_SECONDS, BATCH_RECORDS, RECORDS_TOTAL, REFUSED_TOTAL, RETRIES_TOTAL,
    UNDECODABLE_TOTAL,
};
use super::options::Options;
use super::service::Progress;

/// What stands still while the store takes nothing, and while a schema is not to be had.
const WRITING: &str = "order store";
const SCHEMA: &str = "schema registry";

/// It was asked to stop.
#[derive(Debug)]
pub(super) struct Stopped;

/// The one writer of the store.
pub(super) struct Writer {
    pub options: Options,
    pub registry: Registry,
    pub store: Store,
    pub progress: watch::Sender<Progress>,
    /// What stands still.
    pub health: Health,
    pub shutdown: CancellationToken,
}

impl Writer {
    /// Writes batches until it is stopped, or there can be no more.
    pub async fn run(&self, mut batches: mpsc::Receiver<Batch>) {
        let mut caught_up = HashSet::new();
        while let Some(Some(batch)) = self.shutdown.run_until_cancelled(batches.recv()).await {
            let (topic, complete) = (batch.topic, batch.caught_up);
            let Ok(()) = self.write(batch).await else { break };
            if complete && caught_up.insert(topic) && caught_up.len() == Topic::ALL.len() {
                info!("the store has everything that was in the topics at the start");
                self.progress.send_modify(|progress| progress.caught_up = true);
            }
        }
    }

    async fn write(&self, batch: Batch) -> Result<(), Stopped> {
        let Some(first) = batch.records.first() else { return Ok(()) };
        let (topic, oldest) = (first.at.topic.clone(), first.at.timestamp);
        let mut applied = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            let event = self.event(batch.topic, &record).await?;
            applied.push(Applied { at: record.at, event });
        }
        let began = Instant::now();
        let records = applied.len();
        self.apply(&topic, oldest, applied).await?;
        histogram!(APPLY_SECONDS).record(began.elapsed());
        histogram!(BATCH_RECORDS).record(records as f64);
        counter!(RECORDS_TOTAL, "topic" => topic).increment(records as u64);
        self.progress.send_modify(|progress| progress.records += records as u64);
        Ok(())
    }

    /// The event of a record; `None` where it will never decode.
    async fn event(&self, topic: Topic, record: &Raw) -> Result<Option<AnyEvent>, Stopped> {
        let value = record.value.as_deref().unwrap_or_default();
        let (name, partition, offset) =
            (record.at.topic.as_str(), record.at.partition, record.at.offset);
        let mut backoff = self.options.backoff();
        let mut tries = ReadTries::default();
        loop {
            let failure = match decode(&self.registry, topic, value).await {
                Ok(event) => {
                    self.health.recovery(SCHEMA);
                    return Ok(Some(event));
                }
                Err(failure) => failure,
            };
            let error = headers::error_chain(&failure);
            if !tries.again_after(&failure) {
                error!(topic = name, partition, offset, error, "undecodable record skipped");
                counter!(UNDECODABLE_TOTAL, "topic" => name.to_owned()).increment(1);
                self.health.recovery(SCHEMA);
                return Ok(None);
            }
            let reason = format!("{name} {partition}@{offset} waits for its schema: {error}");
            self.health.trouble(SCHEMA, reason);
            warn!(topic = name, partition, offset, error, "record waits for its schema");
            counter!(RETRIES_TOTAL, "cause" => "registry", "topic" => name.to_owned()).increment(1);
            self.pause(backoff.next_wait()).await?;
        }
    }

    /// Writes a batch; a record of it that the database refuses is set aside.
    ///
    /// One value that the database can't take would else hold up all that comes after it. Halves of
    /// halves are tried until the record stands alone.
    async fn apply(
        &self,
        topic: &str,
        oldest: Timestamp,
        batch: Vec<Applied>,
    ) -> Result<(), Stopped> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let Err(refusal) = self.apply_part(topic, oldest, &part).await? else { continue };
            if part.len() > 1 {
                parts.push(part.split_off(part.len() / 2));
            } else if let Some(record) = part.first_mut() {
                let (partition, offset) = (record.at.partition, record.at.offset);
                let error = headers::error_chain(&refusal);
                error!(
                    topic,
                    partition, offset, error, "record skipped: the order store refuses it"
                );
                counter!(REFUSED_TOTAL, "topic" => topic.to_owned()).increment(1);
                record.event = None;
            }
            parts.push(part);
        }
        Ok(())
    }

    /// Writes records as soon as the store takes them; `Err` where it refuses what they say.
    async fn apply_part(
        &self,
        topic: &str,
        oldest: Timestamp,
        part: &[Applied],
    ) -> Result<Result<(), comanda_store::Error>, Stopped> {
        let age = gauge!(AGE_SECONDS, "topic" => topic.to_owned());
        let mut backoff = self.options.backoff();
        loop {
            let outcome = self.store.apply(part).await;
            age.set(Timestamp::now().since(oldest).as_secs_f64());
            let Err(failure) = outcome else {
                if self.health.recovery(WRITING) {
                    info!(topic, "the order store is written again");
                }
                return Ok(Ok(()));
            };
            if failure.is_refusal() && part.iter().any(|record| record.event.is_some()) {
                return Ok(Err(failure));
            }
            let error = headers::error_chain(&failure);
            self.health.trouble(WRITING, format!("can't be written: {error}"));
            error!(topic, records = part.len(), error, "order store failed, trying again");
            counter!(RETRIES_TOTAL, "cause" => "store", "topic" => topic.to_owned()).increment(1);
            self.pause(backoff.next_wait()).await?;
        }
    }

    async fn pause(&self, wait: Duration) -> Result<(), Stopped> {
        match self.shutdown.run_until_cancelled(tokio::time::sleep(wait)).await {
            Some(()) => Ok(()),
            None => Err(Stopped),
        }
    }
}

/// The event in the value of a record of `topic`.
async fn decode(registry: &Registry, topic: Topic, value: &[u8]) -> Result<AnyEvent, ReadError> {
    match topic {
        Topic::Orders => registry.read(value).await.map(AnyEvent::Order),
        Topic::Payments => registry.read(value).await.map(AnyEvent::Payment),
        Topic::Notifications => registry.read(value).await.map(AnyEvent::Notification),
        Topic::PaymentReports => registry.read(value).await.map(AnyEvent::Report),
    }
}
