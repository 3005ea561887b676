//! Settings of the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::auth::{ApiKey, Keys};
use crate::{Error, limits};

/// Settings of the gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Address of `/graphql` and `/`; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Who may come in.
    pub api_keys: Vec<ApiKey>,
    /// Connections at one time; further ones wait to be accepted. At least 1.
    pub max_connections: u32,
    /// Largest request body and largest WebSocket message, in bytes.
    pub max_body_bytes: u64,
    /// How long a client may take to send the head of a request, in milliseconds.
    pub head_timeout_ms: u64,
    /// How long a client may take to send the body of a request, in milliseconds.
    pub body_timeout_ms: u64,
    /// Tokens of a GraphQL document.
    pub max_tokens: u32,
    /// Depth of a GraphQL document: fields within fields, fragments included.
    pub max_depth: u32,
    /// Fields of a GraphQL document, fragments expanded, those below a list of orders multiplied
    /// by the size of its page.
    pub max_complexity: u32,
    /// Orders in one `placeOrders`, at least 1.
    pub max_batch: u32,
    /// Lines of one order, at least 1.
    pub max_lines: u32,
    /// How long a reader waits for the order store to see an event, in milliseconds.
    pub receipt_wait_ms: u64,
    /// Placements remembered so that the same idempotency key is not published twice while the
    /// order store has not seen it; beyond that only the store is asked. As many orders are
    /// remembered that were changed.
    pub max_recent_placements: u32,
    /// How long a placement is remembered at most, in milliseconds.
    pub recent_placement_ms: u64,
    /// How long a WebSocket client may take to send `connection_init`, in milliseconds.
    pub ws_init_timeout_ms: u64,
    /// How often a WebSocket client is pinged, in milliseconds; one that was not heard of for two
    /// such times is gone.
    pub ws_ping_ms: u64,
    /// Operations that run at one time on one WebSocket, at least 1.
    pub ws_max_operations: u32,
    /// Messages that wait to be sent on one WebSocket, at least 1.
    pub ws_queue: u32,
    /// Events that wait for one subscriber before it is cut off as too slow, at least 1.
    pub subscriber_queue: u32,
    /// How long accepted requests may go on after the shutdown, in milliseconds.
    pub drain_ms: u64,
}

impl Options {
    /// What no single type can check, the API keys included.
    pub fn validate(&self) -> Result<(), Error> {
        Keys::parse(&self.api_keys)?;
        let refuse = |key, problem: &str| Err(Error::Options { key, problem: problem.into() });
        let at_least_one = [
            ("max_connections", self.max_connections),
            ("max_body_bytes", self.max_body_bytes.try_into().unwrap_or(u32::MAX)),
            ("max_batch", self.max_batch),
            ("max_lines", self.max_lines),
            ("ws_max_operations", self.ws_max_operations),
            ("ws_queue", self.ws_queue),
            ("subscriber_queue", self.subscriber_queue),
        ];
        for (key, value) in at_least_one {
            if value < 1 {
                return refuse(key, "must be at least 1");
            }
        }
        if self.max_depth as usize > limits::MAX_NESTING {
            return refuse("max_depth", &format!("must be at most {}", limits::MAX_NESTING));
        }
        if self.ws_ping_ms == 0 {
            return refuse("ws_ping_ms", "must be above 0");
        }
        Ok(())
    }
}

/// Milliseconds of a setting.
pub(crate) fn millis(setting: u64) -> Duration {
    Duration::from_millis(setting)
}
