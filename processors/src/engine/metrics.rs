//! Names of the engine's metrics, each with the label `stage`, and the handles that the hot path
//! keeps.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Records begun and not yet finished (gauge).
pub const IN_FLIGHT_RECORDS: &str = "comanda_engine_in_flight_records";
/// Bytes of the records begun and not yet committed (gauge).
pub const IN_FLIGHT_BYTES: &str = "comanda_engine_in_flight_bytes";
/// Those of them that wait behind another one of their key (gauge).
pub const PARKED_RECORDS: &str = "comanda_engine_parked_records";
/// Those of them that wait before their next try (gauge).
pub const RETRYING_RECORDS: &str = "comanda_engine_retrying_records";
/// Records whose processor holds them until their outcome is known, past any cap (gauge).
pub const HELD_RECORDS: &str = "comanda_engine_held_records";
/// How long ago the oldest record was read that is not committed yet (gauge).
pub const WINDOW_AGE_SECONDS: &str = "comanda_engine_window_age_seconds";
/// Records handled, by `outcome`: `emitted`, `skipped`, `dead_letter`; `inherited` ones were
/// finished by an earlier owner of their partition (counter).
pub const RECORDS_TOTAL: &str = "comanda_engine_records_total";
/// Calls repeated because the processor asked for it (counter).
pub const RETRIES_TOTAL: &str = "comanda_engine_retries_total";
/// Notes to be written on records that are held (counter).
pub const NOTES_TOTAL: &str = "comanda_engine_notes_total";
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
/// Transactional producers replaced, because the last one could not be trusted any more (counter).
pub const PRODUCERS_REPLACED_TOTAL: &str = "comanda_engine_producers_replaced_total";
/// Transactional producers given up in the middle of a call that did not return (counter).
pub const PRODUCERS_ABANDONED_TOTAL: &str = "comanda_engine_producers_abandoned_total";
/// Restarts of the engine in place, because work stood still (counter).
pub const RESTARTS_TOTAL: &str = "comanda_engine_restarts_total";
/// Partitions that came or went, by `change`: `assigned`, `revoked`, `lost` (counter).
pub const REBALANCED_TOTAL: &str = "comanda_engine_partitions_rebalanced_total";

/// Handles of one stage. Looking a metric up by its name and labels costs more than recording it.
pub(super) struct Meters {
    pub in_flight_records: Gauge,
    pub in_flight_bytes: Gauge,
    pub parked_records: Gauge,
    pub retrying_records: Gauge,
    pub held_records: Gauge,
    pub window_age_seconds: Gauge,
    pub emitted: Counter,
    pub skipped: Counter,
    pub dead_letters: Counter,
    pub inherited: Counter,
    pub retries: Counter,
    pub notes: Counter,
    pub record_seconds: Histogram,
    pub transaction_seconds: Histogram,
    pub transaction_records: Histogram,
    pub metadata_bytes: Histogram,
    pub aborts: Counter,
    pub producers_replaced: Counter,
    pub producers_abandoned: Counter,
    pub restarts: Counter,
}

impl Meters {
    /// Of `stage`, in the recorder that is installed now.
    pub fn new(stage: &'static str) -> Self {
        let records = |outcome| counter!(RECORDS_TOTAL, "stage" => stage, "outcome" => outcome);
        Self {
            in_flight_records: gauge!(IN_FLIGHT_RECORDS, "stage" => stage),
            in_flight_bytes: gauge!(IN_FLIGHT_BYTES, "stage" => stage),
            parked_records: gauge!(PARKED_RECORDS, "stage" => stage),
            retrying_records: gauge!(RETRYING_RECORDS, "stage" => stage),
            held_records: gauge!(HELD_RECORDS, "stage" => stage),
            window_age_seconds: gauge!(WINDOW_AGE_SECONDS, "stage" => stage),
            emitted: records("emitted"),
            skipped: records("skipped"),
            dead_letters: records("dead_letter"),
            inherited: records("inherited"),
            retries: counter!(RETRIES_TOTAL, "stage" => stage),
            notes: counter!(NOTES_TOTAL, "stage" => stage),
            record_seconds: histogram!(RECORD_SECONDS, "stage" => stage),
            transaction_seconds: histogram!(TRANSACTION_SECONDS, "stage" => stage),
            transaction_records: histogram!(TRANSACTION_RECORDS, "stage" => stage),
            metadata_bytes: histogram!(METADATA_BYTES, "stage" => stage),
            aborts: counter!(ABORTS_TOTAL, "stage" => stage),
            producers_replaced: counter!(PRODUCERS_REPLACED_TOTAL, "stage" => stage),
            producers_abandoned: counter!(PRODUCERS_ABANDONED_TOTAL, "stage" => stage),
            restarts: counter!(RESTARTS_TOTAL, "stage" => stage),
        }
    }
}
