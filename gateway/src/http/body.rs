//! Reading a body, bounded in size and time, and in what all clients have in the gateway together.

use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, poll};
use http::StatusCode;
use tokio::time::timeout;

use super::answer::Refusal;
use crate::budget::{Exhausted, Hold};

/// How much of a body that is too large is read and thrown away, in multiples of the limit: a
/// client that is still sending would never see the answer.
const PATIENCE: u64 = 8;
/// Least that is held for a body in part.
const MIN_HELD: usize = 4 << 10;
/// Longest body that is not counted once it is whole: nearly all are shorter, and soon done with.
const MAX_UNCOUNTED: usize = 16 << 10;

/// What a body may have.
pub(super) struct Bounds {
    /// Bytes, of this client and of any.
    pub max: u64,
    pub max_of_any: u64,
    pub wait: Duration,
}

/// A body, and what it holds of the bytes of requests in the gateway as long as it is worked on.
#[derive(Debug)]
pub(super) struct Whole {
    pub bytes: Bytes,
    pub _held: Option<Hold>,
}

/// The body, where it comes in time and is not too large. `hold` begins to hold bytes for its
/// client.
pub(super) async fn read<S, B, E>(
    body: S,
    bounds: Bounds,
    hold: impl FnOnce(usize) -> Result<Hold, Exhausted>,
) -> Result<Whole, Refusal>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let wait = bounds.wait;
    match timeout(wait, collect(body, bounds, hold)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body of the request did not come in time",
        )),
    }
}

async fn collect<S, B, E>(
    body: S,
    bounds: Bounds,
    hold: impl FnOnce(usize) -> Result<Hold, Exhausted>,
) -> Result<Whole, Refusal>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let Bounds { max, max_of_any, .. } = bounds;
    let mut body = std::pin::pin!(body);
    let mut account = Account { hold: Some(hold), held: None };
    // Nearly all come in one part, which is not copied.
    let (mut first, mut rest, mut size) = (Bytes::new(), BytesMut::new(), 0u64);
    loop {
        let part = match poll!(body.next()) {
            Poll::Ready(part) => part,
            Poll::Pending => {
                account.cover(first.len().max(rest.capacity()))?;
                body.next().await
            }
        };
        let Some(part) = part else { break };
        let Ok(mut part) = part else {
            let message = "the body of the request broke off";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        };
        let length = part.remaining();
        size += length as u64;
        if size > max_of_any.saturating_mul(PATIENCE) {
            break;
        }
        if size > max {
            (first, rest) = (Bytes::new(), BytesMut::new());
        } else if size == length as u64 {
            first = part.copy_to_bytes(length);
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            if rest.capacity() - rest.len() < length {
                account.cover(rest.capacity() * 2)?;
            }
            rest.put(part);
        }
    }
    if size > max {
        let message = match max < max_of_any {
            true => "the body of the request is too large for one without a key",
            false => "the body of the request is too large",
        };
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    if bytes.len() > MAX_UNCOUNTED {
        account.cover(bytes.len())?;
    } else {
        account.held = None;
    }
    Ok(Whole { bytes, _held: account.held })
}

/// What a body holds, once it holds something.
struct Account<F> {
    hold: Option<F>,
    held: Option<Hold>,
}

impl<F: FnOnce(usize) -> Result<Hold, Exhausted>> Account<F> {
    fn cover(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes == 0 {
            return Ok(());
        }
        let bytes = bytes.max(MIN_HELD);
        let outcome = match (&mut self.held, self.hold.take()) {
            (Some(held), _) => held.grow_to(bytes),
            (None, Some(hold)) => hold(bytes).map(|held| self.held = Some(held)),
            (None, None) => Ok(()),
        };
        outcome.map_err(|exhausted| {
            let own = "this client has too much of requests in the gateway at one time";
            exhausted.failure(own, "the gateway has too much of requests at one time").into()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use futures_util::stream;

    use super::*;
    use crate::budget::{self, Budget, Client};

    async fn status(parts: usize, size: usize) -> Result<usize, StatusCode> {
        let part = move |_| Ok::<_, ()>(Bytes::from(vec![b'x'; size]));
        let read = collect(stream::iter((0..parts).map(part)), bounds(), hold(&budget())).await;
        read.map(|body| body.bytes.len()).map_err(|refusal| refusal.status)
    }

    fn bounds() -> Bounds {
        Bounds { max: 1000, max_of_any: 1000, wait: Duration::from_millis(1) }
    }

    fn budget() -> Arc<Budget> {
        let bounds = budget::Bounds { each: 2 * MIN_HELD, all: 3 * MIN_HELD };
        Budget::new("test", bounds, bounds)
    }

    fn hold(budget: &Arc<Budget>) -> impl FnOnce(usize) -> Result<Hold, Exhausted> + use<> {
        let budget = budget.clone();
        let client = Client::of(IpAddr::from([192, 0, 2, 1]), &None);
        move |bytes| budget.hold(client, bytes)
    }

    #[tokio::test]
    async fn what_comes_in_part_is_held_until_it_is_whole_and_done_with() {
        let budget = budget();
        let part = || stream::iter([Ok::<_, ()>(Bytes::from_static(b"{"))]);
        let begin = || {
            let body = part().chain(stream::pending());
            Box::pin(collect(body, bounds(), hold(&budget)))
        };
        let mut begun = [begin(), begin()];
        for body in &mut begun {
            assert!(futures_util::poll!(body).is_pending());
        }
        let refused = begin().await.unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let whole = collect(part(), bounds(), hold(&budget)).await.unwrap();
        assert!(whole._held.is_none(), "one that is whole at once is not counted");
        drop(begun);
        let large = MAX_UNCOUNTED + 1;
        let many = budget::Bounds { each: 0, all: 2 * large };
        let budget = Budget::new("test", many, many);
        let bounds = Bounds { max: large as u64, max_of_any: large as u64, ..bounds() };
        let body = stream::iter([Ok::<_, ()>(Bytes::from(vec![b' '; large]))]);
        let whole = collect(body, bounds, hold(&budget)).await.unwrap();
        let rest = || hold(&budget)(large + 1);
        assert!(rest().is_err());
        drop(whole);
        assert!(rest().is_ok());
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(status(0, 0).await, Ok(0));
        assert_eq!(status(10, 100).await, Ok(1000));
        assert_eq!(status(1, 1001).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(status(1_000_000, 1000).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = stream::pending::<Result<Bytes, ()>>();
        let refusal = read(never, bounds(), hold(&budget())).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_TIMEOUT);
    }
}
