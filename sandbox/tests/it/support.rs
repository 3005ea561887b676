//! What the tests share.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running service, stopped when dropped.
pub struct Running<H> {
    pub url: String,
    pub handle: H,
    pub client: Client,
    pub stop: CancellationToken,
    pub served: JoinHandle<()>,
    _stop_on_drop: DropGuard,
}

impl<H> Running<H> {
    pub fn new<F>(url: String, handle: H, serve: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(stop.clone()));
        Self {
            url,
            handle,
            client: Client::new(),
            served,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// Waits until `condition` holds; panics after ten seconds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "never saw {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
