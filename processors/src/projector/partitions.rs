//! Where to go on in each partition of a topic.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use tracing::warn;

/// Limit of one question to the broker. Shutdown waits for it at most.
pub(super) const ASK: Duration = Duration::from_secs(2);

/// Where to begin in a partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub partition: i32,
    pub offset: Offset,
    /// Where it ends now; `None` when there is nothing to read before that.
    pub behind: Option<i64>,
}

/// Where to begin in each of `partitions`, given how far the store came.
pub(super) fn starts<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    positions: &HashMap<i32, i64>,
) -> KafkaResult<Vec<Start>> {
    let start = |partition: &i32| {
        let (low, high) = consumer.fetch_watermarks(topic, *partition, ASK)?;
        Ok(start(topic, *partition, positions.get(partition).copied(), low, high))
    };
    partitions.iter().map(start).collect()
}

fn start(topic: &str, partition: i32, position: Option<i64>, low: i64, high: i64) -> Start {
    let (offset, next) = match position {
        None => (Offset::Beginning, low),
        Some(position) if position > high => {
            warn!(
                topic,
                partition,
                position,
                end = high,
                "the topic ends before what the store has read of it: it was created anew or has \
                 lost records, and is read from its beginning; a new store would be cleaner"
            );
            (Offset::Beginning, low)
        }
        Some(position) if position < low => {
            warn!(
                topic,
                partition,
                position,
                begin = low,
                "records that the store has not read were deleted by the topic's retention"
            );
            (Offset::Beginning, low)
        }
        Some(position) => (Offset::Offset(position), position),
    };
    Start { partition, offset, behind: (next < high).then_some(high) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: Option<i64>) -> (Offset, Option<i64>) {
        let Start { offset, behind, partition } = start("orders", 3, position, 10, 20);
        assert_eq!(partition, 3);
        (offset, behind)
    }

    #[test]
    fn a_partition_goes_on_where_the_store_stands_or_begins_where_that_is_not_there() {
        assert_eq!(at(Some(10)), (Offset::Offset(10), Some(20)));
        assert_eq!(at(Some(19)), (Offset::Offset(19), Some(20)));
        assert_eq!(at(Some(20)), (Offset::Offset(20), None));
        assert_eq!(at(None), (Offset::Beginning, Some(20)));
        assert_eq!(at(Some(9)), (Offset::Beginning, Some(20)), "deleted by retention");
        assert_eq!(at(Some(21)), (Offset::Beginning, Some(20)), "created anew");
        assert_eq!(start("orders", 0, None, 0, 0).behind, None, "an empty partition");
    }
}
