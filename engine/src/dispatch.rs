//! Hands jobs out to the runtime: many at a time, because each spawn from outside of it takes a
//! lock and may wake a thread.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Poll;

use futures_util::poll;
use tokio::runtime;

use super::Processor;
use super::lanes::Lane;
use super::output::Finished;
use super::run::Event;
use super::task::{Job, Shared};

/// Jobs begun one after another by one task; few enough that all workers get some.
const CHUNK: usize = 128;

/// A job is over.
#[derive(Debug)]
pub(crate) struct Completion {
    pub lane: Lane,
    pub epoch: u64,
    pub offset: i64,
    /// `None` when it was dropped undone.
    pub finished: Option<Finished>,
}

/// Jobs on their way to the runtime.
pub(crate) struct Dispatcher<P: Processor> {
    shared: Arc<Shared<P>>,
    runtime: runtime::Handle,
    events: Sender<Event>,
    waiting: Vec<(Lane, Job)>,
}

impl<P: Processor> Dispatcher<P> {
    /// Jobs of `shared` run on `runtime` and tell `events` of their end.
    pub fn new(shared: Arc<Shared<P>>, runtime: runtime::Handle, events: Sender<Event>) -> Self {
        Self { shared, runtime, events, waiting: Vec::new() }
    }

    /// Adds a job.
    pub fn add(&mut self, lane: Lane, job: Job) {
        self.waiting.push((lane, job));
    }

    /// Has what was added begin.
    pub fn launch(&mut self) {
        while !self.waiting.is_empty() {
            let rest = self.waiting.split_off(self.waiting.len().min(CHUNK));
            let chunk = std::mem::replace(&mut self.waiting, rest);
            let (shared, events) = (self.shared.clone(), self.events.clone());
            self.runtime.spawn(begin(shared, events, chunk));
        }
    }
}

/// Begins each job; those that do not end at once go on as tasks of their own.
async fn begin<P: Processor>(
    shared: Arc<Shared<P>>,
    events: Sender<Event>,
    chunk: Vec<(Lane, Job)>,
) {
    let mut done = Vec::with_capacity(chunk.len());
    for (lane, job) in chunk {
        let (epoch, offset, owned) = (job.epoch, job.record.offset(), job.owned.clone());
        let completion = move |finished| Completion { lane, epoch, offset, finished };
        if owned.winding_down.is_cancelled() {
            done.push(completion(None));
            continue;
        }
        let (shared, notes) = (shared.clone(), events.clone());
        let mut call = Box::pin(async move { shared.run(job, &notes).await });
        if let Poll::Ready(finished) = poll!(&mut call) {
            done.push(completion(finished));
            continue;
        }
        let events = events.clone();
        tokio::spawn(async move {
            let finished = tokio::select! {
                biased;
                finished = call => finished,
                () = owned.gone.cancelled() => None,
            };
            // The loop may have ended; then nobody wants to know.
            let _ = events.send(Event::Finished(vec![completion(finished)]));
        });
    }
    if !done.is_empty() {
        let _ = events.send(Event::Finished(done));
    }
}
