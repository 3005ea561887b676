//! Progress of long work: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a plain line is printed at the most.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// Several counts towards one goal.
pub struct Goals {
    bars: Vec<(String, ProgressBar)>,
    plain: Option<Mutex<Instant>>,
}

impl Goals {
    /// One bar a label, each to `goal`.
    pub fn new(labels: &[&str], goal: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:>10} {bar:40} {pos:>7}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bars = labels
            .iter()
            .map(|label| {
                let bar =
                    if terminal { all.add(ProgressBar::new(goal)) } else { ProgressBar::hidden() };
                bar.set_length(goal);
                bar.set_style(style.clone());
                bar.set_prefix((*label).to_owned());
                ((*label).to_owned(), bar)
            })
            .collect();
        Self { bars, plain: (!terminal).then(|| Mutex::new(Instant::now())) }
    }

    /// Sets the counts, in the order of the labels.
    pub fn set(&self, counts: &[u64]) {
        for ((_, bar), count) in self.bars.iter().zip(counts) {
            bar.set_position(*count);
        }
        if let Some(last) = &self.plain {
            let mut last = last.lock().unwrap_or_else(|e| e.into_inner());
            if last.elapsed() >= PLAIN_EVERY {
                *last = Instant::now();
                self.print();
            }
        }
    }

    /// Leaves the last state standing.
    pub fn finish(&self) {
        if self.plain.is_some() {
            self.print();
        }
        for (_, bar) in &self.bars {
            bar.abandon();
        }
    }

    fn print(&self) {
        let goal = self.bars.first().and_then(|(_, bar)| bar.length()).unwrap_or_default();
        let counts = self.bars.iter().map(|(label, bar)| format!("{label} {}", bar.position()));
        note!("{} of {goal}", counts.collect::<Vec<_>>().join(", "));
    }
}

/// A count without a goal.
pub struct Counter {
    bar: ProgressBar,
}

impl Counter {
    /// Counts `what`; shown on terminals only.
    pub fn new(what: &'static str) -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(
            ProgressStyle::with_template("{spinner} {pos} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.set_message(what);
        Self { bar }
    }

    /// Counts on.
    pub fn add(&self, count: u64) {
        self.bar.inc(count);
    }

    /// Clears the line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
