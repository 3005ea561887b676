//! Accepting connections: bounded, without Nagle's delay, and with a deadline at the end.
//!
//! warp reads the requests; the loop is our own, because `warp::serve` sets none of these.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use warp::{Filter, Reply};

use crate::metrics::{CONNECTIONS, Held};

/// Pause after a connection could not be accepted: most likely there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of the server.
pub(crate) struct Limits {
    pub connections: usize,
    pub head_timeout: Duration,
    pub drain: Duration,
}

/// Serves until `shutdown`, then finishes what runs, WebSockets included, up to the deadline.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    routes: F,
    limits: Limits,
    sockets: TaskTracker,
    shutdown: CancellationToken,
) where
    F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let service = TowerToHyperService::new(warp::service(routes));
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(limits.head_timeout);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let abort = CancellationToken::new();

    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener, &slots)).await {
        let Some((stream, slot)) = accepted else { continue };
        let (http, service, abort) = (http.clone(), service.clone(), abort.clone());
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _held = (slot, Held::new(CONNECTIONS));
            let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let served = abort.run_until_cancelled(watcher.watch(connection)).await;
            if let Some(Err(error)) = served {
                debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    let deadline = Instant::now() + limits.drain;
    sockets.close();
    let finished = async { tokio::join!(graceful.shutdown(), sockets.wait()) };
    if timeout_at(deadline, finished).await.is_err() {
        warn!("requests that still ran at the deadline were cut off");
    }
    abort.cancel();
}

/// `None` where there was nothing to accept after all.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // An answer is one write; the next segment must not wait for its acknowledgement.
            let _ = stream.set_nodelay(true);
            Some((stream, slot))
        }
        Err(error) => {
            warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
