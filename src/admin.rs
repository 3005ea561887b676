//! The admin port: `/livez`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::http::{StatusCode, header};

use crate::readiness::Readiness;

/// How often old histogram samples are folded away.
const UPKEEP: Duration = Duration::from_secs(5);

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
        readiness.watch(stop.clone());
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
