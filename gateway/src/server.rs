//! Accepting connections: bounded, without Nagle's delay, and with a deadline at the end.
//!
//! warp reads the requests; the loop is our own, because `warp::serve` sets none of these.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics::counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

use crate::http::{Edge, compressed};
use crate::metrics::{CONNECTIONS, CONNECTIONS_REFUSED_TOTAL, Held};
use crate::places::{Place, Places};

/// Pause after a connection could not be accepted: most likely there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of the head of an HTTP/1 request, and of what is read ahead of its body. More is answered
/// with 431, as are more than 100 headers (hyper's default; another number costs an allocation).
const MAX_HEAD: usize = 32 << 10;
/// Bytes of the headers of an HTTP/2 request, as RFC 9113 §6.5.2 counts them.
const MAX_HEADER_LIST: u32 = 32 << 10;
/// Requests at one time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Bytes that are taken ahead of an HTTP/2 request that is not read, and of a connection.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Bytes that wait to be sent on an HTTP/2 stream.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// Streams that a client opened and reset before they were answered. One that does nothing else
/// (CVE-2023-44487) is hung up on.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that we reset because of what the client sent on them, before it is hung up on.
const MAX_LOCAL_RESETS: usize = 100;

/// What a connection holds: its place in all and among those of its address. A WebSocket holds it on
/// when HTTP is done with the connection.
#[derive(Clone)]
pub(crate) struct Permit {
    _held: Arc<(OwnedSemaphorePermit, Option<Place>, Held)>,
}

/// Limits of the server.
pub(crate) struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub head_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub stall_timeout: Duration,
    pub compress_min: u64,
    pub drain: Duration,
}

/// Serves until `shutdown`, then finishes what runs, WebSockets included, up to the deadline.
pub(crate) async fn serve<S, R>(
    listener: TcpListener,
    edge: Arc<Edge>,
    service: S,
    limits: Limits,
    sockets: TaskTracker,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    R: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>> + Send>,
    R: Default + Send + 'static,
{
    let http = protocols(limits.head_timeout);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let places = Places::new(limits.connections_per_address);
    let graceful = GracefulShutdown::new();
    let abort = CancellationToken::new();

    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener, &slots)).await {
        let Some((stream, peer, slot)) = accepted else { continue };
        let is_proxy = edge.is_proxy(peer);
        let place = if is_proxy { None } else { places.take(peer) };
        if place.is_none() && !is_proxy {
            counter!(CONNECTIONS_REFUSED_TOTAL, "reason" => "address").increment(1);
            continue;
        }
        tune(&stream, limits.stall_timeout);
        let has_asked = Arc::new(AtomicBool::new(false));
        let permit = Permit { _held: Arc::new((slot, place, Held::new(CONNECTIONS))) };
        let of_socket = permit.clone();
        let (edge, service, asked) = (edge.clone(), service.clone(), has_asked.clone());
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            if request.headers().contains_key(UPGRADE) {
                request.extensions_mut().insert(of_socket.clone());
            }
            edge.clone().serve(peer, service.clone(), request)
        });
        let service = TowerToHyperService::new(compressed(service, limits.compress_min));
        let (http, abort, watcher) = (http.clone(), abort.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let serving = abort.run_until_cancelled(watcher.watch(connection));
            let is_silent = || !has_asked.load(Ordering::Relaxed);
            match unless_silent(serving, limits.head_timeout, is_silent).await {
                Some(Some(Err(error))) => debug!(%error, "connection ended"),
                Some(_) => {}
                None => counter!(CONNECTIONS_REFUSED_TOTAL, "reason" => "silent").increment(1),
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

/// Sets what hyper leaves to the socket. Where that can't be done the connection works all the same.
fn tune(stream: &TcpStream, stall_timeout: Duration) {
    // An answer is one write; the next segment must not wait for its acknowledgement.
    let _ = stream.set_nodelay(true);
    // hyper waits without end for a client that does not read; Linux can be told not to.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(stall_timeout));
    #[cfg(not(target_os = "linux"))]
    let _ = stall_timeout;
}

/// HTTP/1 and HTTP/2 with prior knowledge, with their limits. `head_timeout` is also how long an
/// HTTP/1 connection may be idle, and how often one of HTTP/2 is pinged.
fn protocols(head_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(MAX_HEAD);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(head_timeout)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS);
    http
}

/// Goes on with `serving`; `None` where the client `is_silent` when the time has passed. hyper waits
/// without end for the first bytes, which tell the version of HTTP.
async fn unless_silent<T>(
    serving: impl Future<Output = T>,
    wait: Duration,
    is_silent: impl Fn() -> bool,
) -> Option<T> {
    let mut serving = std::pin::pin!(serving);
    match timeout(wait, &mut serving).await {
        Ok(served) => Some(served),
        Err(_) if is_silent() => None,
        Err(_) => Some(serving.await),
    }
}

/// `None` where there was nothing to accept after all.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer.ip(), slot)),
        Err(error) => {
            warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
