//! From librdkafka's delivery report to receipt or error, and the bound on what is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use comanda_schemas::{log_error, log_line};
use metrics::{Gauge, gauge};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka_sys::rd_kafka_msg_status_t as Status;
use tokio::sync::Notify;

use crate::Error;
use crate::answers::{Answers, Outcome, Reply};
use crate::metrics::{IN_FLIGHT_BYTES, IN_FLIGHT_RECORDS};
use crate::singles::Singles;

/// Where the broker stored a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub partition: i32,
    pub offset: i64,
    /// The time that the log has for it, in milliseconds: the record's own, or the broker's where the
    /// topic stamps records itself (LogAppendTime).
    pub timestamp: Option<i64>,
}

/// What waits for a delivery report: who asked, and the room it takes until then.
pub(crate) struct Pending {
    pub reply: Reply,
    pub room: Room,
}

impl Pending {
    /// Gives the room back and has the outcome told.
    pub fn end(self, outcome: Outcome, answers: &Arc<Answers>) {
        drop(self.room);
        if let Some(telling) = self.reply.with(outcome) {
            answers.tell(telling);
        }
    }
}

/// Counts what is in flight.
pub(crate) struct InFlight {
    max_records: u64,
    max_bytes: u64,
    records: AtomicU64,
    bytes: AtomicU64,
    emptied: Notify,
    records_gauge: Gauge,
    bytes_gauge: Gauge,
}

impl InFlight {
    pub fn new(max_records: u64, max_bytes: u64) -> Self {
        Self {
            max_records,
            max_bytes,
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            emptied: Notify::new(),
            records_gauge: gauge!(IN_FLIGHT_RECORDS),
            bytes_gauge: gauge!(IN_FLIGHT_BYTES),
        }
    }

    /// Room for one record of `size` bytes, or [`Error::Overloaded`] at once.
    pub fn enter(self: &Arc<Self>, size: u64) -> Result<Room, Error> {
        let records = self.records.fetch_add(1, Ordering::AcqRel) + 1;
        let bytes = self.bytes.fetch_add(size, Ordering::AcqRel) + size;
        self.records_gauge.increment(1.0);
        self.bytes_gauge.increment(size as f64);
        // Given back on drop, also when refused below.
        let room = Room { of: self.clone(), size };
        if records > self.max_records || bytes > self.max_bytes {
            return Err(Error::Overloaded { records: records - 1, bytes: bytes - size });
        }
        Ok(room)
    }

    /// Records in flight.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Acquire)
    }

    /// Waits until nothing is in flight.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.records() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// The room of one record in flight, given back when dropped.
pub(crate) struct Room {
    of: Arc<InFlight>,
    size: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.records_gauge.decrement(1.0);
        self.of.bytes_gauge.decrement(self.size as f64);
        self.of.bytes.fetch_sub(self.size, Ordering::AcqRel);
        if self.of.records.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.of.emptied.notify_waiters();
        }
    }
}

/// The client's callbacks.
pub(crate) struct Context {
    answers: Arc<Answers>,
    /// Where records of a refused batch go; the client that sends them one by one has none.
    singles: Option<Arc<Singles>>,
}

impl Context {
    pub fn new(answers: Arc<Answers>, singles: Arc<Singles>) -> Self {
        Self { answers, singles: Some(singles) }
    }

    pub fn without_singles(answers: Arc<Answers>) -> Self {
        Self { answers, singles: None }
    }

    /// Who takes a record that was not stored, and sends it again alone.
    fn singles(&self, error: &KafkaError, status: Status) -> Option<&Singles> {
        let is_refused = status == Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
        self.singles.as_deref().filter(|_| is_refused && Singles::are_asked_for(error))
    }

    /// Ends a record that was not stored, unless it is sent again.
    fn refused(&self, error: KafkaError, record: &BorrowedMessage<'_>, pending: Box<Pending>) {
        let status = status(record);
        let (error, pending) = match self.singles(&error, status) {
            None => (error, pending),
            Some(singles) => match singles.send(record, &error, pending) {
                Ok(()) => return,
                Err(failed) => failed,
            },
        };
        pending.end(Err(classify(error, status)), &self.answers);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        let outcome = match result {
            Err((error, record)) => return self.refused(error.clone(), record, pending),
            // Stored, but where is not known: the broker knew the record as one that it had, and
            // not any more where, or a later one told of it. There is no receipt without a place.
            Ok(record) if record.offset() < 0 => Err(Error::OutcomeUnknown(None)),
            Ok(record) => Ok(Stored {
                partition: record.partition(),
                offset: record.offset(),
                timestamp: record.timestamp().to_millis(),
            }),
        };
        pending.end(outcome, &self.answers);
    }
}

/// Whether the broker may have stored the record, as librdkafka knows it.
#[allow(unsafe_code)]
fn status(record: &BorrowedMessage<'_>) -> Status {
    // SAFETY: the pointer is that of a live message, borrowed for this call; the function reads
    // one field of it.
    unsafe { rdkafka_sys::rd_kafka_message_status(record.ptr()) }
}

/// A time-out or a lost connection is a refusal only when nothing can have reached the log.
///
/// librdkafka counts a record as not persisted that was never sent whole, or that the broker
/// refused, and never takes a doubt back (`rd_kafka_msgq_set_metadata`). One answer it trusts too
/// far: that of a broker which failed in a way of its own may come after the record was written.
fn classify(error: KafkaError, status: Status) -> Error {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    match (status, code) {
        (
            Status::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED | Status::RD_KAFKA_MSG_STATUS_PERSISTED,
            _,
        )
        | (Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED, Some(Code::Unknown)) => {
            Error::OutcomeUnknown(Some(error))
        }
        (Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED, Some(code)) => match code {
            Code::MessageTimedOut
            | Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::NotEnoughReplicas
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::PurgeQueue
            | Code::Fatal
            | Code::InvalidProducerEpoch
            | Code::UnknownProducerId
            // Another record of the same batch was refused.
            | Code::InvalidDifferentRecord
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition => Error::Unavailable(error),
            _ => Error::Rejected(error),
        },
        (Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED, None) => Error::Unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed_out() -> KafkaError {
        KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut)
    }

    #[test]
    fn a_time_out_is_unknown_once_the_record_was_sent() {
        let sent = classify(timed_out(), Status::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED);
        assert!(matches!(sent, Error::OutcomeUnknown(_)) && sent.is_retriable());
        let unsent = classify(timed_out(), Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED);
        assert!(matches!(unsent, Error::Unavailable(_)) && unsent.is_retriable());
        let failed = KafkaError::MessageProduction(RDKafkaErrorCode::Unknown);
        let failed = classify(failed, Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED);
        assert!(matches!(failed, Error::OutcomeUnknown(_)), "the broker's own failure");
        let large = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        let refused = classify(large, Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED);
        assert!(matches!(refused, Error::Rejected(_)) && !refused.is_retriable());
    }

    #[test]
    fn room_is_bounded_by_records_and_by_bytes_and_given_back() {
        let in_flight = Arc::new(InFlight::new(2, 100));
        let first = in_flight.enter(60).unwrap();
        assert!(matches!(in_flight.enter(60), Err(Error::Overloaded { records: 1, bytes: 60 })));
        let second = in_flight.enter(40).unwrap();
        assert!(in_flight.enter(0).is_err());
        drop(first);
        let third = in_flight.enter(60).unwrap();
        drop((second, third));
        assert_eq!(in_flight.records(), 0);
    }
}
