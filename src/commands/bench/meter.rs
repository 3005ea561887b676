//! What a case costs its process: time, CPU, memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// How often the count is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Work is warm after this long, or after a tenth of the goal.
pub const WARM: Duration = Duration::from_secs(1);
/// A count that stands still this long will not move any more.
const STALLED: Duration = Duration::from_secs(60);
/// Clock ticks a second in `/proc`: USER_HZ, which is 100 on every architecture that runs this.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a stretch of steady work took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Orders that were done in it.
    pub orders: u64,
    /// How long it was.
    pub seconds: f64,
    /// User and system time of all threads in it.
    pub cpu_seconds: f64,
    /// The most memory the process ever held, in bytes.
    pub peak_rss_bytes: u64,
}

impl Measured {
    /// Orders a second.
    pub fn rate(&self) -> f64 {
        self.orders as f64 / self.seconds
    }

    /// CPU time of one order, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.orders as f64
    }
}

/// A process of this machine.
#[derive(Debug, Clone)]
pub struct Process {
    folder: PathBuf,
}

impl Process {
    /// This one.
    pub fn this() -> Self {
        Self { folder: "/proc/self".into() }
    }

    /// The one with this id.
    pub fn of(id: u32) -> Self {
        Self { folder: format!("/proc/{id}").into() }
    }

    /// The memory it holds now, in bytes.
    pub fn rss_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    fn peak_rss_bytes(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = self.read("status").context("memory needs Linux")?;
        bytes_in(&status, field).context("/proc/…/status has another form")
    }

    /// User and system time of all its threads so far.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat").context("CPU time needs Linux")?;
        cpu_in(&stat).context("/proc/…/stat has another form")
    }

    fn read(&self, file: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.folder.join(file))
    }
}

/// Follows `done`, which `process` does, from where the work is warm to just before `goal`, or for
/// `limit`.
pub async fn follow(
    process: &Process,
    done: impl Fn() -> u64,
    goal: u64,
    limit: Duration,
    stop: &CancellationToken,
) -> Result<Measured> {
    let mut stretch = Stretch::new(goal, limit);
    let mut moved = (0, Instant::now());
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = stop.cancelled() => bail!("interrupted"),
        }
        let cpu_seconds = process.cpu_seconds()?;
        let sample = Sample { at: Instant::now(), done: done(), cpu_seconds };
        if sample.done > moved.0 {
            moved = (sample.done, sample.at);
        } else if moved.1.elapsed() > STALLED {
            bail!("nothing moved for {STALLED:?}, {} of {goal} orders are done", sample.done);
        }
        if let Some((first, last)) = stretch.look(sample) {
            if last.done <= first.done {
                bail!("too short to measure: take more --orders");
            }
            return Ok(Measured {
                orders: last.done - first.done,
                seconds: (last.at - first.at).as_secs_f64(),
                cpu_seconds: last.cpu_seconds - first.cpu_seconds,
                peak_rss_bytes: process.peak_rss_bytes()?,
            });
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    at: Instant,
    done: u64,
    cpu_seconds: f64,
}

/// Finds the stretch of steady work in a series of samples.
struct Stretch {
    goal: u64,
    limit: Duration,
    /// The first sample with something done.
    began: Option<Instant>,
    first: Option<Sample>,
    last: Option<Sample>,
}

impl Stretch {
    fn new(goal: u64, limit: Duration) -> Self {
        Self { goal, limit, began: None, first: None, last: None }
    }

    /// Where the stretch begins and ends, as soon as it has ended.
    fn look(&mut self, sample: Sample) -> Option<(Sample, Sample)> {
        if sample.done == 0 {
            return None;
        }
        let began = *self.began.get_or_insert(sample.at);
        let Some(first) = self.first else {
            if sample.done >= self.goal / 10 || sample.at - began >= WARM {
                self.first = Some(sample);
            }
            return None;
        };
        // The goal was reached some time before this sample; the sample before it is exact.
        if sample.done >= self.goal {
            return Some((first, self.last.unwrap_or(sample)));
        }
        self.last = Some(sample);
        (sample.at - first.at >= self.limit).then_some((first, sample))
    }
}

/// User and system time in `/proc/…/stat`: fields 14 and 15, counted after the command's name,
/// which may hold spaces and parentheses.
fn cpu_in(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// The value of `field` in `/proc/…/status`.
fn bytes_in(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_any_command_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_in(stat), Some(2.0));
        assert_eq!(cpu_in("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(bytes_in(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(bytes_in(status, "VmRSS:"), Some(1 << 10));
        assert_eq!(bytes_in("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn rate_and_cost_are_per_order() {
        let measured =
            Measured { orders: 1_000, seconds: 0.5, cpu_seconds: 0.02, peak_rss_bytes: 1 };
        assert_eq!(measured.rate(), 2_000.0);
        assert_eq!(measured.cpu_us(), 20.0);
    }

    /// Looks once a tick of `step`; how much is done, and when, from first to last.
    fn stretch(goal: u64, limit: Duration, step: Duration, done: &[u64]) -> (u64, u64, Duration) {
        let (start, mut stretch) = (Instant::now(), Stretch::new(goal, limit));
        let found = done.iter().zip(0u32..).find_map(|(done, n)| {
            stretch.look(Sample { at: start + step * n, done: *done, cpu_seconds: 0.0 })
        });
        let (first, last) = found.unwrap();
        (first.done, last.done, last.at - first.at)
    }

    #[test]
    fn warm_up_and_the_idle_end_are_left_out() {
        let step = Duration::from_millis(20);
        let done = [0, 0, 40, 90, 100, 300, 500, 700, 900, 1_000];
        let found = stretch(1_000, Duration::from_secs(60), step, &done);
        assert_eq!(found, (100, 900, step * 4));
    }

    #[test]
    fn slow_work_is_warm_after_a_second_and_ends_at_the_limit() {
        let step = Duration::from_millis(500);
        let done = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        let found = stretch(1_000, Duration::from_secs(2), step, &done);
        assert_eq!(found, (3, 7, step * 4));
    }

    #[test]
    fn work_that_is_done_at_once_still_has_an_end() {
        let found = stretch(10, Duration::from_secs(2), WARM, &[0, 5, 10]);
        assert_eq!(found, (5, 10, WARM));
    }
}
