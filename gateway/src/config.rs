//! Settings of the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::auth::{ApiKey, JwtOptions, Keys};
use crate::budget::Bounds;
use crate::http::{Cors, ForwardedHeader, Proxies};
use crate::{Audience, Error, WebhookOptions, syntax};

/// Highest rate that can be told apart from none.
const MAX_RATE: u32 = 1_000_000;

/// Most versions of an order that any setting allows.
const MAX_VERSIONS: u32 = 100;

/// Settings of the gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Address of `/graphql` and `/`; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Who may come in.
    pub api_keys: Vec<ApiKey>,
    /// File with further API keys, which may change; empty for none.
    pub api_keys_file: String,
    /// How often that file is looked at, in milliseconds.
    pub api_keys_refresh_ms: u64,
    /// Tokens that are accepted as well.
    pub jwt: JwtOptions,
    /// What the payment provider may report.
    pub webhook: WebhookOptions,
    /// Connections at one time, WebSockets among them; further ones wait to be accepted. At least 1.
    pub max_connections: u32,
    /// Connections of one address at one time, those of trusted proxies excepted; further ones are
    /// closed at once. 0 for no limit.
    pub max_connections_per_address: u32,
    /// Proxies in front of the gateway, as addresses or networks; what they say about where a
    /// request comes from is believed.
    pub trusted_proxies: Vec<String>,
    /// The header in which they say it.
    pub forwarded_header: ForwardedHeader,
    /// Requests of one operator a second, in the long run; 0 for no limit.
    pub operator_rate: u32,
    /// Requests of one operator at once; at least `max_batch` where there is a limit.
    pub operator_burst: u32,
    /// Requests of one customer a second, in the long run; 0 for no limit.
    pub customer_rate: u32,
    /// Requests of one customer at once; at least `max_batch` where there is a limit.
    pub customer_burst: u32,
    /// Queries and mutations of one customer at one time; 0 for no limit.
    pub customer_in_flight: u32,
    /// Of these, queries that read orders at one time, others wait for them; 0 for no limit.
    pub customer_reads: u32,
    /// Requests a second from one address in the long run, of all its customers together and apart from
    /// them of all clients without a key; 0 for no limit.
    pub address_rate: u32,
    /// Requests from one address at once.
    pub address_burst: u32,
    /// Wrong keys a minute from one address, in the long run; 0 for no limit.
    pub wrong_keys_per_minute: u32,
    /// Wrong keys from one address at once; further ones are answered with 429.
    pub wrong_keys_burst: u32,
    /// Principals, and addresses, whose requests are counted each for itself; further ones share
    /// one allowance. At least 1.
    pub max_rate_keys: u32,
    /// Origins whose pages may use the gateway, as browsers write them, or `*`.
    pub cors_origins: Vec<String>,
    /// Smallest answer that is compressed, in bytes; 0 for none at all.
    pub compress_min_bytes: u64,
    /// Whether there is a line in the log for every request (target `comanda::access`).
    pub access_log: bool,
    /// Largest request body and largest WebSocket message, in bytes.
    pub max_body_bytes: u64,
    /// The same for clients without a key, at least 1; the webhook takes `max_body_bytes`.
    pub max_anonymous_body_bytes: u64,
    /// Bytes of requests and messages that have not come whole, and of large ones that are worked
    /// on: of all clients with a key together.
    pub max_request_bytes: u64,
    /// Of all clients without a key together.
    pub max_anonymous_request_bytes: u64,
    /// Of one customer, and of one address without a key; 0 for no limit.
    pub max_request_bytes_per_client: u64,
    /// How long a client may take to send the head of a request, and how long a connection may be
    /// idle, in milliseconds.
    pub head_timeout_ms: u64,
    /// How long a client may take to send the body of a request, and, on Linux, how long it may take
    /// nothing of what is sent to it, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long the answer to a query or mutation may take, in milliseconds.
    pub request_timeout_ms: u64,
    /// Tokens of a GraphQL document.
    pub max_tokens: u32,
    /// Operations of a GraphQL document.
    pub max_operations: u32,
    /// Depth of a GraphQL document: fields within fields, fragments included.
    pub max_depth: u32,
    /// Fields of a GraphQL document, fragments expanded, those below a list of orders multiplied
    /// by the size of its page.
    pub max_complexity: u32,
    /// Fields at the root of an operation, fragments expanded.
    pub max_root_fields: u32,
    /// Aliases in a GraphQL document, fragments expanded.
    pub max_aliases: u32,
    /// Directives in a GraphQL document, fragments expanded.
    pub max_directives: u32,
    /// Values in the variables of a request, lists and objects counted as well.
    pub max_variable_values: u32,
    /// Depth of the variables of a request: values within values.
    pub max_variable_depth: u32,
    /// Valid documents that are kept parsed, at least 1.
    pub document_cache_entries: u32,
    /// What they may take in memory, in bytes, at least 1.
    pub document_cache_bytes: u64,
    /// Who may introspect the schema and gets suggestions in messages. GraphiQL is served where it
    /// is anybody at all.
    pub introspection: Audience,
    /// Path of a manifest of documents that clients ask for by their ids; `""` for none.
    pub persisted_documents: String,
    /// Who may send documents that are not in the manifest.
    pub ad_hoc_documents: Audience,
    /// Whether clients may ask for a document by the SHA-256 of its text, once it was sent.
    pub automatic_persisted_queries: bool,
    /// Orders in one `placeOrders`, at least 1.
    pub max_batch: u32,
    /// Lines of one order, at least 1.
    pub max_lines: u32,
    /// Versions of one order, 1 to 100; it can be cancelled beyond. Payment providers show up to
    /// 100 payments of an order at once, and one that is not shown could be charged again.
    pub max_order_versions: u32,
    /// Changes of one order that have no result yet, at least 1; it can be cancelled beyond.
    pub max_open_changes: u32,
    /// How long a reader waits for the order store to see an event, in milliseconds.
    pub receipt_wait_ms: u64,
    /// Placements remembered so that the same idempotency key is not published twice while the
    /// order store has not seen it; beyond that only the store is asked. As many orders are
    /// remembered that were changed.
    pub max_recent_placements: u32,
    /// Bytes of the placements in the log that are remembered until they are decoded; beyond that
    /// only the store is asked.
    pub max_recent_bytes: u64,
    /// How long a placement is remembered at most, in milliseconds.
    pub recent_placement_ms: u64,
    /// How long a WebSocket client may take to send `connection_init`, in milliseconds.
    pub ws_init_timeout_ms: u64,
    /// How often a WebSocket client is pinged, in milliseconds; one that was not heard of for two
    /// such times is gone.
    pub ws_ping_ms: u64,
    /// Operations that run at one time on one WebSocket, at least 1.
    pub ws_max_operations: u32,
    /// How long a WebSocket may be open without a key, in milliseconds.
    pub ws_anonymous_ms: u64,
    /// WebSockets of one address without a key at one time; 0 for no limit.
    pub max_anonymous_websockets_per_address: u32,
    /// WebSockets of one customer at one time; 0 for no limit.
    pub max_websockets_per_customer: u32,
    /// Pings and other messages that ask for nothing on one WebSocket a second, ten times as many at
    /// once; 0 for no limit.
    pub ws_ping_rate: u32,
    /// Messages that wait to be sent on one WebSocket, at least 1.
    pub ws_queue: u32,
    /// Server-Sent Events: streams at one time, at least 1.
    pub max_event_streams: u32,
    /// Of one customer, or of one address without a key; 0 for no limit.
    pub max_event_streams_per_client: u32,
    /// How often a comment keeps an event stream alive, in milliseconds; a client that takes
    /// nothing for two such times is gone.
    pub event_stream_ping_ms: u64,
    /// Events that wait for one subscriber before it is cut off as too slow, at least 1.
    pub subscriber_queue: u32,
    /// How long accepted requests may go on after the shutdown, in milliseconds.
    pub drain_ms: u64,
}

impl Options {
    /// What no single type can check, the API keys included. Files are not looked into: other roles
    /// have the same settings and may not have the files.
    pub fn validate(&self) -> Result<(), Error> {
        Proxies::parse(&self.trusted_proxies, self.forwarded_header)?;
        Cors::parse(&self.cors_origins)?;
        let refuse = |key, problem: &str| Err(Error::Options { key, problem: problem.into() });
        if let Err(problem) = Keys::parse(&self.api_keys) {
            return refuse("api_keys", &problem);
        }
        self.jwt.validate()?;
        self.webhook.validate()?;
        let at_least_one = [
            ("max_connections", self.max_connections),
            ("max_body_bytes", at_most_u32(self.max_body_bytes)),
            ("max_anonymous_body_bytes", at_most_u32(self.max_anonymous_body_bytes)),
            ("max_request_bytes", at_most_u32(self.max_request_bytes)),
            ("max_anonymous_request_bytes", at_most_u32(self.max_anonymous_request_bytes)),
            ("max_rate_keys", self.max_rate_keys),
            ("document_cache_entries", self.document_cache_entries),
            ("document_cache_bytes", at_most_u32(self.document_cache_bytes)),
            ("max_batch", self.max_batch),
            ("max_lines", self.max_lines),
            ("max_order_versions", self.max_order_versions),
            ("max_open_changes", self.max_open_changes),
            ("max_event_streams", self.max_event_streams),
            ("ws_max_operations", self.ws_max_operations),
            ("ws_queue", self.ws_queue),
            ("subscriber_queue", self.subscriber_queue),
        ];
        for (key, value) in at_least_one {
            if value < 1 {
                return refuse(key, "must be at least 1");
            }
        }
        if self.max_order_versions > MAX_VERSIONS {
            return refuse("max_order_versions", &format!("must be at most {MAX_VERSIONS}"));
        }
        let batch = self.max_batch;
        let rates = [
            ("operator_rate", self.operator_rate, "operator_burst", self.operator_burst, batch),
            ("customer_rate", self.customer_rate, "customer_burst", self.customer_burst, batch),
            ("address_rate", self.address_rate, "address_burst", self.address_burst, 1),
            (
                "wrong_keys_per_minute",
                self.wrong_keys_per_minute,
                "wrong_keys_burst",
                self.wrong_keys_burst,
                1,
            ),
        ];
        let webhook = ("webhook.rate", self.webhook.rate, "webhook.burst", self.webhook.burst, 1);
        for (rate_key, rate, burst_key, burst, least) in rates.into_iter().chain([webhook]) {
            if rate > MAX_RATE {
                return refuse(rate_key, &format!("must be at most {MAX_RATE}"));
            }
            if rate > 0 && burst < least {
                return refuse(burst_key, &format!("must be at least {least}, or {rate_key} 0"));
            }
        }
        if self.max_depth as usize > syntax::MAX_NESTING {
            return refuse("max_depth", &format!("must be at most {}", syntax::MAX_NESTING));
        }
        if self.ad_hoc_documents != Audience::Everybody && self.persisted_documents.is_empty() {
            return refuse("ad_hoc_documents", "can be limited only with persisted_documents");
        }
        for (key, value) in [
            ("ws_ping_ms", self.ws_ping_ms),
            ("ws_anonymous_ms", self.ws_anonymous_ms),
            ("event_stream_ping_ms", self.event_stream_ping_ms),
            ("head_timeout_ms", self.head_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("api_keys_refresh_ms", self.api_keys_refresh_ms),
        ] {
            if value == 0 {
                return refuse(key, "must be above 0");
            }
        }
        Ok(())
    }
}

impl Options {
    /// Bounds of the bytes of requests in the gateway: without a key, and with one.
    pub(crate) fn request_bytes(&self) -> (Bounds, Bounds) {
        let each = bytes(self.max_request_bytes_per_client);
        let anonymous = Bounds { each, all: bytes(self.max_anonymous_request_bytes) };
        (anonymous, Bounds { each, all: bytes(self.max_request_bytes) })
    }

    /// Bytes of a body or message without a key.
    pub(crate) fn max_anonymous_body(&self) -> u64 {
        self.max_anonymous_body_bytes.min(self.max_body_bytes)
    }
}

/// Bytes of a setting, as they are counted in memory.
pub(crate) fn bytes(setting: u64) -> usize {
    usize::try_from(setting).unwrap_or(usize::MAX)
}

fn at_most_u32(setting: u64) -> u32 {
    u32::try_from(setting).unwrap_or(u32::MAX)
}

/// Milliseconds of a setting.
pub(crate) fn millis(setting: u64) -> Duration {
    Duration::from_millis(setting)
}
