//! What the engine's figures come to: ratios, and a table for people.

use std::collections::BTreeMap;

use serde::Serialize;

use super::figures::{ByCase, Figures, known};
use super::latency::Latency;

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What comanda comes to, compared; only what was measured.
    pub ratios: ByCase,
    /// CPU time of an order in each case, in microseconds.
    pub cpu_us_per_order: ByCase,
    /// Orders a second in each case.
    pub orders_per_second: ByCase,
    /// The most memory that each case held, in bytes.
    pub peak_rss_bytes: ByCase,
    /// Time from order to committed result at the same pace, in milliseconds.
    pub latency_ms: BTreeMap<&'static str, Latency>,
}

impl Report {
    /// Of `figures`; `window` is how many orders the engine has in flight at the most.
    pub fn of(figures: &Figures, window: usize) -> Self {
        Self {
            ratios: ratios(figures, window),
            cpu_us_per_order: figures.cpu_us_per_order(),
            orders_per_second: figures.orders_per_second(),
            peak_rss_bytes: figures.peak_rss_bytes(),
            latency_ms: figures.latency_ms(),
        }
    }

    /// For people; the lines are in the order of `figures`.
    pub fn table(&self, figures: &Figures) -> String {
        let mut text =
            format!("\n{:<16}{:>12}{:>16}{:>12}\n", "case", "orders/s", "CPU s/100,000", "peak MB");
        for name in figures.cases() {
            let rate = self.orders_per_second.get(name).copied().unwrap_or_default();
            let cpu = self.cpu_us_per_order.get(name).copied().unwrap_or_default();
            let rss = self.peak_rss_bytes.get(name).copied().unwrap_or_default();
            let (cpu, rss) = (cpu / 10.0, rss / (1 << 20) as f64);
            text += &format!("{name:<16}{rate:>12.0}{cpu:>16.2}{rss:>12.0}\n");
        }
        text += &format!("\n{:<16}{:>12}{:>16}\n", "latency, ms", "median", "99th percentile");
        for (name, Latency { median, p99, .. }) in &self.latency_ms {
            text += &format!("{name:<16}{median:>12.2}{p99:>16.2}\n");
        }
        text.push('\n');
        for (name, ratio) in &self.ratios {
            text += &format!("{name:<28}{ratio:>8.2}\n");
        }
        text
    }
}

fn ratios(figures: &Figures, window: usize) -> ByCase {
    let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let rates = |a, b| over(figures.rate(a), figures.rate(b));
    let cpu = |a, b| over(figures.cpu_us(a), figures.cpu_us(b));
    let latency = |name| figures.latency(name).map(|l| l.median);
    known([
        ("engine_vs_raw", rates("engine", "raw")),
        ("engine_cpu_vs_raw", cpu("engine", "raw")),
        ("engine_vs_raw_no_headers", rates("engine", "raw_no_headers")),
        ("engine_cpu_vs_raw_no_headers", cpu("engine", "raw_no_headers")),
        ("http20_vs_limit", of_limit(figures, window, 20)),
        ("http100_vs_limit", of_limit(figures, window, 100)),
        ("latency_vs_raw", over(latency("engine"), latency("raw"))),
    ])
}

/// The engine's share of what the calls alone, or the window, would allow.
fn of_limit(figures: &Figures, window: usize, ms: u64) -> Option<f64> {
    let alone = figures.rate(&format!("http_only{ms}"))?;
    // The most that a window lets through of calls that take so long, in orders a second.
    let limit = window as f64 * 1000.0 / ms as f64;
    Some(figures.rate(&format!("http{ms}"))? / alone.min(limit))
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::measured;
    use super::*;

    #[test]
    fn the_engine_is_compared_with_raw_where_both_were_measured() {
        let mut figures = Figures::default();
        figures.add("raw", measured(100_000.0, 4.0));
        figures.add("engine", measured(70_000.0, 6.0));
        let ratios = Report::of(&figures, 1024).ratios;
        assert_eq!(ratios["engine_vs_raw"], 0.7);
        assert_eq!(ratios["engine_cpu_vs_raw"], 1.5);
        assert!(!ratios.contains_key("latency_vs_raw"), "not measured");
    }

    #[test]
    fn calls_are_compared_with_the_lesser_of_the_client_and_the_window() {
        let mut figures = Figures::default();
        // The window allows 50,000 at 20 ms and 10,000 at 100 ms.
        figures.add("http_only20", measured(8_000.0, 60.0));
        figures.add("http20", measured(7_200.0, 80.0));
        figures.add("http_only100", measured(12_000.0, 60.0));
        figures.add("http100", measured(9_000.0, 80.0));
        let ratios = Report::of(&figures, 1000).ratios;
        assert_eq!(ratios["http20_vs_limit"], 0.9);
        assert_eq!(ratios["http100_vs_limit"], 0.9);
    }

    #[test]
    fn latency_is_compared_at_the_median() {
        let mut figures = Figures::default();
        figures.add_latency("raw", Latency { median: 8.0, p99: 20.0, p999: 30.0 });
        figures.add_latency("engine", Latency { median: 10.0, p99: 99.0, p999: 99.0 });
        assert_eq!(Report::of(&figures, 1).ratios["latency_vs_raw"], 1.25);
    }

    #[test]
    fn the_table_has_a_line_for_each_case_and_ratio() {
        let mut figures = Figures::default();
        figures.add("raw", measured(100_000.0, 4.0));
        figures.add("engine", measured(75_000.0, 6.0));
        let table = Report::of(&figures, 1024).table(&figures);
        let line = |name: &str| table.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        assert_eq!(
            line("raw ").split_whitespace().collect::<Vec<_>>(),
            ["raw", "100000", "0.40", "50"]
        );
        assert!(line("engine_vs_raw ").ends_with("0.75"));
    }
}
