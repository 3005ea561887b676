//! Reading a body, bounded in size and time.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use tokio::time::timeout;

use super::answer::Refusal;

/// How much of a body that is too large is read and thrown away, in multiples of the limit: a
/// client that is still sending would never see the answer.
const PATIENCE: u64 = 8;

/// The body, where it comes within `wait` and has at most `max` bytes.
pub(super) async fn read<S, B, E>(body: S, max: u64, wait: Duration) -> Result<Bytes, Refusal>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    match timeout(wait, collect(body, max)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body of the request did not come in time",
        )),
    }
}

async fn collect<S, B, E>(body: S, max: u64) -> Result<Bytes, Refusal>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let mut body = std::pin::pin!(body);
    // Nearly all come in one part, which is not copied.
    let (mut first, mut rest, mut size) = (Bytes::new(), BytesMut::new(), 0u64);
    while let Some(part) = body.next().await {
        let Ok(mut part) = part else {
            let message = "the body of the request broke off";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        };
        let length = part.remaining();
        size += length as u64;
        if size > max.saturating_mul(PATIENCE) {
            break;
        }
        if size > max {
            (first, rest) = (Bytes::new(), BytesMut::new());
        } else if size == length as u64 {
            first = part.copy_to_bytes(length);
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.put(part);
        }
    }
    if size > max {
        let message = "the body of the request is too large";
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn status(parts: usize, size: usize) -> Result<usize, StatusCode> {
        let part = move |_| Ok::<_, ()>(Bytes::from(vec![b'x'; size]));
        let read = collect(stream::iter((0..parts).map(part)), 1000).await;
        read.map(|body| body.len()).map_err(|refusal| refusal.status)
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
        let refusal = read(never, 1000, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_TIMEOUT);
    }
}
