//! Orders at a steady pace, and how long each takes to its committed result.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comanda_schemas::KafkaOptions;
use comanda_schemas::scan::{From, Scan, Step};
use rdkafka::Message as _;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::load::{Load, Orders};

/// Orders are due on such a grid, so that one who sleeps can keep the pace.
const TICK: Duration = Duration::from_millis(1);
/// What is due earlier than this does not count.
pub const WARM: Duration = Duration::from_secs(2);
/// From now to the first order.
pub const LEAD: Duration = Duration::from_millis(100);
/// How long to wait for one more result.
const PATIENCE: Duration = Duration::from_secs(30);

/// A steady pace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    rate: f64,
    /// How many orders there are in all.
    pub orders: u64,
}

/// How long results took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took less.
    pub median: f64,
    /// All but one in a hundred took less.
    pub p99: f64,
    /// All but one in a thousand took less.
    pub p999: f64,
}

impl Latency {
    /// Of all that was measured.
    pub fn of(mut all: Vec<Duration>) -> Result<Self> {
        if all.is_empty() {
            bail!("too short to measure: take more --seconds");
        }
        all.sort_unstable();
        let at = |share| percentile(&all, share);
        Ok(Self { median: at(0.50), p99: at(0.99), p999: at(0.999) })
    }
}

impl Pace {
    /// `rate` orders a second, `seconds` long after the warm-up.
    pub fn new(rate: f64, seconds: u64) -> Self {
        let orders = rate * (WARM.as_secs_f64() + seconds as f64);
        Self { rate, orders: orders.max(1.0) as u64 }
    }

    /// When order `n` is due, counted from the beginning.
    pub fn due(&self, n: u64) -> Duration {
        let ticks = (n as f64 / (self.rate * TICK.as_secs_f64())).ceil();
        TICK.mul_f64(ticks)
    }

    /// Gives each order to `send` when it is due; late ones at once, and their lateness counts.
    /// Blocks.
    pub fn keep(
        &self,
        began: Instant,
        stop: &CancellationToken,
        mut send: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        for n in 0..self.orders {
            let wait = (began + self.due(n)).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
                if stop.is_cancelled() {
                    bail!("interrupted");
                }
            }
            send(n)?;
        }
        Ok(())
    }

    /// Reads the results until there is one of each order; the latencies.
    fn read(
        &self,
        scan: &mut Scan,
        orders: &Orders,
        began: Instant,
        stop: &CancellationToken,
    ) -> Result<Vec<Duration>> {
        let mut seen = vec![false; usize::try_from(self.orders)?];
        let (mut all, mut count, mut last) = (Vec::new(), 0, Instant::now());
        while count < self.orders {
            if stop.is_cancelled() {
                bail!("interrupted");
            }
            let record = match scan.next(TICK * 100)? {
                Step::Record(record) => record,
                Step::Idle | Step::End if last.elapsed() > PATIENCE => {
                    bail!("{count} of {} orders have a result", self.orders);
                }
                Step::Idle | Step::End => continue,
            };
            last = Instant::now();
            let number = record.key().and_then(|key| orders.number(key));
            let number = number.context("a result of somebody else")?;
            let is_new = seen.get_mut(usize::try_from(number)?).is_some_and(|seen| {
                let is_new = !*seen;
                *seen = true;
                is_new
            });
            if !is_new {
                bail!("order {number} has two results");
            }
            count += 1;
            let due = self.due(number);
            if due >= WARM {
                all.push(last.saturating_duration_since(began + due));
            }
        }
        Ok(all)
    }
}

/// Sends orders at `pace` and waits for their results in the topic `results`.
pub async fn measure(
    pace: Pace,
    load: Load,
    orders: Orders,
    kafka: KafkaOptions,
    results: String,
    stop: CancellationToken,
) -> Result<Latency> {
    let open = move || Scan::open(&kafka, &results, From::Beginning);
    let mut scan = tokio::task::spawn_blocking(open).await??;
    let began = Instant::now() + LEAD;
    let (for_sender, for_reader) = (stop.clone(), stop);
    let sending = tokio::task::spawn_blocking(move || {
        pace.keep(began, &for_sender, |n| load.send(n))?;
        load.finish()
    });
    let reading =
        tokio::task::spawn_blocking(move || pace.read(&mut scan, &orders, began, &for_reader));
    let (sent, read) = tokio::join!(sending, reading);
    sent??;
    Latency::of(read??)
}

/// The value, in milliseconds, below which `share` of the sorted values lie (nearest rank).
fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default();
    value.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_due_on_the_grid_and_never_early() {
        let pace = Pace::new(2_500.0, 1);
        assert_eq!(pace.orders, 7_500);
        assert_eq!(pace.due(0), Duration::ZERO);
        assert_eq!(pace.due(1), TICK);
        assert_eq!(pace.due(2), TICK);
        assert_eq!(pace.due(3), TICK * 2);
        assert_eq!(pace.due(2_500), Duration::from_secs(1));
        let slow = Pace::new(10.0, 1);
        assert_eq!(slow.due(1), Duration::from_millis(100));
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.50), 100.0);
        assert_eq!(percentile(&sorted, 0.99), 198.0);
        assert_eq!(percentile(&sorted, 0.999), 200.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
