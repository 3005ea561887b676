//! Names of the producer's metrics.

/// Events published, by `outcome`: `stored`, or the kind of the error (counter).
pub const PUBLISHED_TOTAL: &str = "comanda_producer_published_total";
/// Time from `publish` to the broker's acknowledgement, of stored events (histogram).
pub const PUBLISH_SECONDS: &str = "comanda_producer_publish_seconds";
/// Records that wait for their acknowledgement (gauge).
pub const IN_FLIGHT_RECORDS: &str = "comanda_producer_in_flight_records";
/// Bytes that wait for their acknowledgement (gauge).
pub const IN_FLIGHT_BYTES: &str = "comanda_producer_in_flight_bytes";
/// Records that were sent again alone, because their batch was refused (counter).
pub const SINGLED_OUT_TOTAL: &str = "comanda_producer_singled_out_total";
/// Producers replaced after a fatal error (counter).
pub const REPLACED_TOTAL: &str = "comanda_producer_replaced_total";
