//! Names of the projector's metrics.

/// Records written to the store or skipped, by `topic` (counter).
pub const RECORDS_TOTAL: &str = "comanda_projector_records_total";
/// Records that did not decode and were skipped, by `topic` (counter).
pub const UNDECODABLE_TOTAL: &str = "comanda_projector_undecodable_total";
/// Records that the database refuses to store and that were skipped, by `topic` (counter).
pub const REFUSED_TOTAL: &str = "comanda_projector_refused_total";
/// Retries, by `cause` (`kafka`: a broker or topic that is not there; `registry`; `store`) and
/// `topic` (counter).
pub const RETRIES_TOTAL: &str = "comanda_projector_retries_total";
/// Time to write one batch, retries included (histogram).
pub const APPLY_SECONDS: &str = "comanda_projector_apply_seconds";
/// Records in a batch (histogram).
pub const BATCH_RECORDS: &str = "comanda_projector_batch_records";
/// Age, when it was written or last tried, of the first record of the latest batch, by `topic`
/// (gauge).
pub const AGE_SECONDS: &str = "comanda_projector_record_age_seconds";
/// Committed offsets of the topic that were not read yet, by `topic` (gauge). Stands still while
/// the store fails, as nothing is read then; [`RETRIES_TOTAL`] and [`AGE_SECONDS`] tell.
pub const LAG_RECORDS: &str = "comanda_projector_lag_records";
/// Partitions that came to this projector and can't be read yet, by `topic` (gauge): their leader or
/// the order store does not answer, or the topic was made anew.
pub const PARTITIONS_WAITING: &str = "comanda_projector_partitions_waiting";
