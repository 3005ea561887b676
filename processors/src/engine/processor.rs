//! What a processor is: an async function from a decoded event to an outcome.

use std::future::Future;
use std::time::Duration;

use comanda_engine::HandlerError;
use comanda_schemas::{Event, Source, Stage, TraceContext};

/// A function from one event to what becomes of it. It knows nothing of Kafka and can be tested
/// without it.
///
/// Calls for events of one key never overlap and come in log order; calls for different keys do
/// overlap. A call may be repeated after a crash, so effects outside Kafka must carry a key that
/// makes them idempotent.
pub trait Processor: Send + Sync + 'static {
    /// What it reads.
    type In: Event;
    /// What it writes.
    type Out: Event;
    /// What else it writes, of records that it holds; `Self::Out` where it writes nothing else.
    type Note: Event;
    /// Where it stands in the pipeline: names its topics and its consumer group.
    const STAGE: Stage;

    /// From which offset on it has to see the earlier events of `event`'s key, where it has to see
    /// any. `redriven_from` is the offset at which a redriven record was first consumed.
    fn looks_back(_event: &Self::In, _redriven_from: Option<i64>) -> Option<i64> {
        None
    }

    /// Called when partitions come to this process, before the first of their events. Must not block.
    fn takes_over(&self) {}

    /// Ends when an event that is held should be handled again before its pause is over, for what
    /// came about since the call.
    fn news(&self, _held: &Self::In) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Whether a dead letter for `error` tells of a neighbour's fault rather than of this program's;
    /// the latter, where nearly all records end so, stop the engine.
    fn is_neighbours_fault(_error: &HandlerError) -> bool {
        false
    }

    /// Handles one event.
    fn handle(
        &self,
        input: &Input<Self::In>,
    ) -> impl Future<Output = Outcome<Self::Out, Self::Note>> + Send;
}

/// One event to handle, and where it comes from.
#[derive(Debug, Clone)]
pub struct Input<E> {
    /// The event.
    pub event: E,
    /// Its record.
    pub source: Source,
    /// Which call this is for this record since the process started, from 1.
    pub attempt: u32,
    /// How long it has been failing: the time since the first call that asked for another one.
    pub failing_for: Duration,
    /// Whether an earlier one of these calls ended in [`Outcome::Hold`].
    pub is_held: bool,
    /// Trace of the record, continued; the result carries it on.
    pub trace: TraceContext,
    /// What the topic has under its key before it, in log order, from where
    /// [`Processor::looks_back`] says. Records that can't be read are left out.
    pub earlier: Vec<E>,
    /// Whether its record is that of a dead letter, put back: a first try of its kind may have been
    /// made long ago.
    pub is_redriven: bool,
    /// Whether another process, or this one before it lost the partition, may have begun the record
    /// and left nothing of it.
    pub is_suspect: bool,
}

impl<E> Input<E> {
    /// The first call for an event, in a trace of its own and with nothing before it: for those who
    /// call a processor without an engine.
    pub fn new(event: E, source: Source) -> Self {
        Self {
            event,
            source,
            attempt: 1,
            failing_for: Duration::ZERO,
            is_held: false,
            trace: TraceContext::new_root(),
            earlier: Vec::new(),
            is_redriven: false,
            is_suspect: false,
        }
    }
}

/// What becomes of an event.
#[derive(Debug)]
pub enum Outcome<E, N = E> {
    /// Write this result.
    Emit(E),
    /// Nothing to write.
    Skip,
    /// Call again after a while. The event keeps its place: later events of its key wait, others
    /// go on. Beyond the engine's caps on attempts and age the record becomes a dead letter.
    Retry {
        /// How long to wait.
        after: Duration,
        /// What stood in the way.
        error: HandlerError,
    },
    /// Call again after a while, because a neighbour is away: this was no try, and counts towards no
    /// cap.
    Wait {
        /// How long to wait.
        after: Duration,
        /// What stood in the way.
        error: HandlerError,
    },
    /// Call again after a while, however often and however long: to give the record up would be to
    /// guess. It keeps its place like one to retry.
    Hold {
        /// How long to wait, unless [`Processor::news`] ends sooner.
        after: Duration,
        /// What stood in the way.
        error: HandlerError,
        /// To be written now, ahead of the result and without the record's offset. A crash can
        /// have it written again, so its id has to follow from the record.
        note: Option<N>,
    },
    /// It can't be handled: its record goes to the dead-letter topic as it came.
    DeadLetter {
        /// Why.
        error: HandlerError,
        /// A result to write in the same transaction, where readers of the output need one.
        result: Option<E>,
    },
}
