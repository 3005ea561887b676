//! From an HTTP request to a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use metrics::counter;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Reply;
use warp::reply::Response;
use warp::ws::Ws;

use super::connection::Connection;
use super::protocol::NAME;
use crate::Options;
use crate::config::millis;
use crate::failure::{Code, Failure};
use crate::http::{Gateway, Sender, refusal};
use crate::metrics::WEBSOCKETS_REFUSED_TOTAL;

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

/// Answers a request for a WebSocket.
pub(crate) fn upgrade(
    upgrade: Ws,
    sender: Sender,
    headers: HeaderMap,
    gateway: Arc<Gateway>,
) -> Response {
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
    let upgrade = upgrade.max_message_size(sockets.max_message).max_frame_size(sockets.max_message);
    let reply = upgrade.on_upgrade(move |socket| async move {
        Connection::serve(socket, sender, headers, gateway, is_ours).await;
        drop((slot, tracked));
    });
    let mut response = reply.into_response();
    if is_ours {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(NAME));
    }
    response
}

/// Whether the client speaks our protocol. One that does not is told so with a close code.
fn offers(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offered.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    names.any(|name| name.trim() == NAME)
}
