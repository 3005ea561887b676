//! The admin port: `/livez`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::http::{HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

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
        let others = warp::method().and_then(|method| std::future::ready(refuse(&method)));
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
        // Those of other methods come first: of one without a path warp can't say what it is.
        let routes = others.or(live).or(ready).or(metrics).boxed();
        warp::serve(routes)
            .incoming(self.listener)
            .graceful(async move { stop.cancelled().await })
            .run()
            .await;
        Ok(())
    }
}

/// The answer to what neither GET nor HEAD asks for.
fn refuse(method: &Method) -> Result<Response, Rejection> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Err(warp::reject());
    }
    let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// The status of a request line.
    async fn status(addr: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer[9..12].to_owned()
    }

    #[tokio::test]
    async fn a_head_is_answered_as_a_get_and_nothing_else_is() {
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        readiness.add("a part", || Ok(()));
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let listen = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(listen, readiness, metrics).await.unwrap();
        let addr = server.addr();
        let serving = tokio::spawn(server.run_until_stopped(stop.clone(), stop.clone()));
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(status(addr, &format!("GET {path}")).await, "200", "{path}");
            assert_eq!(status(addr, &format!("HEAD {path}")).await, "200", "{path}");
            assert_eq!(status(addr, &format!("POST {path}")).await, "405", "{path}");
        }
        assert_eq!(status(addr, "CONNECT example.com:443").await, "405");
        assert_eq!(status(addr, "GET /nothing").await, "404");
        assert_eq!(status(addr, "GET example.com:443").await, "404");
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
