//! The admin port: `/livez`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::http::{StatusCode, header};

/// How often old histogram samples are folded away.
const UPKEEP: Duration = Duration::from_secs(5);

/// Whether a part is ready, and if not, why.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Something that does not decide whether the process is ready.
pub type Detail = Arc<dyn Fn() -> Value + Send + Sync>;

/// The parts that must be ready before the process is; cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Check>>>,
    details: Arc<Mutex<BTreeMap<&'static str, Detail>>>,
}

/// Answer of `/readyz`.
#[derive(Serialize)]
pub struct Report {
    ready: bool,
    parts: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<&'static str, Value>,
}

impl Readiness {
    /// Adds a part.
    pub fn add(
        &self,
        part: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let mut checks = self.checks.lock().unwrap_or_else(|e| e.into_inner());
        checks.insert(part, Arc::new(check));
    }

    /// Adds something to tell, whatever it says.
    pub fn tell(&self, what: &'static str, detail: impl Fn() -> Value + Send + Sync + 'static) {
        let mut details = self.details.lock().unwrap_or_else(|e| e.into_inner());
        details.insert(what, Arc::new(detail));
    }

    /// Asks every part.
    pub fn report(&self) -> Report {
        let checks = self.checks.lock().unwrap_or_else(|e| e.into_inner());
        let mut ready = !checks.is_empty();
        let parts = checks
            .iter()
            .map(|(part, check)| {
                let state = check();
                ready &= state.is_ok();
                (*part, state.err().unwrap_or_else(|| "ready".to_owned()))
            })
            .collect();
        let details = self.details.lock().unwrap_or_else(|e| e.into_inner());
        let details = details.iter().map(|(what, detail)| (*what, detail())).collect();
        Report { ready, parts, details }
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.report().ready
    }
}

/// The admin server, bound.
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    readiness: Readiness,
    metrics: PrometheusHandle,
}

impl Server {
    /// Binds `listen`; port 0 picks a free one.
    pub async fn bind(
        listen: SocketAddr,
        readiness: Readiness,
        metrics: PrometheusHandle,
    ) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("listening on {listen} (admin.listen); is another comanda running?")
        })?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, readiness, metrics })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`, which comes last; from `stopping` on `/readyz` says no.
    pub async fn run_until_stopped(
        self,
        stopping: CancellationToken,
        stop: CancellationToken,
    ) -> Result<()> {
        let (readiness, metrics) = (self.readiness, self.metrics);
        let upkeep = metrics.clone();
        let ended = stop.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(UPKEEP);
            while !ended.is_cancelled() {
                tick.tick().await;
                upkeep.run_upkeep();
            }
        });
        let live = warp::path!("livez").map(|| "live\n".to_owned());
        let ready = warp::path!("readyz").map(move || {
            let report = readiness.report();
            let ready = report.ready && !stopping.is_cancelled();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            warp::reply::with_status(warp::reply::json(&report), status)
        });
        let metrics = warp::path!("metrics").map(move || {
            let text = "text/plain; version=0.0.4; charset=utf-8";
            warp::reply::with_header(metrics.render(), header::CONTENT_TYPE, text)
        });
        let routes = warp::get().and(live.or(ready).or(metrics)).boxed();
        warp::serve(routes)
            .incoming(self.listener)
            .graceful(async move { stop.cancelled().await })
            .run()
            .await;
        Ok(())
    }
}
