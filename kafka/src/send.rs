//! Handing records to a producer whose queue may be full.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};

/// How long to wait for room in the queue before looking again.
const PAUSE: Duration = Duration::from_millis(1);

/// Hands over `record`; blocks as long as librdkafka's queue is full. For producers that are fed
/// by one thread, which has nothing better to do: the queue empties by itself, at the latest when
/// the messages in it time out.
pub fn send_when_there_is_room<C>(
    producer: &ThreadedProducer<C>,
    mut record: BaseRecord<'_, [u8], [u8]>,
) -> Result<(), KafkaError>
where
    C: ProducerContext<DeliveryOpaque = ()> + 'static,
{
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((error, back))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
            {
                std::thread::sleep(PAUSE);
                record = back;
            }
            Err((error, _)) => return Err(error),
        }
    }
}
