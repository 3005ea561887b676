//! What the settings of topics that are there mean for the promises.

use std::fmt;
use std::time::Duration;

use comanda_processors::engine::MAX_MESSAGE_BYTES;
use rdkafka::admin::ResourceSpecifier;

use crate::config::Topics;

/// Size of a batch that librdkafka gathers, and of a record that the gateway writes, at the most.
const BATCH_BYTES: u64 = 1_000_000;

/// What is to be said of the topics.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What breaks a promise.
    pub problems: Vec<String>,
    /// What works, and yet is not as the settings or the promises want it.
    pub remarks: Vec<String>,
}

/// A topic as it is.
pub(super) struct Found<'a> {
    pub name: &'a str,
    /// Whether it is the topic that the gateway writes to.
    pub is_orders: bool,
    pub replicas: usize,
    /// One of its settings by name.
    pub get: &'a dyn Fn(&str) -> Option<String>,
}

impl Found<'_> {
    fn number(&self, key: &str) -> Option<i64> {
        (self.get)(key)?.parse().ok()
    }
}

impl Findings {
    /// The settings could not be asked for.
    pub fn unknown(&mut self, what: &ResourceSpecifier<'_>, code: impl fmt::Display) {
        let what = match what {
            ResourceSpecifier::Topic(name) => format!("topic {name}"),
            ResourceSpecifier::Broker(id) => format!("broker {id}"),
            ResourceSpecifier::Group(id) => format!("group {id}"),
        };
        self.remarks.push(format!("the settings of {what} can't be read: {code}"));
    }

    /// Adds what is to be said of a topic.
    pub fn look_at(&mut self, found: &Found<'_>, wanted: &Topics) {
        let name = found.name;
        if (found.get)("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            self.problems.push(format!(
                "topic {name} is compacted: of each order only the last event would stay. Set its \
                 cleanup.policy to delete"
            ));
        }
        if (found.get)("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime") {
            self.problems.push(format!(
                "topic {name} replaces the time of each record (LogAppendTime), on which receipts \
                 and the redrive of dead letters rely. Set its message.timestamp.type to CreateTime"
            ));
        }
        let largest = found.number("max.message.bytes").and_then(|n| u64::try_from(n).ok());
        let least = if found.is_orders { BATCH_BYTES } else { MAX_MESSAGE_BYTES.into() };
        if let Some(largest) = largest.filter(|largest| *largest < least) {
            self.remarks.push(format!(
                "topic {name} takes records and batches up to {largest} bytes \
                 (max.message.bytes); comanda writes up to {least}"
            ));
        }
        if let Some(retention) = found.number("retention.ms")
            && retention != wanted.retention_ms
        {
            self.remarks.push(format!(
                "topic {name} keeps records for {}, topics.retention_ms says {}",
                days(retention),
                days(wanted.retention_ms)
            ));
        }
        self.look_at_replicas(found, wanted);
    }

    fn look_at_replicas(&mut self, found: &Found<'_>, wanted: &Topics) {
        let (name, replicas) = (found.name, found.replicas);
        if usize::try_from(wanted.replication_factor).is_ok_and(|wanted| wanted != replicas) {
            self.remarks.push(format!(
                "topic {name} has {replicas} replicas, topics.replication_factor says {}",
                wanted.replication_factor
            ));
        }
        let in_sync = found.number("min.insync.replicas");
        if replicas > 1 && in_sync == Some(1) {
            self.remarks.push(format!(
                "topic {name} has {replicas} replicas, but one in sync is enough to accept an event \
                 (min.insync.replicas = 1), and it can be lost with that one"
            ));
        }
        if (found.get)("unclean.leader.election.enable").is_some_and(|value| value == "true") {
            self.remarks.push(format!(
                "topic {name} may lose accepted events for the sake of a quicker leader \
                 (unclean.leader.election.enable)"
            ));
        }
    }

    /// Adds what is to be said of how long the broker remembers where groups stand.
    pub fn compare_offsets_retention(&mut self, minutes: Option<&str>, wanted: &Topics) {
        let Some(minutes) = minutes.and_then(|minutes| minutes.parse::<i64>().ok()) else { return };
        let offsets = minutes.saturating_mul(60_000);
        if wanted.retention_ms < 0 || offsets < wanted.retention_ms {
            self.remarks.push(format!(
                "the broker forgets where a group stands that has had no member for {} \
                 (offsets.retention.minutes); the topics keep records for {}, and a processor that \
                 comes back later reads all of them again",
                days(offsets),
                days(wanted.retention_ms)
            ));
        }
    }
}

/// A time of settings in days, or in a smaller unit where it is none.
fn days(millis: i64) -> String {
    const DAY: u64 = 24 * 3600;
    let Ok(millis) = u64::try_from(millis) else { return "ever".to_owned() };
    let seconds = Duration::from_millis(millis).as_secs();
    match seconds {
        s if s >= DAY && s % DAY == 0 => format!("{} days", s / DAY),
        s => format!("{s} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn wanted() -> Topics {
        Topics {
            prefix: String::new(),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
            payment_reports: "payment-reports".into(),
            partitions: 6,
            replication_factor: 3,
            retention_ms: 2_592_000_000,
        }
    }

    /// What is said of a topic that is as it should be but for `settings`.
    fn findings(is_orders: bool, replicas: usize, settings: &[(&str, &str)]) -> Findings {
        let good = [
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "CreateTime"),
            ("max.message.bytes", "16777216"),
            ("retention.ms", "2592000000"),
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "false"),
        ];
        let all: HashMap<&str, &str> = good.iter().chain(settings).copied().collect();
        let get = |key: &str| all.get(key).map(|value| (*value).to_owned());
        let mut findings = Findings::default();
        findings.look_at(&Found { name: "t", is_orders, replicas, get: &get }, &wanted());
        findings
    }

    #[test]
    fn a_topic_that_would_break_a_promise_is_refused() {
        for (key, value) in [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("message.timestamp.type", "LogAppendTime"),
        ] {
            let found = findings(false, 3, &[(key, value)]);
            assert_eq!(found.problems.len(), 1, "{key} {value}");
            assert!(found.problems[0].contains(key), "{found:?}");
            assert!(found.remarks.is_empty(), "{found:?}");
        }
        let good = findings(false, 3, &[]);
        assert!(good.problems.is_empty() && good.remarks.is_empty(), "{good:?}");
    }

    #[test]
    fn what_a_broker_made_by_itself_is_told() {
        let by_itself = [
            ("retention.ms", "604800000"),
            ("max.message.bytes", "1048588"),
            ("min.insync.replicas", "1"),
            ("unclean.leader.election.enable", "true"),
        ];
        let told = findings(false, 2, &by_itself);
        assert!(told.problems.is_empty(), "{told:?}");
        let told = told.remarks.join("\n");
        for words in [
            "keeps records for 7 days, topics.retention_ms says 30 days",
            "up to 1048588 bytes",
            "has 2 replicas, topics.replication_factor says 3",
            "min.insync.replicas",
            "unclean",
        ] {
            assert!(told.contains(words), "{words} in {told}");
        }
        let orders = findings(true, 3, &[("max.message.bytes", "1048588")]);
        assert!(orders.remarks.is_empty(), "larger than what is written there: {orders:?}");
        let orders = findings(true, 3, &[("max.message.bytes", "50000")]);
        assert_eq!(orders.remarks.len(), 1, "{orders:?}");
    }

    #[test]
    fn offsets_that_are_forgotten_before_the_records_are_told() {
        let told = |minutes| {
            let mut findings = Findings::default();
            findings.compare_offsets_retention(minutes, &wanted());
            findings.remarks.len()
        };
        assert_eq!([told(Some("10080")), told(Some("43200")), told(None)], [1, 0, 0]);
    }
}
