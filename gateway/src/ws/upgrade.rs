//! From an HTTP request to a WebSocket (RFC 6455 §4.2).
//!
//! By hand, because warp leaves each socket a read buffer of 128 KiB: with thousands of idle ones
//! that is most of the memory.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use metrics::counter;
use tokio::sync::Semaphore;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::connection::Connection;
use super::protocol::NAME;
use crate::Options;
use crate::config::millis;
use crate::failure::{Code, Failure};
use crate::http::{Gateway, Sender, refusal};
use crate::metrics::WEBSOCKETS_REFUSED_TOTAL;

/// Bytes that are read at a time, and kept for each socket.
const READ_BUFFER: usize = 1 << 10;

/// What all WebSockets of a gateway share.
pub(crate) struct Sockets {
    pub(super) init_timeout: Duration,
    pub(super) ping: Duration,
    pub(super) max_operations: usize,
    pub(super) queue: usize,
    pub(super) shutdown: CancellationToken,
    max_message: usize,
    slots: Arc<Semaphore>,
    tracker: TaskTracker,
}

impl Sockets {
    /// `tracker` knows of each open WebSocket; `shutdown` closes them.
    pub fn new(options: &Options, tracker: TaskTracker, shutdown: CancellationToken) -> Self {
        Self {
            init_timeout: millis(options.ws_init_timeout_ms),
            ping: millis(options.ws_ping_ms),
            max_operations: options.ws_max_operations as usize,
            queue: options.ws_queue as usize,
            shutdown,
            max_message: usize::try_from(options.max_body_bytes).unwrap_or(usize::MAX),
            slots: Arc::new(Semaphore::new(options.max_connections as usize)),
            tracker,
        }
    }
}

/// A request for a WebSocket.
pub(crate) struct Handshake {
    headers: HeaderMap,
    /// Value of `Sec-WebSocket-Accept`.
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

impl Handshake {
    /// `None` where it is a request of another kind.
    fn of(headers: HeaderMap, upgrade: Option<OnUpgrade>) -> Option<Self> {
        let has = |name, token: &str| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            let mut tokens = values.flat_map(|value| value.split(','));
            tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
        };
        let asks = has(CONNECTION, "upgrade")
            && has(UPGRADE, "websocket")
            && has(SEC_WEBSOCKET_VERSION, "13");
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks)?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
        Some(Self { headers, accept, upgrade: upgrade? })
    }
}

/// Takes requests for WebSockets.
pub(crate) fn handshake() -> impl Filter<Extract = (Handshake,), Error = Rejection> + Copy {
    warp::get()
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and_then(|headers, upgrade| {
            let found = Handshake::of(headers, upgrade).ok_or_else(warp::reject);
            std::future::ready(found)
        })
}

/// Answers a request for a WebSocket.
pub(crate) fn upgrade(handshake: Handshake, sender: Sender, gateway: Arc<Gateway>) -> Response {
    let Handshake { headers, accept, upgrade } = handshake;
    let refuse = |reason: &'static str, code, message: &'static str| {
        counter!(WEBSOCKETS_REFUSED_TOTAL, "reason" => reason).increment(1);
        refusal(Failure::new(code, message)).into_response()
    };
    if !gateway.cors.allows_socket(&headers) {
        return refuse("origin", Code::Forbidden, "pages of this origin may not open WebSockets");
    }
    let sockets = &gateway.sockets;
    let Ok(slot) = sockets.slots.clone().try_acquire_owned() else {
        return refuse("full", Code::Overloaded, "there are too many WebSockets");
    };
    let tracked = sockets.tracker.token();
    let is_ours = offers(&headers);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(sockets.max_message))
        .max_frame_size(Some(sockets.max_message));
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let (io, config) = (TokioIo::new(upgraded), Some(config));
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, config).await;
                Connection::serve(socket, sender, headers, gateway, is_ours).await;
            }
            Err(error) => debug!(%error, "a WebSocket did not come about"),
        }
        drop((slot, tracked));
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if is_ours {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(NAME));
    }
    response
}

/// Whether the client speaks our protocol. One that does not is told so with a close code.
fn offers(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offered.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    names.any(|name| name.trim() == NAME)
}
