//! What was measured, under the names of the cases; several times, the median counts.

use std::collections::BTreeMap;

use super::latency::Latency;
use super::meter::Measured;

/// Figures by the names of their cases.
pub type ByCase = BTreeMap<String, f64>;

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Figures {
    /// In the order in which the cases ran first.
    rows: Vec<(String, Vec<Measured>)>,
    latencies: BTreeMap<&'static str, Vec<Latency>>,
}

impl Figures {
    /// Adds a measurement of a case.
    pub fn add(&mut self, name: &str, measured: Measured) {
        match self.rows.iter_mut().find(|(row, _)| row == name) {
            Some((_, all)) => all.push(measured),
            None => self.rows.push((name.to_owned(), vec![measured])),
        }
    }

    /// Adds the latency of a case.
    pub fn add_latency(&mut self, name: &'static str, latency: Latency) {
        self.latencies.entry(name).or_default().push(latency);
    }

    /// Names of the cases, in the order in which they ran first.
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|(name, _)| name.as_str())
    }

    /// Orders a second of a case.
    pub fn rate(&self, name: &str) -> Option<f64> {
        self.median(name, Measured::rate)
    }

    /// CPU time of an order in a case, in microseconds.
    pub fn cpu_us(&self, name: &str) -> Option<f64> {
        self.median(name, Measured::cpu_us)
    }

    fn median(&self, name: &str, of: impl Fn(&Measured) -> f64) -> Option<f64> {
        let (_, all) = self.rows.iter().find(|(row, _)| row == name)?;
        median(all.iter().map(of))
    }

    /// The latency of a case.
    pub fn latency(&self, name: &str) -> Option<Latency> {
        let all = self.latencies.get(name)?;
        let of = |part: fn(&Latency) -> f64| median(all.iter().map(part));
        Some(Latency { median: of(|l| l.median)?, p99: of(|l| l.p99)?, p999: of(|l| l.p999)? })
    }

    /// CPU time of an order in each case, in microseconds.
    pub fn cpu_us_per_order(&self) -> ByCase {
        self.each(Measured::cpu_us, 2)
    }

    /// Orders a second in each case.
    pub fn orders_per_second(&self) -> ByCase {
        self.each(Measured::rate, 0)
    }

    /// The most memory that each case held, in bytes.
    pub fn peak_rss_bytes(&self) -> ByCase {
        self.each(|m| m.peak_rss_bytes as f64, 0)
    }

    fn each(&self, of: fn(&Measured) -> f64, digits: i32) -> ByCase {
        let of = |all: &Vec<Measured>| median(all.iter().map(of));
        let all = self.rows.iter().filter_map(|(name, all)| Some((name.clone(), of(all)?)));
        all.map(|(name, value)| (name, rounded(value, digits))).collect()
    }

    /// The latency of each case that has one, in milliseconds.
    pub fn latency_ms(&self) -> BTreeMap<&'static str, Latency> {
        let latency = |name: &&'static str| {
            let Latency { median, p99, p999 } = self.latency(name)?;
            let [median, p99, p999] = [median, p99, p999].map(|ms| rounded(ms, 3));
            Some((*name, Latency { median, p99, p999 }))
        };
        self.latencies.keys().filter_map(latency).collect()
    }
}

/// The middle one, or the mean of the middle two.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() {
        0 => None,
        n if n % 2 == 1 => Some(all[middle]),
        _ => Some((all[middle - 1] + all[middle]) / 2.0),
    }
}

/// `value` with so many digits behind the point.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// Ratios that are known, rounded.
pub fn known<const N: usize>(ratios: [(&str, Option<f64>); N]) -> ByCase {
    let known = ratios.into_iter().filter_map(|(name, ratio)| Some((name.to_owned(), ratio?)));
    known.map(|(name, ratio)| (name, rounded(ratio, 3))).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn measured(rate: f64, cpu_us: f64) -> Measured {
        let orders = 100_000;
        Measured {
            orders,
            seconds: orders as f64 / rate,
            cpu_seconds: orders as f64 * cpu_us / 1e6,
            peak_rss_bytes: 50 << 20,
        }
    }

    #[test]
    fn the_median_of_several_rounds_counts() {
        let mut figures = Figures::default();
        for rate in [90_000.0, 100_000.0, 300_000.0] {
            figures.add("raw", measured(rate, 4.0));
        }
        figures.add("engine", measured(70_000.0, 6.0));
        for median in [3.0, 1.0, 2.0] {
            figures.add_latency("raw", Latency { median, p99: 2.0 * median, p999: 9.0 });
        }
        assert_eq!(figures.rate("raw"), Some(100_000.0));
        assert_eq!(figures.cpu_us_per_order()["raw"], 4.0);
        assert_eq!(figures.latency("raw"), Some(Latency { median: 2.0, p99: 4.0, p999: 9.0 }));
        assert_eq!(figures.cases().collect::<Vec<_>>(), ["raw", "engine"]);
        assert_eq!((figures.rate("http20"), figures.latency("engine")), (None, None));
    }

    #[test]
    fn a_median_needs_a_value() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0].into_iter()), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0].into_iter()), Some(2.0));
    }
}
