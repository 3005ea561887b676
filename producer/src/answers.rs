//! From a delivery report to whoever waits for it, many at a time.
//!
//! librdkafka reports on a thread of its own. To wake a task from there costs more than all else
//! that a report needs, so the reports of one moment are gathered, and a task wakes those who wait.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::Error;
use crate::delivery::Stored;
use crate::gathered::{Duty, Gathered};

/// What became of a record.
pub(crate) type Outcome = Result<Stored, Error>;

/// Who waits for a record. Dropped, it has no outcome.
pub(crate) enum Reply {
    /// One who waits for nothing else.
    One(oneshot::Sender<Outcome>),
    /// One who waits for several.
    Part(Part),
}

/// One of the records that somebody waits for together.
pub(crate) struct Part {
    of: Arc<Batch>,
    index: usize,
}

/// Records that somebody waits for together.
pub(crate) struct Batch {
    outcomes: Mutex<Vec<Option<Outcome>>>,
    left: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

/// An outcome on its way.
pub(crate) enum Telling {
    One(oneshot::Sender<Outcome>, Outcome),
    Batch(oneshot::Sender<()>),
}

impl Batch {
    /// Of `size` records; what to wait for, and who is to be told of each. There is nothing to wait
    /// for where there are none.
    pub fn new(size: usize) -> (Arc<Self>, oneshot::Receiver<()>, impl Iterator<Item = Reply>) {
        let (sender, done) = oneshot::channel();
        let batch = Arc::new(Self {
            outcomes: Mutex::new((0..size).map(|_| None).collect()),
            left: AtomicUsize::new(size),
            done: Mutex::new((size > 0).then_some(sender)),
        });
        let of = batch.clone();
        (batch, done, (0..size).map(move |index| Reply::Part(Part { of: of.clone(), index })))
    }

    /// The outcomes that are there by now.
    pub fn outcomes(&self) -> Vec<Option<Outcome>> {
        std::mem::take(&mut *lock(&self.outcomes))
    }

    /// Another one is settled; who is to be told, where it was the last.
    fn count(&self) -> Option<oneshot::Sender<()>> {
        let is_last = self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last { lock(&self.done).take() } else { None }
    }
}

impl Part {
    fn put(&self, outcome: Outcome) {
        // Whoever waited may have taken the others, and gone.
        if let Some(place) = lock(&self.of.outcomes).get_mut(self.index) {
            *place = Some(outcome);
        }
    }
}

impl Drop for Part {
    /// Where [`Reply::with`] has not counted it.
    fn drop(&mut self) {
        if self.index != COUNTED
            && let Some(done) = self.of.count()
        {
            let _ = done.send(());
        }
    }
}

/// Index of a part that is settled.
const COUNTED: usize = usize::MAX;

impl Reply {
    /// Notes the outcome; what is to be told because of it.
    pub fn with(self, outcome: Outcome) -> Option<Telling> {
        match self {
            Self::One(sender) => Some(Telling::One(sender, outcome)),
            Self::Part(mut part) => {
                part.put(outcome);
                part.index = COUNTED;
                part.of.count().map(Telling::Batch)
            }
        }
    }
}

impl Telling {
    pub fn tell(self) {
        // The asker may have gone; the event is stored or not all the same.
        match self {
            Self::One(sender, outcome) => drop(sender.send(outcome)),
            Self::Batch(sender) => drop(sender.send(())),
        }
    }
}

/// The outcomes of one moment.
#[derive(Default)]
pub(crate) struct Answers {
    waiting: Arc<Gathered<Telling>>,
    /// Where those live who wait.
    runtime: OnceLock<Handle>,
}

impl Answers {
    /// Somebody waits on the current runtime from now on.
    pub fn expect(&self) {
        self.runtime.get_or_init(Handle::current);
    }

    /// Has an outcome told, on any thread.
    pub fn tell(&self, telling: Telling) {
        let Some(runtime) = self.runtime.get() else { return telling.tell() };
        if let Some(duty) = self.waiting.add([telling]) {
            runtime.spawn(Messenger(duty));
        }
    }
}

/// Tells all that there is to tell; also where its runtime ends before it has run.
struct Messenger(Duty<Telling>);

impl Messenger {
    fn tell_all(&mut self) {
        while let Some(all) = self.0.next() {
            all.into_iter().for_each(Telling::tell);
        }
    }
}

impl Future for Messenger {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.tell_all();
        Poll::Ready(())
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        self.tell_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(offset: i64) -> Outcome {
        Ok(Stored { partition: 0, offset, timestamp: None })
    }

    fn offsets(batch: &Batch) -> Vec<Option<i64>> {
        let outcomes = batch.outcomes().into_iter();
        outcomes.map(|outcome| outcome.map(|outcome| outcome.unwrap().offset)).collect()
    }

    #[test]
    fn a_batch_is_done_with_its_last_record_whether_that_has_an_outcome_or_not() {
        let (batch, mut done, replies) = Batch::new(3);
        let [a, b, c] = replies.collect::<Vec<_>>().try_into().ok().unwrap();
        assert!(c.with(stored(7)).is_none());
        drop(a);
        assert!(done.try_recv().is_err());
        b.with(stored(5)).unwrap().tell();
        assert!(done.try_recv().is_ok());
        assert_eq!(offsets(&batch), [None, Some(5), Some(7)]);
    }

    #[test]
    fn a_batch_of_nothing_is_done_at_once() {
        let (_batch, mut done, mut replies) = Batch::new(0);
        assert!(replies.next().is_none());
        assert_eq!(done.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn what_comes_too_late_harms_nobody() {
        let (batch, done, replies) = Batch::new(2);
        let [a, b] = replies.collect::<Vec<_>>().try_into().ok().unwrap();
        assert!(a.with(stored(1)).is_none());
        assert_eq!(offsets(&batch), [Some(1), None]);
        drop(done);
        b.with(stored(2)).unwrap().tell();
    }

    #[test]
    fn a_runtime_that_ends_keeps_no_outcome_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answers = Arc::new(Answers::default());
        runtime.block_on(async { answers.expect() });
        let (sender, mut first) = oneshot::channel();
        answers.tell(Reply::One(sender).with(stored(1)).unwrap());
        assert!(first.try_recv().is_err(), "nothing runs the task");
        drop(runtime);
        assert!(first.try_recv().unwrap().is_ok());
        let (sender, mut second) = oneshot::channel();
        answers.tell(Reply::One(sender).with(stored(2)).unwrap());
        assert!(second.try_recv().unwrap().is_ok());
    }
}
