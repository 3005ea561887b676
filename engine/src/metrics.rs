//! Names of the engine's metrics, without the prefix that the application chooses, each with the
//! label `stage`; and the handles that the hot path keeps.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Records begun and not yet finished (gauge).
pub const IN_FLIGHT_RECORDS: &str = "in_flight_records";
/// Bytes of the records begun and not yet committed (gauge).
pub const IN_FLIGHT_BYTES: &str = "in_flight_bytes";
/// Those of them that wait behind another one of their key (gauge).
pub const PARKED_RECORDS: &str = "parked_records";
/// Those of them that wait before their next try (gauge).
pub const RETRYING_RECORDS: &str = "retrying_records";
/// Records whose processor holds them until their outcome is known, past any cap (gauge).
pub const HELD_RECORDS: &str = "held_records";
/// How long ago the oldest record was read that is not committed yet (gauge).
pub const WINDOW_AGE_SECONDS: &str = "window_age_seconds";
/// Records handled, by `outcome`: `emitted`, `skipped`, `dead_letter`; `inherited` ones were
/// finished by an earlier owner of their partition (counter).
pub const RECORDS_TOTAL: &str = "records_total";
/// Calls repeated because the processor asked for it (counter).
pub const RETRIES_TOTAL: &str = "retries_total";
/// Notes to be written on records that are held (counter).
pub const NOTES_TOTAL: &str = "notes_total";
/// Time from reading a record to its committed result (histogram).
pub const RECORD_SECONDS: &str = "record_seconds";
/// Time of a transaction, from begin to commit (histogram).
pub const TRANSACTION_SECONDS: &str = "transaction_seconds";
/// Records whose offsets one transaction commits (histogram).
pub const TRANSACTION_RECORDS: &str = "transaction_records";
/// Metadata of a committed offset, which tells what is finished above it (histogram).
pub const METADATA_BYTES: &str = "metadata_bytes";
/// Transactions aborted (counter).
pub const ABORTS_TOTAL: &str = "aborts_total";
/// Transactional producers replaced, because the last one could not be trusted any more (counter).
pub const PRODUCERS_REPLACED_TOTAL: &str = "producers_replaced_total";
/// Transactional producers given up in the middle of a call that did not return (counter).
pub const PRODUCERS_ABANDONED_TOTAL: &str = "producers_abandoned_total";
/// Partitions that came to this process and whose beginning is not known yet (gauge).
pub const WAITING_PARTITIONS: &str = "waiting_partitions";
/// Restarts of the engine in place, because work stood still (counter).
pub const RESTARTS_TOTAL: &str = "restarts_total";
/// Partitions that came or went, by `change`: `assigned`, `revoked`, `lost` (counter).
pub const REBALANCED_TOTAL: &str = "partitions_rebalanced_total";

/// Handles of one stage. Looking a metric up by its name and labels costs more than recording it.
pub(crate) struct Meters {
    pub in_flight_records: Gauge,
    pub in_flight_bytes: Gauge,
    pub parked_records: Gauge,
    pub retrying_records: Gauge,
    pub held_records: Gauge,
    pub window_age_seconds: Gauge,
    pub waiting_partitions: Gauge,
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
    pub assigned: Counter,
    pub revoked: Counter,
    pub lost: Counter,
}

impl Meters {
    /// Of `stage`, in the recorder that is installed now; their names begin with `prefix`.
    pub fn new(prefix: &str, stage: &'static str) -> Self {
        let name = |name| format!("{prefix}_{name}");
        let records =
            |outcome| counter!(name(RECORDS_TOTAL), "stage" => stage, "outcome" => outcome);
        let moved = |change| counter!(name(REBALANCED_TOTAL), "stage" => stage, "change" => change);
        Self {
            in_flight_records: gauge!(name(IN_FLIGHT_RECORDS), "stage" => stage),
            in_flight_bytes: gauge!(name(IN_FLIGHT_BYTES), "stage" => stage),
            parked_records: gauge!(name(PARKED_RECORDS), "stage" => stage),
            retrying_records: gauge!(name(RETRYING_RECORDS), "stage" => stage),
            held_records: gauge!(name(HELD_RECORDS), "stage" => stage),
            window_age_seconds: gauge!(name(WINDOW_AGE_SECONDS), "stage" => stage),
            waiting_partitions: gauge!(name(WAITING_PARTITIONS), "stage" => stage),
            emitted: records("emitted"),
            skipped: records("skipped"),
            dead_letters: records("dead_letter"),
            inherited: records("inherited"),
            retries: counter!(name(RETRIES_TOTAL), "stage" => stage),
            notes: counter!(name(NOTES_TOTAL), "stage" => stage),
            record_seconds: histogram!(name(RECORD_SECONDS), "stage" => stage),
            transaction_seconds: histogram!(name(TRANSACTION_SECONDS), "stage" => stage),
            transaction_records: histogram!(name(TRANSACTION_RECORDS), "stage" => stage),
            metadata_bytes: histogram!(name(METADATA_BYTES), "stage" => stage),
            aborts: counter!(name(ABORTS_TOTAL), "stage" => stage),
            producers_replaced: counter!(name(PRODUCERS_REPLACED_TOTAL), "stage" => stage),
            producers_abandoned: counter!(name(PRODUCERS_ABANDONED_TOTAL), "stage" => stage),
            restarts: counter!(name(RESTARTS_TOTAL), "stage" => stage),
            assigned: moved("assigned"),
            revoked: moved("revoked"),
            lost: moved("lost"),
        }
    }
}
