//! The watchdog: how many orders wait for a result for too long.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use comanda_schemas::{Timestamp, headers};
use comanda_store::{Store, Waiting};
use metrics::gauge;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::readiness::Readiness;

/// Orders that have waited for a result longer than the deadline (gauge).
pub const STUCK: &str = "comanda_orders_stuck";
/// How long the one of them has waited that waits longest; 0 where there is none (gauge).
pub const STUCK_AGE_SECONDS: &str = "comanda_orders_stuck_age_seconds";

/// Settings of the watchdog.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// How long an order may wait for the result of one of its events, in milliseconds.
    pub deadline_ms: u64,
    /// How often the order store is asked, in milliseconds.
    pub interval_ms: u64,
}

impl Options {
    /// The time before which an order must not have been waiting already.
    pub fn limit(&self, now: Timestamp) -> Timestamp {
        earlier(now, Duration::from_millis(self.deadline_ms))
    }
}

/// `age` before `now`.
pub fn earlier(now: Timestamp, age: Duration) -> Timestamp {
    let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(micros))
}

/// Asks `store` again and again, until `shutdown`; metrics, the log and the details of `/readyz`
/// tell what it said. An order that waits is no reason to take the process out of service.
pub fn watch(options: Options, store: Store, readiness: &Readiness, shutdown: CancellationToken) {
    let last = Arc::new(Mutex::new(None));
    let told = last.clone();
    let deadline_ms = options.deadline_ms;
    readiness.tell("stuck_orders", move || {
        let last: Option<Waiting> = *told.lock().unwrap_or_else(|e| e.into_inner());
        details(last, deadline_ms, Timestamp::now())
    });
    tokio::spawn(async move {
        let interval = Duration::from_millis(options.interval_ms.max(100));
        let mut before = 0;
        loop {
            match store.count_waiting(options.limit(Timestamp::now())).await {
                Ok(found) => {
                    let waited = found.since.map(|since| Timestamp::now().since(since));
                    gauge!(STUCK).set(found.orders as f64);
                    gauge!(STUCK_AGE_SECONDS).set(waited.unwrap_or_default().as_secs_f64());
                    match found.orders {
                        0 if before > 0 => info!("no order waits for too long any more"),
                        n if n > before => error!(
                            orders = n, longest = ?waited,
                            "orders wait for their result; `comanda orders stuck` lists them"
                        ),
                        _ => {}
                    }
                    before = found.orders;
                    *last.lock().unwrap_or_else(|e| e.into_inner()) = Some(found);
                }
                Err(failure) => {
                    let error = headers::error_chain(&failure);
                    warn!(error, "nobody knows how many orders wait");
                    *last.lock().unwrap_or_else(|e| e.into_inner()) = None;
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
                return;
            }
        }
    });
}

fn details(last: Option<Waiting>, deadline_ms: u64, now: Timestamp) -> Value {
    let Some(Waiting { orders, since }) = last else { return Value::Null };
    json!({
        "orders": orders,
        "deadline_seconds": deadline_ms / 1_000,
        "longest_seconds": since.map(|since| now.since(since).as_secs()),
    })
}
