//! The HTTP server under the sandbox's services: bounded, and able to hang up on a client.
//!
//! warp reads the requests; the accept loop is our own, because `warp::serve` can neither close a
//! connection without an answer nor bound connections and shutdown.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use warp::Filter;
use warp::filters::path::FullPath;

use crate::Error;

const MAX_CONNECTIONS: usize = 4096;
const MAX_BODY_BYTES: usize = 1 << 20;
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request, read whole.
pub(crate) struct Request {
    pub method: Method,
    /// The path's parts, percent-decoded.
    pub path: Vec<String>,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    /// The first value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The token of `Authorization: Bearer …`, when it is not empty.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }
}

/// What a handler does with a request.
pub(crate) enum Answer {
    Send(Response<Bytes>),
    /// Closes the connection without a byte.
    HangUp,
}

/// An answer with a JSON body.
pub(crate) fn json(
    status: StatusCode,
    content_type: &'static str,
    body: &impl Serialize,
) -> Response<Bytes> {
    let body = serde_json::to_vec(body).expect("answers have string keys and no failing values");
    with_body(status, content_type, body)
}

/// An answer with any body.
pub(crate) fn with_body(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Listens on `addr`; port 0 picks a free one, which the second part tells.
pub(crate) async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Bind { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Marks a response that must not be sent.
#[derive(Debug, Clone, thiserror::Error)]
#[error("hung up on request")]
struct HangUp;

/// Serves until `shutdown`, then finishes what runs, within the drain time-out.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H, shutdown: CancellationToken)
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let service = TowerToHyperService::new(warp::service(filter(handler)));
    let service = hyper::service::service_fn(move |request| {
        let answering = service.call(request);
        async move {
            let Ok::<_, Infallible>(response) = answering.await;
            match response.extensions().get::<HangUp>() {
                Some(hang_up) => Err(hang_up.clone()),
                None => Ok(response),
            }
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let abort = CancellationToken::new();

    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener, &slots)).await {
        let Some((stream, slot)) = accepted else { continue };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        let abort = abort.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = abort.run_until_cancelled(connection).await {
                debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("requests still running at the drain deadline were cut off");
    }
    abort.cancel();
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, slot))
        }
        Err(error) => {
            // Out of file descriptors, most likely: a tight loop would help nobody.
            warn!(%error, "cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn filter<H, F>(
    handler: H,
) -> impl Filter<Extract = (Response<Bytes>,), Error = warp::Rejection> + Clone
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, query: String, headers, body| {
            let handler = handler.clone();
            async move {
                let body = match timeout(BODY_TIMEOUT, read(body)).await {
                    Ok(Ok(body)) => body,
                    Ok(Err(refusal)) => return refusal,
                    Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT),
                };
                let path = segments(path.as_str());
                let query = pairs(query.as_bytes());
                match handler(Request { method, path, query, headers, body }).await {
                    Answer::Send(response) => response,
                    Answer::HangUp => {
                        let mut response = Response::default();
                        response.extensions_mut().insert(HangUp);
                        response
                    }
                }
            }
        })
}

async fn read<S, B>(stream: S) -> Result<Bytes, Response<Bytes>>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let mut stream = std::pin::pin!(stream);
    let mut body = BytesMut::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| refuse(StatusCode::BAD_REQUEST))?;
        if body.len() + part.remaining() > MAX_BODY_BYTES {
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let mut part = part;
        while part.has_remaining() {
            let chunk = part.chunk();
            let read = chunk.len();
            body.extend_from_slice(chunk);
            part.advance(read);
        }
    }
    Ok(body.freeze())
}

fn refuse(status: StatusCode) -> Response<Bytes> {
    with_body(status, "text/plain; charset=utf-8", status.to_string())
}

fn segments(path: &str) -> Vec<String> {
    let decode = |part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    path.split('/').filter(|part| !part.is_empty()).map(decode).collect()
}

/// The pairs of a query or of a form-encoded body.
pub(crate) fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}
