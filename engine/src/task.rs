//! One record from its bytes to what is to be written for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use metrics::Gauge;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::key_history::KeyHistory;
use crate::metrics::Meters;
use crate::output::Finished;
use crate::run;
use crate::{
    DeadLetter, DecodeError, HandlerError, Input, Options, Outcome, Output, Processor, Record,
    Topology,
};

/// First wait before a record is decoded again, or Kafka asked again for earlier ones; doubles
/// up to [`ASK_AGAIN_MAX`].
const ASK_AGAIN: Duration = Duration::from_millis(200);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(10);
/// How often a codec may doubt that it will ever decode a record.
const DOUBTS: u32 = 8;

/// What all records of an engine share.
pub(crate) struct Shared<P: Processor> {
    pub processor: P,
    pub history: Arc<KeyHistory>,
    pub topology: Topology,
    /// Names of topics in it, as records carry them.
    pub input: Arc<str>,
    pub dead_letters: Arc<str>,
    pub options: Options,
    pub meters: Arc<Meters>,
    /// Calls that wait for a known reason: before their next try, or for a codec or Kafka.
    pub pauses: AtomicUsize,
}

/// A record on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub record: Record,
    pub epoch: u64,
    pub is_suspect: bool,
    pub owned: Arc<Owned>,
}

/// A partition that is ours, as those who work on its records see it.
#[derive(Debug)]
pub(crate) struct Owned {
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
    first_failed: Option<(Instant, SystemTime)>,
}

impl Trials {
    /// Notes a failure; how long it is since the first one.
    fn fail(&mut self) -> Duration {
        self.first_failed.get_or_insert_with(|| (Instant::now(), SystemTime::now())).0.elapsed()
    }

    /// Leaves out a time in which a neighbour was away.
    fn leave_out(&mut self, waited: Duration) {
        if let Some((first, _)) = &mut self.first_failed {
            *first += waited;
        }
    }

    fn failing_for(&self) -> Duration {
        self.first_failed.map_or(Duration::ZERO, |(first, _)| first.elapsed())
    }
}

/// Why a record is handled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Retry,
    Hold,
    Wait,
}

/// How a record ended.
enum End {
    Emitted(Vec<Output>),
    Skipped,
    Dead { error: HandlerError, outputs: Vec<Output> },
}

impl End {
    fn dead(error: HandlerError) -> Self {
        End::Dead { error, outputs: Vec::new() }
    }
}

impl<P: Processor> Shared<P> {
    pub fn name(&self) -> &'static str {
        self.topology.name
    }

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
            End::Emitted(outputs) => {
                self.meters.emitted.increment(1);
                Finished { outputs, ..Finished::default() }
            }
            End::Skipped => {
                self.meters.skipped.increment(1);
                Finished::default()
            }
            End::Dead { error, outputs } => {
                let letter = Box::new(self.dead_letter(&job.record, &mut trials, &error));
                let is_own_fault = self.processor.is_own_fault(&error);
                Finished { outputs, dead_letter: Some(letter), is_own_fault }
            }
        })
    }

    async fn run_inner(
        &self,
        job: &Job,
        trials: &mut Trials,
        events: &Sender<run::Event>,
    ) -> Option<End> {
        let event = match self.decode(job, &job.record).await? {
            Ok(event) => event,
            Err(error) => return Some(End::dead(error)),
        };
        let earlier = match self.processor.history_from(&event, &job.record) {
            Some(from) if from < job.record.offset() => self.earlier(job, from).await?,
            Some(_) | None => Vec::new(),
        };
        let mut input = Input {
            event,
            record: &job.record,
            attempt: 1,
            failing_for: Duration::ZERO,
            is_held: false,
            earlier,
            is_suspect: job.is_suspect,
        };
        let mut held = None;
        loop {
            input.is_held = held.is_some();
            input.attempt = trials.attempts;
            input.failing_for = trials.failing_for();
            // From before the call: the news may come while it lasts.
            let news = input.is_held.then(|| self.processor.wake_early(&input.event));
            let (again, after, error) = match self.processor.handle(&mut input).await {
                Outcome::Emit(outputs) => return Some(End::Emitted(outputs)),
                Outcome::Skip => return Some(End::Skipped),
                Outcome::DeadLetter { error, outputs } => {
                    return Some(End::Dead { error, outputs });
                }
                Outcome::Retry { after, error } => (Again::Retry, after, error),
                Outcome::Wait { after, error } => (Again::Wait, after, error),
                Outcome::Hold { after, error, note } => {
                    held.get_or_insert_with(|| Counted::new(&self.meters.held_records));
                    if let Some(note) = note {
                        self.meters.notes.increment(1);
                        // The loop may have ended; then the next one makes the note again.
                        let _ = events.send(run::Event::Note(note));
                    }
                    (Again::Hold, after, error)
                }
            };
            let age = trials.fail();
            let after = match again {
                Again::Hold | Again::Wait => after,
                Again::Retry => {
                    let max_age = Duration::from_millis(self.options.max_retry_age_ms);
                    let left = max_age.saturating_sub(age);
                    if trials.attempts >= self.options.max_attempts || left.is_zero() {
                        return Some(End::dead(error));
                    }
                    // A pause that is longer than that must not be the end: there is a last try.
                    after.min(left)
                }
            };
            // Not each of them: a neighbour that is away puts off all records for as long.
            if again != Again::Wait && trials.attempts.is_power_of_two() {
                warn!(
                    stage = self.name(), partition = job.record.partition(),
                    offset = job.record.offset(), attempt = trials.attempts, after = ?after, kind = error.kind,
                    error = error.chain, "record failed, retrying"
                );
            }
            self.meters.retries.increment(1);
            let _counted = Counted::new(&self.meters.retrying_records);
            let begun = Instant::now();
            let pause = self.wait(after, &job.owned.winding_down);
            if again == Again::Hold {
                let news = news.unwrap_or_else(|| self.processor.wake_early(&input.event));
                tokio::select! {
                    waited = pause => waited?,
                    () = news => {}
                }
            } else {
                pause.await?;
            }
            match again {
                Again::Retry | Again::Hold => trials.attempts += 1,
                Again::Wait => trials.leave_out(begun.elapsed()),
            }
        }
    }

    /// The event in `record`, or why it never will be one; waits as long as the codec asks for it.
    async fn decode(&self, job: &Job, record: &Record) -> Option<Result<P::Event, HandlerError>> {
        let (mut attempt, mut doubts, mut pause) = (1, 0, ASK_AGAIN);
        loop {
            let decoded = self.processor.decode(record, attempt).await;
            doubts += u32::from(matches!(decoded, Err(DecodeError::Doubtful(_))));
            match decoded {
                Ok(event) => return Some(Ok(event)),
                Err(DecodeError::Permanent(error)) => return Some(Err(error)),
                Err(DecodeError::Doubtful(error)) if doubts >= DOUBTS => return Some(Err(error)),
                Err(DecodeError::Doubtful(error) | DecodeError::Transient(error)) => {
                    warn!(
                        stage = self.name(),
                        partition = record.partition(),
                        offset = record.offset(),
                        kind = error.kind,
                        error = error.chain,
                        "record can't be decoded yet, retrying"
                    );
                    self.wait(pause, &job.owned.winding_down).await?;
                    pause = (pause * 2).min(ASK_AGAIN_MAX);
                    attempt = attempt.saturating_add(1);
                }
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
    async fn earlier(&self, job: &Job, from: i64) -> Option<Vec<P::Event>> {
        let (partition, offset) = (job.record.partition(), job.record.offset());
        // Records without a key have nothing in common.
        let Some(key) = job.record.key() else { return Some(Vec::new()) };
        let mut pause = ASK_AGAIN;
        let records = loop {
            match self.history.records(partition, from.max(0)..offset, key).await {
                Ok(records) => break records,
                Err(error) => {
                    let stage = self.name();
                    warn!(stage, partition, offset, %error, "earlier records can't be read yet");
                    self.wait(pause, &job.owned.winding_down).await?;
                    pause = (pause * 2).min(ASK_AGAIN_MAX);
                }
            }
        };
        let mut earlier = Vec::with_capacity(records.len());
        for record in records {
            earlier.extend(self.decode(job, &record).await?.ok());
        }
        Some(earlier)
    }

    /// The records at `offsets` of a partition, those that are still there; `None` when the
    /// partition went first.
    pub async fn reread(
        &self,
        partition: i32,
        offsets: Vec<i64>,
        owned: &Owned,
    ) -> Option<Vec<Record>> {
        let mut pause = ASK_AGAIN;
        loop {
            match self.history.records_at(partition, offsets.clone()).await {
                Ok(records) => return Some(records),
                Err(error) => {
                    let (stage, first) = (self.name(), offsets.first());
                    warn!(stage, partition, ?first, %error, "waiting records can't be read yet");
                    self.wait(pause, &owned.winding_down).await?;
                    pause = (pause * 2).min(ASK_AGAIN_MAX);
                }
            }
        }
    }

    fn dead_letter(&self, record: &Record, trials: &mut Trials, error: &HandlerError) -> Output {
        trials.fail();
        error!(
            stage = self.name(),
            topic = record.topic(),
            partition = record.partition(),
            offset = record.offset(),
            kind = error.kind,
            error = error.chain,
            attempts = trials.attempts,
            "record goes to the dead-letter topic"
        );
        self.meters.dead_letters.increment(1);
        let letter = DeadLetter {
            record,
            group: &self.topology.group,
            error,
            attempts: trials.attempts,
            first_failed_at: trials.first_failed.map_or_else(SystemTime::now, |(_, at)| at),
        };
        Output {
            topic: self.dead_letters.clone(),
            key: record.key().map(<[u8]>::to_owned),
            value: record.value().map(<[u8]>::to_owned),
            headers: self.processor.dead_letter_headers(&letter),
        }
    }
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
