//! Names of the engine's metrics; each carries the label `stage`.

/// Records begun and not yet committed (gauge).
pub const IN_FLIGHT_RECORDS: &str = "comanda_engine_in_flight_records";
/// Bytes of the records begun and not yet committed (gauge).
pub const IN_FLIGHT_BYTES: &str = "comanda_engine_in_flight_bytes";
/// Records handled, by `outcome`: `emitted`, `skipped`, `dead_letter`; `inherited` ones were
/// finished by an earlier owner of their partition (counter).
pub const RECORDS_TOTAL: &str = "comanda_engine_records_total";
/// Calls repeated because the processor asked for it (counter).
pub const RETRIES_TOTAL: &str = "comanda_engine_retries_total";
/// Time from reading a record to its committed result (histogram).
pub const RECORD_SECONDS: &str = "comanda_engine_record_seconds";
/// Time of a transaction, from begin to commit (histogram).
pub const TRANSACTION_SECONDS: &str = "comanda_engine_transaction_seconds";
/// Records whose offsets one transaction commits (histogram).
pub const TRANSACTION_RECORDS: &str = "comanda_engine_transaction_records";
/// Metadata of a committed offset, which tells what is finished above it (histogram).
pub const METADATA_BYTES: &str = "comanda_engine_metadata_bytes";
/// Transactions aborted (counter).
pub const ABORTS_TOTAL: &str = "comanda_engine_aborts_total";
/// Transactional producers replaced after a fatal error (counter).
pub const PRODUCERS_REPLACED_TOTAL: &str = "comanda_engine_producers_replaced_total";
/// Partitions that came or went, by `change`: `assigned`, `revoked`, `lost` (counter).
pub const REBALANCED_TOTAL: &str = "comanda_engine_partitions_rebalanced_total";
