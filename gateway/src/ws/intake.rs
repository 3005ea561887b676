//! What comes in on one WebSocket, bounded while it is not a whole message.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use super::frames::Frames;
use super::protocol::Close;
use crate::budget::{Client, Exhausted, Hold};

/// Least that is held for a message in part.
const MIN_HELD: usize = 4 << 10;
/// The library has a message in up to two buffers: what came of it, and the frame that comes.
const COPIES: usize = 2;

/// What is taken of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of a message.
    pub max_message: usize,
    /// How long one may take from its first byte to its last.
    pub message_timeout: Duration,
    /// Pings a second in the long run, and ten times as many at once; 0 for no limit.
    pub ping_rate: u32,
}

/// A connection whose reads are counted.
pub(super) struct Intake<S> {
    inner: S,
    bounds: Bounds,
    frames: Frames,
    /// Of the bytes of requests in the gateway: those of the message that is not whole.
    held: Hold,
    pings: Allowance,
    /// Ends the time of the message that has begun, with when that was.
    late: Option<(Instant, Pin<Box<Sleep>>)>,
    fault: Option<Fault>,
}

/// Why nothing more is read.
#[derive(Debug, Clone, Copy)]
enum Fault {
    TooLarge,
    Exhausted,
    TooManyPings,
    Late,
}

impl<S> Intake<S> {
    pub fn new(inner: S, held: Hold, bounds: Bounds) -> Self {
        let pings = Allowance::new(bounds.ping_rate, Instant::now());
        Self { inner, bounds, frames: Frames::default(), held, pings, late: None, fault: None }
    }

    /// Takes messages of up to `max_message` from now on, and counts them for `client`.
    pub fn belongs_to(&mut self, client: Client, max_message: usize) -> Result<(), Exhausted> {
        self.bounds.max_message = max_message;
        self.held.move_to(client)
    }

    /// Takes one ping, or another message that asks for nothing.
    pub fn take_ping(&mut self) -> Result<(), Close> {
        if self.pings.take(1, Instant::now()) { Ok(()) } else { Err(Close::too_many_pings()) }
    }

    /// What to close with after an error: ours, where it was we who refused to read on.
    pub fn close(&self) -> Close {
        match self.fault {
            None | Some(Fault::TooLarge) => Close::unreadable(),
            Some(Fault::Exhausted) => Close::try_again_later(),
            Some(Fault::TooManyPings) => Close::too_many_pings(),
            Some(Fault::Late) => Close::late(),
        }
    }

    /// Whether it was we who refused to read on. What comes is to be read away, so that the client
    /// sees why: a connection that is closed with bytes unread is reset.
    pub fn has_refused(&self) -> bool {
        self.fault.is_some()
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.frames.take(bytes);
        let control_frames = self.frames.take_control_frames();
        if control_frames > 0 && !self.pings.take(control_frames, Instant::now()) {
            return Err(Fault::TooManyPings);
        }
        if self.frames.claimed() > self.bounds.max_message {
            return Err(Fault::TooLarge);
        }
        match self.frames.unfinished() {
            0 => self.held.clear(),
            size => {
                let copies = size.saturating_mul(COPIES).next_power_of_two().max(MIN_HELD);
                self.held.grow_to(copies).map_err(|_| Fault::Exhausted)?;
            }
        }
        Ok(())
    }

    /// Comes back when the message that has begun is not whole in time.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.frames.since() else {
            self.late = None;
            return Poll::Pending;
        };
        if self.late.as_ref().is_none_or(|(of, _)| *of != since) {
            let sleep = sleep_until((since + self.bounds.message_timeout).into());
            self.late = Some((since, Box::pin(sleep)));
        }
        self.late.as_mut().map_or(Poll::Pending, |(_, sleep)| sleep.as_mut().poll(context))
    }

    fn fail(&mut self, fault: Fault) -> io::Error {
        self.fault = Some(fault);
        self.held.clear();
        io::Error::other("the client sends what is not taken")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Intake<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.has_refused() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        if Pin::new(&mut self.inner).poll_read(context, buffer)?.is_pending() {
            ready!(self.poll_late(context));
            return Poll::Ready(Err(self.fail(Fault::Late)));
        }
        match self.count(&buffer.filled()[before..]) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(fault) => Poll::Ready(Err(self.fail(fault))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Intake<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// So many a second, and ten times as many at once.
#[derive(Debug)]
struct Allowance {
    rate: u32,
    left: f64,
    at: Instant,
}

impl Allowance {
    /// Seconds for which unused allowance is kept.
    const BURST_SECONDS: f64 = 10.0;

    fn new(rate: u32, now: Instant) -> Self {
        Self { rate, left: f64::from(rate) * Self::BURST_SECONDS, at: now }
    }

    fn take(&mut self, count: u32, now: Instant) -> bool {
        if self.rate == 0 {
            return true;
        }
        let rate = f64::from(self.rate);
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.left = (self.left + gained).min(rate * Self::BURST_SECONDS) - f64::from(count);
        self.at = now;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_have_a_burst_and_a_rate() {
        let began = Instant::now();
        let mut pings = Allowance::new(2, began);
        assert!(pings.take(20, began) && !pings.take(1, began));
        assert!(pings.take(2, began + Duration::from_secs(2)));
        let mut unlimited = Allowance::new(0, began);
        assert!(unlimited.take(u32::MAX, began));
    }
}
