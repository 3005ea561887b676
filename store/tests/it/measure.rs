//! Figures, not claims: `cargo test -p comanda-store --test it -- --ignored measure --nocapture`,
//! with `--release` for figures to go by.

use std::fs;
use std::time::{Duration, Instant};

use comanda_schemas::{Order, OrderEventType, OrderLine, PaymentEventType};
use comanda_store::{Applied, Filter, Page};

use crate::TestStore;
use crate::samples::{Log, asked, asked_for, order, result};

/// CPU time of this process so far. Ticks are hundredths of a second on Linux.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn large(version: i32) -> Order {
    let line = |n: i32| OrderLine {
        sku: format!("PIZ-{n}-{version}"),
        name: "Margherita with a name of the length that names have".into(),
        quantity: 1,
        unit_price_minor: 100,
    };
    Order { lines: (0..200).map(line).collect(), ..order(20_000) }
}

/// An order of 200 lines that was changed until it has so many versions; none was paid.
fn changed(key: &str, versions: i32) -> Log {
    let mut log = Log::default();
    for version in 1..=versions {
        let r#type = match version {
            1 => OrderEventType::Placed,
            _ => OrderEventType::Updated,
        };
        let event = asked_for(key, version, r#type, large(version));
        log.order(event.clone()).payment(result(&event, PaymentEventType::Failed));
    }
    log
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and claims nothing"]
async fn measure_lists_changes_and_rate() {
    for test in TestStore::each().await {
        println!("--- {}", test.options.url);
        let mut log = Log::default();
        for n in 0..20_000 {
            let event = asked(&format!("k-{n}"), 1, OrderEventType::Placed);
            log.order(event.clone()).payment(result(&event, PaymentEventType::Succeeded));
        }
        let began = Instant::now();
        for batch in log.records.chunks(500) {
            test.store.apply(batch).await.unwrap();
        }
        let rate = log.records.len() as f64 / began.elapsed().as_secs_f64();
        println!("rate of events: {rate:.0}/s");

        let page = Page::Forward { first: 100, after: None };
        let list = async |what: &str| {
            let (began, cpu_before) = (Instant::now(), cpu());
            for _ in 0..100 {
                let listing = test.store.orders(&Filter::default(), page).await.unwrap();
                assert_eq!(listing.orders.len(), 100);
            }
            let (wall, cpu) = (began.elapsed() / 100, (cpu() - cpu_before) / 100);
            println!("a page of 100 {what}: {wall:?}, {cpu:?} of CPU");
        };
        list("small orders").await;

        for versions in [1, 10, 30, 100] {
            let mut log = changed(&format!("v-{versions}"), versions);
            let change = log.records.split_off(log.records.len() - 2);
            for batch in log.records.chunks(50) {
                test.store.apply(batch).await.unwrap();
            }
            let began = Instant::now();
            let mut applied: Vec<Applied> = change;
            for record in applied.drain(..) {
                test.store.apply(&[record]).await.unwrap();
            }
            println!(
                "a change at {versions} versions of 200 lines: {:?} an event",
                began.elapsed() / 2
            );
        }
    }
}
