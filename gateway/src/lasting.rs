//! Work that goes on when nobody waits for it any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tracing::error;

/// Runs `F` where it is awaited, and as a task of its own once that is dropped before the end: as
/// sure to be finished as a task is, and without the price of one where somebody stays, which is
/// nearly always. `None` where it panicked.
pub(crate) struct Lasting<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Lasting<F> {
    pub fn new(work: F) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Lasting<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => {
                self.0 = None;
                Poll::Ready(Some(outcome))
            }
            Err(_) => {
                error!("work panicked that others may wait for");
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Lasting<F> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_dropped_goes_on_to_its_end() {
        let ((go, gone), (done, end)) = (oneshot::channel::<()>(), oneshot::channel());
        let mut work = Lasting::new(async move {
            gone.await.unwrap();
            done.send(7).unwrap();
        });
        assert!(poll!(&mut work).is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(end.await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_awaited_ends_once() {
        let (alive, mut ended) = oneshot::channel::<()>();
        let mut work = Lasting::new(async move { drop(alive) });
        assert_eq!(poll!(&mut work), Poll::Ready(Some(())));
        assert!(ended.try_recv().is_err());
        drop(work);
    }

    #[tokio::test]
    async fn a_panic_ends_it_alone() {
        let work = Lasting::new(async { panic!("on purpose") });
        assert_eq!(work.await, None::<()>);
    }
}
