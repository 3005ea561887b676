//! Where to go on in a partition of a topic, and whether it may be gone on with at all.

use comanda_kafka::TopicId;
use comanda_kafka::starts::Extent;
use rdkafka::Offset;
use std::time::Duration;
use tracing::{error, warn};

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

/// The topic is not the one that the store was written from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherTopic {
    /// Why, for an operator.
    pub reason: String,
}

/// Where to begin, given how far the store came in the partition, and in which topic of this name.
///
/// Offsets mean nothing in a topic that was made anew: going on would skip what stands below them,
/// without a word. Whether what the store has of the old topic is still wanted, an operator knows.
pub(super) fn start(
    topic: &str,
    Extent { partition, low, high, topic_id, .. }: Extent,
    position: Option<i64>,
    known: Option<TopicId>,
) -> Result<Start, OtherTopic> {
    let advice = format!(
        "`comanda store reread {topic}` has it read from its beginning and keeps what the store \
         has; `comanda store rebuild` makes a store of the topics alone"
    );
    if let (Some(known), Some(now)) = (known, topic_id)
        && known != now
    {
        let reason = format!(
            "topic {topic} was deleted and made anew since the store was written from it, and is \
             not read: {advice}"
        );
        return Err(OtherTopic { reason });
    }
    let (offset, next) = match position {
        None => (Offset::Beginning, low),
        Some(position) if position > high => {
            if known.is_none() {
                let reason = format!(
                    "topic {topic} ends at {high} in partition {partition}, of which the store has \
                     read {position}: it was made anew or has lost records, and is not read: \
                     {advice}"
                );
                return Err(OtherTopic { reason });
            }
            error!(
                topic,
                partition,
                position,
                end = high,
                "the topic has lost records that the store has read; the partition is read from its \
                 beginning"
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
    Ok(Start { partition, offset, behind: (next < high).then_some(high) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> Option<TopicId> {
        digit.to_string().repeat(32).parse().ok()
    }

    fn from(
        position: Option<i64>,
        known: Option<TopicId>,
        topic_id: Option<TopicId>,
    ) -> Result<(Offset, Option<i64>), OtherTopic> {
        let extent = Extent { partition: 3, ticket: 0, low: 10, high: 20, topic_id };
        let Start { offset, behind, partition } = start("orders", extent, position, known)?;
        assert_eq!(partition, 3);
        Ok((offset, behind))
    }

    #[test]
    fn a_partition_goes_on_where_the_store_stands_or_begins_where_that_is_not_there() {
        let at = |position| from(position, id('1'), id('1')).unwrap();
        assert_eq!(at(Some(10)), (Offset::Offset(10), Some(20)));
        assert_eq!(at(Some(19)), (Offset::Offset(19), Some(20)));
        assert_eq!(at(Some(20)), (Offset::Offset(20), None));
        assert_eq!(at(None), (Offset::Beginning, Some(20)));
        assert_eq!(at(Some(9)), (Offset::Beginning, Some(20)), "deleted by retention");
        assert_eq!(at(Some(21)), (Offset::Beginning, Some(20)), "its tail is lost");
        let empty = Extent { partition: 0, ticket: 0, low: 0, high: 0, topic_id: None };
        assert_eq!(start("orders", empty, None, None).unwrap().behind, None);
    }

    #[test]
    fn a_topic_that_was_made_anew_is_not_read_on() {
        for position in [None, Some(10), Some(15), Some(21)] {
            let told = from(position, id('1'), id('2')).unwrap_err();
            assert!(told.reason.contains("comanda store reread orders"), "{told:?}");
        }
        // A broker that tells no ids: the end of the log does.
        assert!(from(Some(21), None, None).is_err());
        assert!(from(Some(21), None, id('1')).is_err());
        assert!(from(Some(20), None, None).is_ok() && from(Some(20), None, id('1')).is_ok());
    }
}
