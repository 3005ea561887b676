//! The gateway on a real Kafka: a broker that freezes, dies and answers nobody (`faults`), more
//! orders than it may have in flight (`bounds`), two of it at one time (`replicas`), and clients
//! that go away (`gone`).

mod bounds;
mod client;
mod faults;
mod gone;
mod replicas;

use std::time::Duration;

use reqwest::{Client, StatusCode};

use crate::harness::eventually;
use crate::harness::process::Comanda;

/// How long anything may take before a test gives up on it.
const LIMIT: Duration = Duration::from_secs(60);

/// The admin port of a process.
struct Admin {
    addr: String,
    http: Client,
}

impl Admin {
    async fn of(process: &mut Comanda) -> Self {
        let http = Client::builder().no_proxy().build().expect("no certificates to load");
        Self { addr: process.logged("admin port listens", "addr").await, http }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.http.get(format!("http://{}{path}", self.addr)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Waits until `/readyz` says so.
    async fn is_ready(&self, ready: bool) {
        let wanted = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        eventually(&format!("/readyz is {wanted}"), LIMIT, async || {
            (self.get("/readyz").await.0 == wanted).then_some(())
        })
        .await;
    }

    /// The sum of a metric over all its labels.
    async fn metric(&self, name: &str) -> f64 {
        let (_, all) = self.get("/metrics").await;
        let of_it = all.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        of_it.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric has a value.
    async fn metric_is(&self, name: &str, value: f64) {
        eventually(&format!("{name} is {value}"), LIMIT, async || {
            (self.metric(name).await == value).then_some(())
        })
        .await;
    }
}
