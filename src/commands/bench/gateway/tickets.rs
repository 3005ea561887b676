//! Who sends which order, and when: in a closed loop, or at a pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::super::latency::{self, Pace};
use super::super::meter::{self, Measured, Process};

/// What a case at a pace may take longer than its orders.
const SLACK: Duration = Duration::from_secs(30);

/// Numbers of orders, each given out once: in a closed loop to whoever asks, at a pace when the
/// order is due.
///
/// At a pace an order that finds everybody at work waits, and its time counts from when it was
/// due. So a sender that is held up hides nothing (coordinated omission).
pub struct Tickets {
    began: Instant,
    pace: Option<Pace>,
    /// A permit for each order that is due and was not taken yet.
    due: Semaphore,
    next: AtomicU64,
    done: AtomicU64,
    over: CancellationToken,
}

/// Leave to send orders.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// Number of the first one.
    pub number: u64,
    due: Instant,
}

impl Tickets {
    /// From now on, until `stop` or [`Tickets::end`].
    pub fn new(pace: Option<Pace>, stop: &CancellationToken) -> Arc<Self> {
        let lead = pace.map_or(Duration::ZERO, |_| latency::LEAD);
        let tickets = Arc::new(Self {
            began: Instant::now() + lead,
            pace,
            due: Semaphore::new(0),
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
            over: stop.child_token(),
        });
        if let Some(pace) = pace {
            let tickets = tickets.clone();
            // A thread, because it sleeps more exactly than tokio's timer. Interrupted, nobody
            // waits for what is left.
            std::thread::spawn(move || {
                pace.keep(tickets.began, &tickets.over, |_| {
                    tickets.due.add_permits(1);
                    Ok(())
                })
            });
        }
        tickets
    }

    /// Leave to send the next `orders`, one at a pace; `None` when it is over.
    pub async fn take(&self, orders: u64) -> Option<Ticket> {
        match self.pace {
            None if self.over.is_cancelled() => None,
            None => Some(Ticket { number: self.next(orders), due: Instant::now() }),
            Some(pace) => {
                let permit = self.over.run_until_cancelled(self.due.acquire()).await?;
                permit.ok()?.forget();
                let number = self.next(1);
                Some(Ticket { number, due: self.began + pace.due(number) })
            }
        }
    }

    fn next(&self, orders: u64) -> u64 {
        self.next.fetch_add(orders, Ordering::Relaxed)
    }

    /// The `orders` of a ticket are stored; how long that took, unless it was during the warm-up.
    pub fn stored(&self, ticket: Ticket, orders: u64) -> Option<Duration> {
        self.done.fetch_add(orders, Ordering::Relaxed);
        let warm = if self.pace.is_some() { latency::WARM } else { meter::WARM };
        (ticket.due >= self.began + warm).then(|| ticket.due.elapsed())
    }

    /// Orders that are stored.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// No more are given out.
    pub fn end(&self) {
        self.over.cancel();
    }

    /// What the work costs `process`: for `seconds`, or until all orders of the pace are stored.
    pub async fn follow(&self, process: &Process, seconds: u64) -> Result<Measured> {
        let limit = Duration::from_secs(seconds);
        let (goal, limit) = match self.pace {
            None => (u64::MAX, limit),
            Some(pace) => (pace.orders, limit + SLACK),
        };
        let measured = meter::follow(process, || self.done(), goal, limit, &self.over).await?;
        if let Some(pace) = self.pace.filter(|pace| self.done() < pace.orders) {
            bail!(
                "it does not keep the pace: {} of {} orders are stored",
                self.done(),
                pace.orders
            );
        }
        Ok(measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_loop_gives_out_every_number_once_until_it_is_over() {
        let tickets = Tickets::new(None, &CancellationToken::new());
        assert_eq!(tickets.take(100).await.unwrap().number, 0);
        let ticket = tickets.take(1).await.unwrap();
        assert_eq!(ticket.number, 100);
        assert_eq!(tickets.stored(ticket, 1), None, "it is not warm yet");
        assert_eq!(tickets.done(), 1);
        tickets.end();
        assert!(tickets.take(1).await.is_none());
    }

    #[tokio::test]
    async fn at_a_pace_the_time_counts_from_when_the_order_was_due() {
        let pace = Pace::new(100_000.0, 1);
        let tickets = Tickets::new(Some(pace), &CancellationToken::new());
        let (mut last, mut early) = (Duration::ZERO, 0);
        for number in 0..pace.orders {
            let ticket = tickets.take(1).await.unwrap();
            assert_eq!(ticket.number, number);
            assert!(ticket.due <= Instant::now(), "it was given out early");
            match tickets.stored(ticket, 1) {
                Some(took) => last = took,
                None => early += 1,
            }
        }
        assert_eq!(tickets.done(), pace.orders);
        assert!(early > 0 && last > Duration::ZERO);
        tickets.end();
        assert!(tickets.take(1).await.is_none());
    }
}
