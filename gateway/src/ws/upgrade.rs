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
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::connection::Connection;
use super::intake::{self, Intake};
use super::protocol::NAME;
use crate::Options;
use crate::budget::{Bounds, Budget, Client};
use crate::config::{bytes, millis};
use crate::failure::{Code, Failure};
use crate::http::{Gateway, Media, Refusal, Sender};
use crate::metrics::WEBSOCKETS_REFUSED_TOTAL;
use crate::server::Permit;

/// Bytes that are read at a time, and kept for each socket.
const READ_BUFFER: usize = 1 << 10;
/// Bytes that are gathered before they are written.
const WRITE_BUFFER: usize = 16 << 10;

/// What all WebSockets of a gateway share.
pub(crate) struct Sockets {
    pub(super) init_timeout: Duration,
    /// How long a WebSocket may be open without a key.
    pub(super) stranger_timeout: Duration,
    pub(super) ping: Duration,
    pub(super) max_operations: usize,
    pub(super) queue: usize,
    pub(super) shutdown: CancellationToken,
    pub(super) max_message: usize,
    /// The same for those without a key.
    max_strange_message: usize,
    message_timeout: Duration,
    ping_rate: u32,
    places: Arc<Budget>,
    tracker: TaskTracker,
}

impl Sockets {
    /// `tracker` knows of each open WebSocket; `shutdown` closes them.
    pub fn new(options: &Options, tracker: TaskTracker, shutdown: CancellationToken) -> Self {
        let all = options.max_connections as usize;
        let strangers = Bounds { each: options.max_anonymous_websockets_per_address as usize, all };
        let callers = Bounds { each: options.max_websockets_per_customer as usize, all };
        Self {
            init_timeout: millis(options.ws_init_timeout_ms),
            stranger_timeout: millis(options.ws_anonymous_ms),
            ping: millis(options.ws_ping_ms),
            max_operations: options.ws_max_operations as usize,
            queue: options.ws_queue as usize,
            shutdown,
            max_message: bytes(options.max_body_bytes),
            max_strange_message: bytes(options.max_anonymous_body()),
            message_timeout: millis(options.body_timeout_ms),
            ping_rate: options.ws_ping_rate,
            places: Budget::new("websockets", strangers, callers),
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

/// Answers a request for a WebSocket. `permit` is that of its connection, which lasts as long.
pub(crate) fn upgrade(
    handshake: Handshake,
    sender: Sender,
    permit: Option<Permit>,
    gateway: Arc<Gateway>,
) -> Response {
    let refuse = |reason: &'static str, refusal: Refusal| {
        counter!(WEBSOCKETS_REFUSED_TOTAL, "reason" => reason).increment(1);
        refusal.respond(Media::Json).into_response()
    };
    let Handshake { headers, accept, upgrade } = handshake;
    if !gateway.cors.allows_socket(&headers) {
        let message = "pages of this origin may not open WebSockets";
        return refuse("origin", Failure::new(Code::Forbidden, message).into());
    }
    if let Err(left) = gateway.rates.request(sender.address, &None) {
        return refuse("rate", left.into());
    }
    let stranger = Client::of(sender.address, &None);
    let sockets = &gateway.sockets;
    let place = match sockets.places.hold(stranger.clone(), 1) {
        Ok(place) => place,
        Err(exhausted) => {
            let own = "too many WebSockets of this address are open without a key";
            let failure = exhausted.failure(own, "there are too many WebSockets");
            return refuse("full", failure.into());
        }
    };
    let Ok(held) = gateway.request_bytes.hold(stranger, 0) else {
        return refuse("full", Failure::internal().into());
    };
    let tracked = sockets.tracker.token();
    let is_ours = offers(&headers);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(sockets.max_message))
        .max_frame_size(Some(sockets.max_message));
    let bounds = intake::Bounds {
        max_message: sockets.max_strange_message,
        message_timeout: sockets.message_timeout,
        ping_rate: sockets.ping_rate,
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let io = Intake::new(TokioIo::new(upgraded), held, bounds);
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
                Connection::serve(socket, sender, headers, gateway, place, is_ours).await;
            }
            Err(error) => debug!(%error, "a WebSocket did not come about"),
        }
        drop((permit, tracked));
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
