//! One record from its bytes to what is to be written for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use comanda_schemas::headers::{self, EventHeaders};
use comanda_schemas::{
    DeadLetter, Encoder, Event, OrderId, ReadError, ReadTries, Redrive, Registry, Source,
    Timestamp, TraceContext,
};
use futures_util::FutureExt;
use metrics::Gauge;
use rdkafka::message::OwnedHeaders;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::look_back::LookBack;
use super::metrics::Meters;
use super::record::Record;
use super::{HandlerError, Input, Options, Outcome, Processor, run};

/// First wait before asking the registry again for a schema, or Kafka for earlier records; doubles
/// up to [`ASK_AGAIN_MAX`].
const ASK_AGAIN: Duration = Duration::from_millis(200);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(10);

/// What all records of an engine share.
pub(super) struct Shared<P: Processor> {
    pub processor: P,
    pub registry: Registry,
    pub look_back: Arc<LookBack>,
    pub encoder: Encoder<P::Out>,
    pub note_encoder: Encoder<P::Note>,
    /// Full names of its topics.
    pub input: String,
    pub output: String,
    pub notes: String,
    pub dead_letters: String,
    pub group: String,
    pub options: Options,
    pub meters: Arc<Meters>,
    /// Calls that wait for a known reason: before their next try, or for a schema or Kafka.
    pub pauses: AtomicUsize,
}

/// An event to write in the transaction.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub key: OrderId,
    pub value: Vec<u8>,
    pub headers: EventHeaders,
}

/// A dead letter to write in the transaction.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub record: Record,
    pub headers: OwnedHeaders,
}

/// What a handled record leaves.
#[derive(Debug, Default, Clone)]
pub(super) struct Finished {
    pub result: Option<Outgoing>,
    pub letter: Option<Box<Letter>>,
}

/// A record on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub record: Record,
    pub epoch: u64,
    pub is_suspect: bool,
    pub owned: Arc<Owned>,
}

/// A partition that is ours, as those who work on its records see it.
#[derive(Debug)]
pub(super) struct Owned {
    /// Ends waits, and keeps new records out: the partition or the process is on its way out.
    pub winding_down: CancellationToken,
    /// Ends calls.
    pub gone: CancellationToken,
}

impl Owned {
    /// One whose calls end with `gone` at the latest.
    pub fn until(gone: &CancellationToken) -> Self {
        Self { winding_down: CancellationToken::new(), gone: gone.child_token() }
    }
}

/// How often a record was tried, and since when it fails.
struct Trials {
    attempts: u32,
    first_failed: Option<(Instant, Timestamp)>,
}

impl Trials {
    /// Notes a failure; how long it is since the first one.
    fn fail(&mut self) -> Duration {
        self.first_failed.get_or_insert_with(|| (Instant::now(), Timestamp::now())).0.elapsed()
    }

    fn failing_for(&self) -> Duration {
        self.first_failed.map_or(Duration::ZERO, |(first, _)| first.elapsed())
    }
}

/// How a record ended.
enum End {
    Emitted(Outgoing),
    Skipped,
    Dead { error: HandlerError, result: Option<Outgoing> },
}

impl End {
    fn dead(error: HandlerError) -> Self {
        End::Dead { error, result: None }
    }
}

impl<P: Processor> Shared<P> {
    /// Handles one record to its end; `None` when winding down came first.
    /// Notes go to `events` at once.
    pub async fn run(&self, job: Job, events: &Sender<run::Event>) -> Option<Finished> {
        let mut trials = Trials { attempts: 1, first_failed: None };
        let caught =
            AssertUnwindSafe(self.run_inner(&job, &mut trials, events)).catch_unwind().await;
        let end = caught.unwrap_or_else(|_| {
            let chain = "the processor panicked".into();
            Some(End::dead(HandlerError { kind: "panic", chain }))
        })?;
        Some(match end {
            End::Emitted(result) => {
                self.meters.emitted.increment(1);
                Finished { result: Some(result), letter: None }
            }
            End::Skipped => {
                self.meters.skipped.increment(1);
                Finished::default()
            }
            End::Dead { error, result } => {
                let letter = Some(Box::new(self.letter(job.record, &mut trials, &error)));
                Finished { result, letter }
            }
        })
    }

    async fn run_inner(
        &self,
        job: &Job,
        trials: &mut Trials,
        events: &Sender<run::Event>,
    ) -> Option<End> {
        let event = match self.decode(job, job.record.value().unwrap_or_default()).await? {
            Ok(event) => event,
            Err(error) => return Some(End::dead(HandlerError::new("decode", &error))),
        };
        let redriven_from = job.record.header(Redrive::FIRST_OFFSET).and_then(|o| o.parse().ok());
        let earlier = match P::looks_back(&event, redriven_from) {
            Some(from) if from < job.record.offset => self.earlier(job, from).await?,
            Some(_) | None => Vec::new(),
        };
        let parent = job.record.header("traceparent");
        let mut input = Input {
            event,
            source: self.source(&job.record),
            attempt: 1,
            failing_for: Duration::ZERO,
            is_held: false,
            trace: TraceContext::continue_text(parent),
            earlier,
            is_redriven: redriven_from.is_some(),
            is_suspect: job.is_suspect,
        };
        let mut held = None;
        loop {
            input.is_held = held.is_some();
            input.attempt = trials.attempts;
            input.failing_for = trials.failing_for();
            // From before the call: the news may come while it lasts.
            let news = input.is_held.then(|| self.processor.news(&input.event));
            let mut is_held = false;
            let (after, error) = match self.processor.handle(&input).await {
                Outcome::Emit(event) => {
                    let encoded = self.encode(&event, &input.trace);
                    return Some(encoded.map_or_else(End::dead, End::Emitted));
                }
                Outcome::Skip => return Some(End::Skipped),
                Outcome::DeadLetter { error, result } => {
                    let result = result.and_then(|event| {
                        let encoded = self.encode(&event, &input.trace);
                        encoded
                            .inspect_err(|error| {
                                let (stage, error) = (P::STAGE.as_str(), &error.chain);
                                error!(stage, error, "result not written");
                            })
                            .ok()
                    });
                    return Some(End::Dead { error, result });
                }
                Outcome::Retry { after, error } => (after, error),
                Outcome::Hold { after, error, note } => {
                    held.get_or_insert_with(|| Counted::new(&self.meters.held_records));
                    if let Some(note) = note {
                        self.send_note(&note, &input.trace, events);
                    }
                    is_held = true;
                    (after, error)
                }
            };
            let age = trials.fail() + after;
            let is_over = trials.attempts >= self.options.max_attempts
                || age > Duration::from_millis(self.options.max_retry_age_ms);
            if is_over && !is_held {
                return Some(End::dead(error));
            }
            // Not each of them: a provider that is away puts off all records for as long.
            if trials.attempts.is_power_of_two() {
                warn!(
                    stage = P::STAGE.as_str(), order_id = %input.event.order_id(),
                    attempt = trials.attempts, after = ?after, kind = error.kind,
                    error = error.chain, "will be tried again"
                );
            }
            self.meters.retries.increment(1);
            let _counted = Counted::new(&self.meters.retrying_records);
            let pause = self.wait(after, &job.owned.winding_down);
            if is_held {
                let news = news.unwrap_or_else(|| self.processor.news(&input.event));
                tokio::select! {
                    waited = pause => waited?,
                    () = news => {}
                }
            } else {
                pause.await?;
            }
            trials.attempts += 1;
        }
    }

    /// The event in `value`, or why it never will be one; waits as long as the registry is away.
    async fn decode(&self, job: &Job, value: &[u8]) -> Option<Result<P::In, ReadError>> {
        let (mut tries, mut pause) = (ReadTries::default(), ASK_AGAIN);
        loop {
            match self.registry.read(value).await {
                Err(error) if tries.again_after(&error) => {
                    warn!(
                        stage = P::STAGE.as_str(),
                        partition = job.record.partition,
                        offset = job.record.offset,
                        error = headers::error_chain(&error),
                        "the schema of a record can't be fetched yet"
                    );
                    self.wait(pause, &job.owned.winding_down).await?;
                    pause = (pause * 2).min(ASK_AGAIN_MAX);
                }
                decoded => return Some(decoded),
            }
        }
    }

    /// Waits, for a known reason; `None` when winding down came first.
    async fn wait(&self, time: Duration, winding_down: &CancellationToken) -> Option<()> {
        let _paused = Paused::new(&self.pauses);
        tokio::select! {
            biased;
            () = winding_down.cancelled() => None,
            () = tokio::time::sleep(time) => Some(()),
        }
    }

    /// The events of the record's key from an offset on to the record; waits as long as Kafka is
    /// away.
    async fn earlier(&self, job: &Job, from: i64) -> Option<Vec<P::In>> {
        let Record { partition, offset, .. } = job.record;
        // Records without a key belong to nobody.
        let Some(key) = job.record.key() else { return Some(Vec::new()) };
        let mut pause = ASK_AGAIN;
        let values = loop {
            match self.look_back.values(partition, from.max(0)..offset, key).await {
                Ok(values) => break values,
                Err(error) => {
                    let stage = P::STAGE.as_str();
                    warn!(stage, partition, offset, %error, "earlier records can't be read yet");
                    self.wait(pause, &job.owned.winding_down).await?;
                    pause = (pause * 2).min(ASK_AGAIN_MAX);
                }
            }
        };
        let mut earlier = Vec::with_capacity(values.len());
        for value in values {
            earlier.extend(self.decode(job, &value).await?.ok());
        }
        Some(earlier)
    }

    fn source(&self, record: &Record) -> Source {
        let Record { partition, offset, .. } = *record;
        Source { topic: self.input.clone(), partition, offset }
    }

    fn encode(&self, event: &P::Out, trace: &TraceContext) -> Result<Outgoing, HandlerError> {
        encode(&self.encoder, event, P::STAGE.ce_source(), trace)
    }

    fn send_note(&self, note: &P::Note, trace: &TraceContext, events: &Sender<run::Event>) {
        match encode(&self.note_encoder, note, P::STAGE.ce_source(), trace) {
            Ok(note) => {
                self.meters.notes.increment(1);
                // The loop may have ended; whoever goes on from here makes the note again.
                let _ = events.send(run::Event::Note(note));
            }
            Err(error) => error!(stage = P::STAGE.as_str(), error = error.chain, "no note written"),
        }
    }

    fn letter(&self, record: Record, trials: &mut Trials, error: &HandlerError) -> Letter {
        trials.fail();
        let Record { partition, offset, .. } = record;
        error!(
            stage = P::STAGE.as_str(),
            topic = self.input,
            partition,
            offset,
            kind = error.kind,
            error = error.chain,
            attempts = trials.attempts,
            "record goes to the dead-letter topic"
        );
        self.meters.dead_letters.increment(1);
        let letter = DeadLetter {
            topic: &self.input,
            partition,
            offset,
            timestamp: record.timestamp(),
            group: &self.group,
            error_kind: error.kind,
            error_chain: &error.chain,
            attempts: trials.attempts,
            first_failed_at: trials.first_failed.map_or_else(Timestamp::now, |(_, at)| at),
        };
        Letter { headers: letter.headers(Some(record.headers())), record }
    }
}

fn encode<E: Event>(
    encoder: &Encoder<E>,
    event: &E,
    source: &'static str,
    trace: &TraceContext,
) -> Result<Outgoing, HandlerError> {
    let value = encoder.encode(event).map_err(|error| HandlerError::new("encode", &error))?;
    let headers = EventHeaders::new(event, source, trace);
    Ok(Outgoing { key: event.order_id(), value, headers })
}

/// Counts one more for as long as it lives; a call that is cut off drops it as well.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Counts a call that waits for a known reason.
struct Paused<'a>(&'a AtomicUsize);

impl<'a> Paused<'a> {
    fn new(pauses: &'a AtomicUsize) -> Self {
        pauses.fetch_add(1, Ordering::AcqRel);
        Self(pauses)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
