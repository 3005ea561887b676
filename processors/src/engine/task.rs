//! One record from its bytes to what is to be written for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comanda_schemas::{
    DeadLetter, Encoder, Event, ReadError, ReadTries, Registry, Source, Timestamp, TraceContext,
    headers,
};
use futures_util::FutureExt;
use metrics::counter;
use rdkafka::Message;
use rdkafka::message::{OwnedHeaders, OwnedMessage};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::metrics::{RECORDS_TOTAL, RETRIES_TOTAL};
use super::{HandlerError, Input, Options, Outcome, Processor};

/// First wait before asking the registry again for a schema; doubles up to [`SCHEMA_RETRY_MAX`].
const SCHEMA_RETRY: Duration = Duration::from_millis(200);
const SCHEMA_RETRY_MAX: Duration = Duration::from_secs(10);

/// What all records of an engine share.
pub(super) struct Shared<P: Processor> {
    pub processor: P,
    pub registry: Registry,
    pub encoder: Encoder<P::Out>,
    pub output: Arc<str>,
    pub dead_letters: Arc<str>,
    pub group: String,
    pub ce_source: String,
    pub options: Options,
}

/// A record to write in the transaction.
#[derive(Debug)]
pub(super) struct Write {
    pub topic: Arc<str>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: OwnedHeaders,
}

/// What a handled record leaves.
#[derive(Debug)]
pub(super) struct Finished {
    pub writes: Vec<Write>,
    /// Whether its record became a dead letter.
    pub dead: bool,
    pub read_at: Instant,
}

/// A record on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub record: OwnedMessage,
    pub epoch: u64,
    pub read_at: Instant,
    /// Ends waits: the partition or the process is on its way out.
    pub winding_down: CancellationToken,
}

/// How often and since when a record is tried.
struct Trials {
    attempts: u32,
    began: Instant,
    began_at: Timestamp,
}

impl<P: Processor> Shared<P> {
    /// Handles one record to its end; `None` when winding down came first.
    pub async fn run(&self, job: &Job) -> Option<Finished> {
        let mut trials = Trials { attempts: 1, began: Instant::now(), began_at: Timestamp::now() };
        let caught = AssertUnwindSafe(self.run_inner(job, &mut trials)).catch_unwind().await;
        let writes = caught.unwrap_or_else(|_| {
            let error = HandlerError { kind: "panic", chain: "the processor panicked".into() };
            Some(self.dead_letter(job, &trials, &error, None))
        })?;
        let dead = writes.iter().any(|write| write.topic == self.dead_letters);
        Some(Finished { writes, dead, read_at: job.read_at })
    }

    async fn run_inner(&self, job: &Job, trials: &mut Trials) -> Option<Vec<Write>> {
        let event = match self.decode(job).await? {
            Ok(event) => event,
            Err(error) => {
                let error = HandlerError::new("decode", &error);
                return Some(self.dead_letter(job, trials, &error, None));
            }
        };
        let mut input = Input {
            event,
            source: source_of(&job.record),
            attempt: 1,
            trace: TraceContext::continue_from(job.record.headers()),
        };
        loop {
            input.attempt = trials.attempts;
            let (after, error) = match self.processor.handle(&input).await {
                Outcome::Emit(event) => return Some(self.emit(job, trials, &event, &input.trace)),
                Outcome::Skip => {
                    self.count("skipped");
                    return Some(Vec::new());
                }
                Outcome::DeadLetter { error, result } => {
                    return Some(self.dead_letter(
                        job,
                        trials,
                        &error,
                        result.as_ref().map(|event| (event, &input.trace)),
                    ));
                }
                Outcome::Retry { after, error } => (after, error),
            };
            let age = trials.began.elapsed() + after;
            if trials.attempts >= self.options.max_attempts
                || age > Duration::from_millis(self.options.max_retry_age_ms)
            {
                return Some(self.dead_letter(job, trials, &error, None));
            }
            warn!(
                stage = P::STAGE.as_str(), order_id = %input.event.order_id(),
                attempt = trials.attempts, after = ?after, kind = error.kind, error = error.chain,
                "will be tried again"
            );
            counter!(RETRIES_TOTAL, "stage" => P::STAGE.as_str()).increment(1);
            wait(after, &job.winding_down).await?;
            trials.attempts += 1;
        }
    }

    /// The event, or why it never will be one; waits as long as the registry is away.
    async fn decode(&self, job: &Job) -> Option<Result<P::In, ReadError>> {
        let (mut tries, mut pause) = (ReadTries::default(), SCHEMA_RETRY);
        loop {
            match self.registry.read(job.record.payload().unwrap_or_default()).await {
                Err(error) if tries.again_after(&error) => {
                    warn!(
                        stage = P::STAGE.as_str(),
                        partition = job.record.partition(),
                        offset = job.record.offset(),
                        error = headers::error_chain(&error),
                        "the schema of a record can't be fetched yet"
                    );
                    wait(pause, &job.winding_down).await?;
                    pause = (pause * 2).min(SCHEMA_RETRY_MAX);
                }
                decoded => return Some(decoded),
            }
        }
    }

    fn emit(&self, job: &Job, trials: &Trials, event: &P::Out, trace: &TraceContext) -> Vec<Write> {
        match self.encode(event, trace) {
            Ok(write) => {
                self.count("emitted");
                vec![write]
            }
            Err(error) => self.dead_letter(job, trials, &error, None),
        }
    }

    fn encode(&self, event: &P::Out, trace: &TraceContext) -> Result<Write, HandlerError> {
        let value =
            self.encoder.encode(event).map_err(|error| HandlerError::new("encode", &error))?;
        Ok(Write {
            topic: self.output.clone(),
            key: Some(event.order_id().to_string().into_bytes()),
            value: Some(value),
            headers: headers::event_headers(event, &self.ce_source, trace),
        })
    }

    fn dead_letter(
        &self,
        job: &Job,
        trials: &Trials,
        error: &HandlerError,
        result: Option<(&P::Out, &TraceContext)>,
    ) -> Vec<Write> {
        let record = &job.record;
        error!(
            stage = P::STAGE.as_str(),
            topic = record.topic(),
            partition = record.partition(),
            offset = record.offset(),
            kind = error.kind,
            error = error.chain,
            attempts = trials.attempts,
            "record goes to the dead-letter topic"
        );
        self.count("dead_letter");
        let letter = DeadLetter {
            topic: record.topic(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp: record.timestamp().to_millis().map(Timestamp::from_millis),
            group: &self.group,
            error_kind: error.kind,
            error_chain: &error.chain,
            attempts: trials.attempts,
            first_failed_at: trials.began_at,
        };
        let raw = Write {
            topic: self.dead_letters.clone(),
            key: record.key().map(<[u8]>::to_vec),
            value: record.payload().map(<[u8]>::to_vec),
            headers: letter.headers(record.headers().cloned()),
        };
        let result = result.and_then(|(event, trace)| match self.encode(event, trace) {
            Ok(write) => Some(write),
            Err(error) => {
                error!(stage = P::STAGE.as_str(), error = error.chain, "result not written");
                None
            }
        });
        std::iter::once(raw).chain(result).collect()
    }

    fn count(&self, outcome: &'static str) {
        counter!(RECORDS_TOTAL, "stage" => P::STAGE.as_str(), "outcome" => outcome).increment(1);
    }
}

fn source_of(record: &OwnedMessage) -> Source {
    Source {
        topic: record.topic().to_owned(),
        partition: record.partition(),
        offset: record.offset(),
    }
}

/// Waits; `None` when winding down came first.
async fn wait(time: Duration, winding_down: &CancellationToken) -> Option<()> {
    tokio::select! {
        biased;
        () = winding_down.cancelled() => None,
        () = tokio::time::sleep(time) => Some(()),
    }
}
