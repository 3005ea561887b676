//! Names of the gateway's metrics.

use metrics::Gauge;

/// GraphQL operations over any transport, by `operation` (`query`, `mutation`, `subscription`, or
/// `none` where the document did not get that far) and `outcome` (`ok`, or the code of the first
/// error) (counter).
pub const REQUESTS_TOTAL: &str = "comanda_gateway_requests_total";
/// Time to answer a query or mutation, by `operation` (histogram).
pub const REQUEST_SECONDS: &str = "comanda_gateway_request_seconds";
/// Queries and mutations that are being answered (gauge).
pub const IN_FLIGHT: &str = "comanda_gateway_in_flight_requests";
/// Documents of requests, by `outcome`: `known` (parsed and validated before), `parsed`,
/// or `not_found` (asked for by an id that none is known by) (counter).
pub const DOCUMENTS_TOTAL: &str = "comanda_gateway_documents_total";
/// HTTP requests that were refused before any GraphQL, by `status` (counter).
pub const REFUSED_TOTAL: &str = "comanda_gateway_refused_total";
/// 1 where a source of keys, by its setting (`source`), can't be used and older keys stay in force,
/// else 0 (gauge).
pub const KEYS_STALE: &str = "comanda_gateway_keys_stale";
/// Tokens that were verified, each once, by `outcome`: `good`, or why it was refused (counter).
pub const TOKENS_TOTAL: &str = "comanda_gateway_tokens_verified_total";
/// Requests, operations and orders that were refused as beyond what their client is allowed, by
/// `policy`: `operator`, `customer`, `address`, or `authentication` after too many wrong keys
/// (counter).
pub const RATE_LIMITED_TOTAL: &str = "comanda_gateway_rate_limited_total";
/// Connections that were closed before they asked for anything, by `reason`: `address` (there are
/// too many from one), or `silent` (no request came in time) (counter).
pub const CONNECTIONS_REFUSED_TOTAL: &str = "comanda_gateway_connections_refused_total";
/// Requests for a WebSocket that were refused, by `reason`: `origin`, `rate` or `full` (counter).
pub const WEBSOCKETS_REFUSED_TOTAL: &str = "comanda_gateway_websockets_refused_total";
/// What clients hold, by `budget`: `websockets`, `event_streams`, `request_bytes` (those of requests
/// that have not come whole, or are large) or `catch_ups` (gauge).
pub const BUDGET_HELD: &str = "comanda_gateway_budget_held";
/// Times that a client was to hold more than it may, by `budget` and `scope`: `client` (it holds as
/// much as one client may) or `all` (counter).
pub const BUDGET_REFUSED_TOTAL: &str = "comanda_gateway_budget_refused_total";
/// Open connections, WebSockets among them (gauge).
pub const CONNECTIONS: &str = "comanda_gateway_connections";
/// Open WebSockets (gauge).
pub const WEBSOCKETS: &str = "comanda_gateway_websockets";
/// Open event streams (gauge).
pub const EVENT_STREAMS: &str = "comanda_gateway_event_streams";
/// Subscriptions that are open (gauge).
pub const SUBSCRIPTIONS: &str = "comanda_gateway_subscriptions";
/// Subscribers that were cut off because they were too slow (counter).
pub const SLOW_CONSUMERS_TOTAL: &str = "comanda_gateway_slow_consumers_total";
/// Orders that were to be placed, by `outcome`: `accepted`, `repeated` (the key was used for the
/// same order before), `invalid`, or the code of the failure (counter).
pub const PLACEMENTS_TOTAL: &str = "comanda_gateway_placements_total";
/// Changes that were asked for, by `change` (`update`, `cancel`, `retry`) and `outcome`: `accepted`,
/// `repeated` (it was made before, or there is nothing to change), `invalid`, `refused`, or the code
/// of the failure (counter).
pub const CHANGES_TOTAL: &str = "comanda_gateway_changes_total";
/// Deliveries to the webhook, by `outcome`: `stored`, `known` (the log has it), `ignored` (about
/// nothing of ours), `bad_signature`, `out_of_time`, `malformed`, `unavailable` (counter).
pub const WEBHOOKS_TOTAL: &str = "comanda_gateway_webhooks_total";
/// Placements that are remembered (gauge).
pub const RECENT_PLACEMENTS: &str = "comanda_gateway_recent_placements";
/// Time a placement waited for the orders topic to be read up to its record, by `outcome`: `passed`
/// or `timeout` (histogram). Those that had not to wait are not counted.
pub const LOG_WAIT_SECONDS: &str = "comanda_gateway_log_wait_seconds";
/// Partitions of the orders topic that the gateway's reader can't read yet (gauge).
pub const LOG_PARTITIONS_WAITING: &str = "comanda_gateway_log_partitions_waiting";
/// Time a reader waited for the order store, by `outcome`: `passed` or `timeout` (histogram).
pub const STORE_WAIT_SECONDS: &str = "comanda_gateway_store_wait_seconds";

/// Counts something up while it is there.
pub(crate) struct Held(Gauge);

impl Held {
    pub fn new(name: &'static str) -> Self {
        Self::of(&metrics::gauge!(name))
    }

    /// Where the gauge is at hand: looking it up by its name costs more than counting.
    pub fn of(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
