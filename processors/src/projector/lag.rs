//! How far the readers are behind, from librdkafka's statistics.

use metrics::gauge;
use rdkafka::statistics::{Statistics, Topic};

use super::metrics::LAG_RECORDS;

/// Sets the gauge of `topic` by the statistics of its reader.
pub(super) fn report(statistics: &Statistics, topic: &str) {
    if let Some(found) = statistics.topics.get(topic) {
        gauge!(LAG_RECORDS, "topic" => topic.to_owned()).set(lag(found) as f64);
    }
}

/// Committed offsets that were not handed over yet.
fn lag(topic: &Topic) -> i64 {
    let read = topic.partitions.values().filter(|p| p.ls_offset >= 0 && p.next_offset >= 0);
    let (mut unread, mut waiting) = (0, 0);
    for partition in read {
        // From the next offset to fetch, which unlike that of the last record moves past a
        // transaction's markers.
        unread += (partition.ls_offset - partition.next_offset).max(0);
        // All partitions show the one queue that they share.
        waiting = waiting.max(partition.fetchq_cnt);
    }
    unread + waiting
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Partition;

    use super::*;

    #[test]
    fn the_lag_is_what_is_committed_and_not_yet_handed_over() {
        let partition = |ls_offset, next_offset| Partition {
            ls_offset,
            next_offset,
            fetchq_cnt: 7,
            ..Partition::default()
        };
        let topic = |partitions: Vec<Partition>| Topic {
            partitions: (0..).zip(partitions).collect(),
            ..Topic::default()
        };
        assert_eq!(lag(&topic(vec![partition(-1, -1001)])), 0, "before the first answer");
        let all = vec![partition(120, 100), partition(50, 50), partition(-1, -1001)];
        assert_eq!(lag(&topic(all)), 27);
    }
}
