//! What a processor is: an async function from a decoded record to an outcome.

use std::error::Error;
use std::future::Future;
use std::time::{Duration, SystemTime};

use crate::{Headers, Output, Record};

/// A function from one record to what becomes of it, and the codec below it.
///
/// Calls for records of one key never overlap and come in log order; calls for different keys do
/// overlap. A call may be repeated: after [`Outcome::Retry`], [`Outcome::Wait`] and
/// [`Outcome::Hold`], after a crash, and after a partition moved. So effects outside Kafka must carry a key that makes them
/// idempotent.
pub trait Processor: Send + Sync + 'static {
    /// A decoded record.
    type Event: Send + Sync + 'static;

    /// Decodes a record; `attempt` counts the calls for it from 1.
    fn decode(
        &self,
        record: &Record,
        attempt: u32,
    ) -> impl Future<Output = Result<Self::Event, DecodeError>> + Send;

    /// From which offset on it has to see the earlier records of this one's key, where it has to
    /// see any.
    fn history_from(&self, _event: &Self::Event, _record: &Record) -> Option<i64> {
        None
    }

    /// Called when partitions come to this process, before the first of their records. Must not
    /// block.
    fn on_assigned(&self, _partitions: &[i32]) {}

    /// Ends when a record that is held should be handled again before its pause is over, for what
    /// came about since the call.
    fn wake_early<'s>(
        &'s self,
        _held: &Self::Event,
    ) -> impl Future<Output = ()> + Send + use<'s, Self> {
        std::future::pending()
    }

    /// Handles one record. What it changes in the event is there when the same record is handled
    /// again in this process.
    fn handle(&self, input: &mut Input<'_, Self::Event>) -> impl Future<Output = Outcome> + Send;

    /// Whether a dead letter for `error` is a sign that this program is at fault, as it is where a
    /// record can't be decoded. Only such ones are counted by the breaker that stops the engine; a
    /// neighbour's absence or refusal must not be.
    fn is_own_fault(&self, _error: &HandlerError) -> bool {
        true
    }

    /// Headers of a dead letter: by default those of the record, and of each of the fields of
    /// [`DeadLetter`] one that begins with `dlq_`.
    fn dead_letter_headers(&self, letter: &DeadLetter<'_>) -> Headers {
        letter.headers("dlq_")
    }
}

/// One record to handle.
#[derive(Debug)]
pub struct Input<'r, E> {
    /// What it was decoded to.
    pub event: E,
    /// The record.
    pub record: &'r Record,
    /// Which call this is for this record since the process started, from 1.
    pub attempt: u32,
    /// How long it has been failing: the time since the first call that asked for another one.
    pub failing_for: Duration,
    /// Whether an earlier one of these calls ended in [`Outcome::Hold`].
    pub is_held: bool,
    /// What the topic has under its key before it, in log order, from where
    /// [`Processor::history_from`] says. Records that can't be decoded are left out.
    pub earlier: Vec<E>,
    /// Whether another process, or this one before it lost the partition, may have begun the record
    /// and left nothing of it.
    pub is_suspect: bool,
}

/// What becomes of a record.
#[derive(Debug)]
pub enum Outcome {
    /// It is done; these are written.
    Emit(Vec<Output>),
    /// It is done, and there is nothing to write.
    Skip,
    /// Call again after a while. The record keeps its place: later ones of its key wait, others
    /// go on. Beyond the engine's caps on attempts and age it becomes a dead letter.
    Retry {
        /// How long to wait.
        after: Duration,
        /// What stood in the way.
        error: HandlerError,
    },
    /// Call again after a while, because a neighbour is away: this was no try. It counts neither as
    /// an attempt nor towards the record's age, so nothing is given up for it.
    Wait {
        /// How long to wait.
        after: Duration,
        /// What stood in the way.
        error: HandlerError,
    },
    /// Call again after a while, however often and however long: to give the record up would be to
    /// guess. It keeps its place like one to retry.
    Hold {
        /// How long to wait, unless [`Processor::wake_early`] ends sooner.
        after: Duration,
        /// What stood in the way.
        error: HandlerError,
        /// To be written now, ahead of the result and without the record's offset. A crash can
        /// have it written again, so its id has to follow from the record.
        note: Option<Output>,
    },
    /// It can't be handled: the record goes to the dead-letter topic as it came.
    DeadLetter {
        /// Why.
        error: HandlerError,
        /// To write in the same transaction, where readers of an output need a result.
        outputs: Vec<Output>,
    },
}

/// Why a record could not be decoded.
#[derive(Debug, Clone)]
pub enum DecodeError {
    /// It can be tried again: a schema registry is away, for example. The record keeps its place.
    Transient(HandlerError),
    /// It may never be, or not yet: it is tried again a few times, then it counts as permanent.
    Doubtful(HandlerError),
    /// It never will be: the record becomes a dead letter.
    Permanent(HandlerError),
}

/// Why a record was not handled, in the form that logs and dead-letter headers carry.
///
/// Neither part may hold personal data or secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerError {
    /// Short name of the kind, for metrics and for sorting dead letters.
    pub kind: &'static str,
    /// The error and its causes on one line.
    pub chain: String,
}

impl HandlerError {
    /// From an error and its causes.
    pub fn new(kind: &'static str, error: &dyn Error) -> Self {
        let mut chain = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            cause = error.source();
        }
        Self { kind, chain }
    }
}

/// A record that was given up.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// The record.
    pub record: &'a Record,
    /// The consumer group that gave it up.
    pub group: &'a str,
    /// Why.
    pub error: &'a HandlerError,
    /// How often it was tried.
    pub attempts: u32,
    /// When it first failed.
    pub first_failed_at: SystemTime,
}

impl DeadLetter<'_> {
    /// The record's headers, and after them those of this dead letter, with names that begin with
    /// `prefix`: `topic`, `partition`, `offset`, `timestamp` (milliseconds), `group`, `error_kind`,
    /// `error_chain`, `attempts`, `first_failed_at` (milliseconds).
    pub fn headers(&self, prefix: &str) -> Headers {
        let millis = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis()
        };
        let timestamp = self.record.timestamp_millis().map(|t| t.to_string());
        let mut headers = self.record.headers();
        for (name, value) in [
            ("topic", self.record.topic()),
            ("partition", &self.record.partition().to_string()),
            ("offset", &self.record.offset().to_string()),
            ("timestamp", &timestamp.unwrap_or_default()),
            ("group", self.group),
            ("error_kind", self.error.kind),
            ("error_chain", &self.error.chain),
            ("attempts", &self.attempts.to_string()),
            ("first_failed_at", &millis(self.first_failed_at).to_string()),
        ] {
            headers.push(&format!("{prefix}{name}"), value.as_bytes());
        }
        headers
    }
}
