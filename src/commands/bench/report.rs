//! What the figures come to: ratios, and a table for people.

use std::collections::BTreeMap;

use serde::Serialize;

use super::latency::Latency;
use super::meter::Measured;

/// A name, and what was measured under it; several times, the median counts.
#[derive(Debug, Clone)]
pub struct Row {
    name: String,
    measured: Vec<Measured>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Figures {
    rows: Vec<Row>,
    latencies: BTreeMap<&'static str, Vec<Latency>>,
    window: usize,
}

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What comanda comes to, compared; only what was measured.
    pub ratios: BTreeMap<String, f64>,
    /// CPU time of an order in each case, in microseconds.
    pub cpu_us_per_order: BTreeMap<String, f64>,
    /// Orders a second in each case.
    pub orders_per_second: BTreeMap<String, f64>,
    /// The most memory that each case held, in bytes.
    pub peak_rss_bytes: BTreeMap<String, f64>,
    /// Time from order to committed result at the same pace, in milliseconds.
    pub latency_ms: BTreeMap<&'static str, Latency>,
}

impl Figures {
    /// None yet; `window` is how many orders the engine has in flight at the most.
    pub fn new(window: usize) -> Self {
        Self { window, ..Self::default() }
    }

    /// Adds a measurement of a case.
    pub fn add(&mut self, name: &str, measured: Measured) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.measured.push(measured),
            None => self.rows.push(Row { name: name.to_owned(), measured: vec![measured] }),
        }
    }

    /// Adds the latency of a case at the pace that all share.
    pub fn add_latency(&mut self, name: &'static str, latency: Latency) {
        self.latencies.entry(name).or_default().push(latency);
    }

    /// Orders a second of a case.
    pub fn rate(&self, name: &str) -> Option<f64> {
        self.median(name, Measured::rate)
    }

    fn median(&self, name: &str, of: impl Fn(&Measured) -> f64) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        median(row.measured.iter().map(of))
    }

    fn latency(&self, name: &str) -> Option<Latency> {
        let all = self.latencies.get(name)?;
        let (medians, p99s) = (all.iter().map(|l| l.median), all.iter().map(|l| l.p99));
        Some(Latency { median: median(medians)?, p99: median(p99s)? })
    }

    /// The most that a window lets through of calls that take `ms`, in orders a second.
    fn window_limit(&self, ms: u64) -> f64 {
        self.window as f64 * 1000.0 / ms as f64
    }

    /// The engine's share of what the calls alone, or the window, would allow.
    fn of_limit(&self, ms: u64) -> Option<f64> {
        let alone = self.rate(&format!("http_only{ms}"))?;
        Some(self.rate(&format!("http{ms}"))? / alone.min(self.window_limit(ms)))
    }

    fn ratios(&self) -> BTreeMap<String, f64> {
        let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
        let latency = |name| self.latency(name).map(|l| l.median);
        let cpu = |name| self.median(name, Measured::cpu_us);
        let all = [
            ("engine_vs_raw", over(self.rate("engine"), self.rate("raw"))),
            ("engine_cpu_vs_raw", over(cpu("engine"), cpu("raw"))),
            ("engine_vs_raw_no_headers", over(self.rate("engine"), self.rate("raw_no_headers"))),
            ("engine_cpu_vs_raw_no_headers", over(cpu("engine"), cpu("raw_no_headers"))),
            ("http20_vs_limit", self.of_limit(20)),
            ("http100_vs_limit", self.of_limit(100)),
            ("latency_vs_raw", over(latency("engine"), latency("raw"))),
        ];
        let known = all.into_iter().filter_map(|(name, ratio)| Some((name.to_owned(), ratio?)));
        known.map(|(name, ratio)| (name, rounded(ratio, 3))).collect()
    }

    /// What they come to.
    pub fn report(&self) -> Report {
        let each = |of: fn(&Measured) -> f64, digits| {
            let of = |row: &Row| median(row.measured.iter().map(of));
            let all = self.rows.iter().filter_map(|row| Some((row.name.clone(), of(row)?)));
            all.map(|(name, value)| (name, rounded(value, digits))).collect()
        };
        let latency = |name: &&'static str| {
            let Latency { median, p99 } = self.latency(name)?;
            Some((*name, Latency { median: rounded(median, 3), p99: rounded(p99, 3) }))
        };
        Report {
            ratios: self.ratios(),
            cpu_us_per_order: each(Measured::cpu_us, 2),
            orders_per_second: each(Measured::rate, 0),
            peak_rss_bytes: each(|m| m.peak_rss_bytes as f64, 0),
            latency_ms: self.latencies.keys().filter_map(latency).collect(),
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let report = self.report();
        let mut text =
            format!("\n{:<16}{:>12}{:>16}{:>12}\n", "case", "orders/s", "CPU s/100,000", "peak MB");
        for Row { name, .. } in &self.rows {
            let rate = report.orders_per_second.get(name).copied().unwrap_or_default();
            let cpu = report.cpu_us_per_order.get(name).copied().unwrap_or_default();
            let rss = report.peak_rss_bytes.get(name).copied().unwrap_or_default();
            let (cpu, rss) = (cpu / 10.0, rss / (1 << 20) as f64);
            text += &format!("{name:<16}{rate:>12.0}{cpu:>16.2}{rss:>12.0}\n");
        }
        text += &format!("\n{:<16}{:>12}{:>16}\n", "latency, ms", "median", "99th percentile");
        for (name, Latency { median, p99 }) in &report.latency_ms {
            text += &format!("{name:<16}{median:>12.2}{p99:>16.2}\n");
        }
        text.push('\n');
        for (name, ratio) in &report.ratios {
            text += &format!("{name:<28}{ratio:>8.2}\n");
        }
        text
    }
}

/// The middle one, or the mean of the middle two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() {
        0 => None,
        n if n % 2 == 1 => Some(all[middle]),
        _ => Some((all[middle - 1] + all[middle]) / 2.0),
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rate: f64, cpu_us: f64) -> Measured {
        let orders = 100_000;
        Measured {
            orders,
            seconds: orders as f64 / rate,
            cpu_seconds: orders as f64 * cpu_us / 1e6,
            peak_rss_bytes: 50 << 20,
        }
    }

    #[test]
    fn the_engine_is_compared_with_the_median_of_raw() {
        let mut figures = Figures::new(1024);
        for rate in [90_000.0, 100_000.0, 300_000.0] {
            figures.add("raw", measured(rate, 4.0));
        }
        figures.add("engine", measured(70_000.0, 6.0));
        let ratios = figures.report().ratios;
        assert_eq!(ratios["engine_vs_raw"], 0.7);
        assert_eq!(ratios["engine_cpu_vs_raw"], 1.5);
        assert!(!ratios.contains_key("latency_vs_raw"), "not measured");
        assert_eq!(figures.report().cpu_us_per_order["raw"], 4.0);
    }

    #[test]
    fn calls_are_compared_with_the_lesser_of_the_client_and_the_window() {
        let mut figures = Figures::new(1000);
        // The window allows 50,000 at 20 ms and 10,000 at 100 ms.
        figures.add("http_only20", measured(8_000.0, 60.0));
        figures.add("http20", measured(7_200.0, 80.0));
        figures.add("http_only100", measured(12_000.0, 60.0));
        figures.add("http100", measured(9_000.0, 80.0));
        let ratios = figures.report().ratios;
        assert_eq!(ratios["http20_vs_limit"], 0.9);
        assert_eq!(ratios["http100_vs_limit"], 0.9);
    }

    #[test]
    fn latency_is_compared_at_the_median() {
        let mut figures = Figures::new(1);
        figures.add_latency("raw", Latency { median: 8.0, p99: 20.0 });
        figures.add_latency("engine", Latency { median: 10.0, p99: 99.0 });
        assert_eq!(figures.report().ratios["latency_vs_raw"], 1.25);
    }

    #[test]
    fn the_table_has_a_line_for_each_case_and_ratio() {
        let mut figures = Figures::new(1024);
        figures.add("raw", measured(100_000.0, 4.0));
        figures.add("engine", measured(75_000.0, 6.0));
        let table = figures.table();
        let line = |name: &str| table.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        assert_eq!(
            line("raw ").split_whitespace().collect::<Vec<_>>(),
            ["raw", "100000", "0.40", "50"]
        );
        assert!(line("engine_vs_raw ").ends_with("0.75"));
    }

    #[test]
    fn a_median_needs_a_value() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0].into_iter()), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0].into_iter()), Some(2.0));
    }
}
