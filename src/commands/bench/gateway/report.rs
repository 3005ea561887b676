//! What the gateway's figures come to: ratios, and a table for people.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::figures::{ByCase, Figures, known};
use super::super::latency::Latency;
use super::idle::Memory;

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Results {
    /// Of the process that the case is about: the bare client, or the gateway.
    pub figures: Figures,
    /// Of the load, where that is another process.
    pub load: Figures,
    /// Of the idle gateway.
    pub memory: Option<Memory>,
}

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What comanda comes to, compared, and what it adds to the median at the pace in
    /// milliseconds; only what was measured.
    pub ratios: ByCase,
    /// CPU time of an order in each case, in microseconds, of the client or the gateway alone.
    pub cpu_us_per_order: ByCase,
    /// The same, of what sent the orders to the gateway.
    pub load_cpu_us_per_order: ByCase,
    /// Orders a second in each case.
    pub orders_per_second: ByCase,
    /// The most memory that the client or the gateway held in each case, in bytes.
    pub peak_rss_bytes: ByCase,
    /// Time to the acknowledgement or the answer, in milliseconds: at full load, and at the pace
    /// (`…_paced`) from when the order was due.
    pub latency_ms: BTreeMap<&'static str, Latency>,
    /// Memory of a gateway that has nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

impl Report {
    /// Of `results`.
    pub fn of(results: &Results) -> Self {
        let Results { figures, load, memory } = results;
        Self {
            ratios: ratios(figures),
            cpu_us_per_order: figures.cpu_us_per_order(),
            load_cpu_us_per_order: load.cpu_us_per_order(),
            orders_per_second: figures.orders_per_second(),
            peak_rss_bytes: figures.peak_rss_bytes(),
            latency_ms: figures.latency_ms(),
            memory: *memory,
        }
    }

    /// For people; the lines are in the order of `results`.
    pub fn table(&self, results: &Results) -> String {
        let mut text = format!(
            "\n{:<20}{:>10}{:>14}{:>14}{:>9}{:>10}{:>10}{:>10}\n",
            "case",
            "orders/s",
            "CPU s/10,000",
            "load s/10,000",
            "peak MB",
            "p50 ms",
            "p99 ms",
            "p99.9 ms"
        );
        for name in results.figures.cases() {
            let of = |all: &ByCase| all.get(name).copied().unwrap_or_default();
            let (rate, rss) = (of(&self.orders_per_second), of(&self.peak_rss_bytes));
            let (cpu, load) = (of(&self.cpu_us_per_order), of(&self.load_cpu_us_per_order));
            let [cpu, load] = [cpu, load].map(|us| us / 100.0);
            let rss = rss / (1 << 20) as f64;
            text += &format!("{name:<20}{rate:>10.0}{cpu:>14.3}{load:>14.3}{rss:>9.0}");
            if let Some(Latency { median, p99, p999 }) = self.latency_ms.get(name) {
                text += &format!("{median:>10.2}{p99:>10.2}{p999:>10.2}");
            }
            text.push('\n');
        }
        if let Some(memory) = self.memory {
            let idle = memory.idle_gateway_rss_bytes as f64 / (1 << 20) as f64;
            let each = memory.bytes_per_idle_subscription as f64 / 1024.0;
            let (alone, foreign) = (memory.cpu_us_per_event_alone, memory.cpu_us_per_foreign_event);
            text += &format!(
                "\nidle gateway {idle:.1} MB, and {each:.1} kB for each of {} idle subscriptions\n\
                 with them {foreign:.1} µs CPU for an event that is not theirs, without {alone:.1}; \
                 told within {:.1} ms, and to all of them within {:.0} ms\n",
                memory.idle_subscriptions, memory.update_ms, memory.told_all_ms,
            );
        }
        text.push('\n');
        for (name, ratio) in &self.ratios {
            text += &format!("{name:<24}{ratio:>8.2}\n");
        }
        text
    }
}

fn ratios(figures: &Figures) -> ByCase {
    let rates = |a, b| Some(figures.rate(a)? / figures.rate(b)?);
    let median = |name| Some(figures.latency(name)?.median);
    let added = || Some(median("gateway_paced")? - median("raw_paced")?);
    known([
        ("gateway_vs_raw", rates("gateway", "raw")),
        ("gateway_vs_no_publish", rates("gateway", "gateway_no_publish")),
        ("no_key_vs_key", rates("gateway_no_key", "gateway")),
        ("batch_vs_single", rates("gateway_batch", "gateway")),
        ("added_median_ms", added()),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::super::figures::tests::measured;
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        for (name, rate) in [
            ("raw", 80_000.0),
            ("gateway", 20_000.0),
            ("gateway_no_publish", 25_000.0),
            ("gateway_batch", 60_000.0),
        ] {
            results.figures.add(name, measured(rate, 50.0));
        }
        results.load.add("gateway", measured(20_000.0, 10.0));
        for (name, median) in [("gateway_paced", 1.5), ("raw_paced", 0.9)] {
            results.figures.add_latency(name, Latency { median, p99: 2.0, p999: 3.0 });
        }
        results
    }

    #[test]
    fn ratios_are_there_for_what_was_measured() {
        let ratios = Report::of(&results()).ratios;
        assert_eq!(ratios["gateway_vs_raw"], 0.25);
        assert_eq!(ratios["gateway_vs_no_publish"], 0.8);
        assert_eq!(ratios["batch_vs_single"], 3.0);
        assert_eq!(ratios["added_median_ms"], 0.6);
        assert!(!ratios.contains_key("no_key_vs_key"), "not measured");
    }

    #[test]
    fn the_table_has_a_line_for_each_case_and_tells_of_memory() {
        let mut results = results();
        results.memory = Some(Memory {
            idle_gateway_rss_bytes: 20 << 20,
            bytes_per_idle_subscription: 10 << 10,
            idle_subscriptions: 7,
            cpu_us_per_event_alone: 3.0,
            cpu_us_per_foreign_event: 4.0,
            update_ms: 1.5,
            told_all_ms: 90.0,
        });
        let table = Report::of(&results).table(&results);
        let line = |name: &str| {
            let line = table.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(line("gateway "), ["gateway", "20000", "0.500", "0.100", "50"]);
        assert!(line("idle gateway").contains(&"20.0".to_owned()), "{table}");
        assert_eq!(line("added_median_ms"), ["added_median_ms", "0.60"]);
    }
}
