//! How far the readers are behind, from librdkafka's statistics.

use comanda_schemas::{log_error, log_line};
use metrics::gauge;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Statistics, Topic};

use super::metrics::LAG_RECORDS;

/// Takes the lag of one topic out of its client's statistics.
pub(super) struct Context {
    /// Full name of the topic.
    pub topic: String,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        gauge!(LAG_RECORDS, "topic" => self.topic.clone()).set(lag(topic) as f64);
    }
}

impl ConsumerContext for Context {}

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
