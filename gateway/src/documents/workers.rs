//! Threads for what takes long: large documents and large variables are read and validated away
//! from the threads that serve everybody else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::error;

use crate::failure::{Code, Failure};

/// Stack of a thread, in bytes. Nothing recurses deeper than the limits of documents.
const STACK: usize = 8 << 20;
/// Pieces of work that wait, beside those that are being done.
const QUEUE: usize = 64;
/// How long a request waits for its piece of work.
const DEADLINE: Duration = Duration::from_secs(2);

type Work = Box<dyn FnOnce() + Send>;

/// Half as many threads as there are cores. They end with it.
pub(crate) struct Workers {
    queue: SyncSender<Work>,
}

impl Workers {
    pub fn start() -> Self {
        let (queue, work) = sync_channel(QUEUE);
        let work = Arc::new(Mutex::new(work));
        let threads = thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
        for n in 0..threads {
            let work = work.clone();
            let thread = thread::Builder::new().name(format!("documents-{n}")).stack_size(STACK);
            if let Err(error) = thread.spawn(move || serve(&work)) {
                error!(%error, "gateway: a thread for large documents could not be started");
            }
        }
        Self { queue }
    }

    /// What comes of `work`, where a thread has time for it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (sender, outcome) = oneshot::channel();
        let work = move || {
            // The request may be gone, or not wait any longer.
            if !sender.is_closed() {
                let _ = sender.send(work());
            }
        };
        let busy = || {
            let message = "too many large documents at one time; nothing was done, try again";
            Failure::new(Code::Overloaded, message)
        };
        self.queue.try_send(Box::new(work)).map_err(|refused| match refused {
            TrySendError::Full(_) => busy(),
            TrySendError::Disconnected(_) => Failure::internal(),
        })?;
        match timeout(DEADLINE, outcome).await {
            Ok(outcome) => outcome.map_err(|_| Failure::internal()),
            Err(_) => Err(busy()),
        }
    }
}

fn serve(work: &Mutex<Receiver<Work>>) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(next) = next else { return };
        if catch_unwind(AssertUnwindSafe(next)).is_err() {
            error!("gateway: preparing a request panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_panics_leaves_the_threads_to_others() {
        let workers = Workers::start();
        for _ in 0..100 {
            let lost = workers.run(|| panic!("on purpose")).await;
            assert_eq!(lost.map_err(|failure| failure.code), Err::<(), _>(Code::Internal));
        }
        assert_eq!(workers.run(|| 7).await, Ok(7));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_work_than_can_wait_is_refused_at_once() {
        let workers = Arc::new(Workers::start());
        let threads = thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        // Each takes a thread, or a place in the queue, until the gate is gone.
        let held: Vec<_> = (0..threads + QUEUE)
            .map(|_| {
                let (workers, gate) = (workers.clone(), gate.clone());
                tokio::spawn(async move {
                    workers
                        .run(move || {
                            gate.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok()
                        })
                        .await
                })
            })
            .collect();
        let refused = loop {
            match workers.run(|| ()).await {
                Err(failure) => break failure,
                Ok(()) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(refused.code, Code::Overloaded);
        drop(release);
        for held in held {
            let _ = held.await.unwrap();
        }
        assert_eq!(workers.run(|| 7).await, Ok(7));
    }
}
