//! Names of the metrics of calls to providers; each carries the labels `provider` and `call`.

/// Requests, by `outcome`: the class of the status (`2xx`, `4xx`, …), or what became of a request
/// without an answer: `not_sent`, `timed_out`, `broken` (counter).
pub const REQUESTS_TOTAL: &str = "comanda_provider_requests_total";
/// Time from sending a request to the end of its answer, or to giving it up (histogram).
pub const REQUEST_SECONDS: &str = "comanda_provider_request_seconds";
/// Since when a provider counts as away, in seconds of Unix time; 0 while it answers. By `provider` and
/// `stage`, without the label `call` (gauge).
pub const AWAY_SINCE_SECONDS: &str = "comanda_provider_away_since_seconds";
/// Waits before the same thing is tried again, without the label `call` (counter).
pub const RETRIES_TOTAL: &str = "comanda_provider_retries_total";
