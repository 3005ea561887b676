//! Where partitions begin and end, asked on a thread of its own: the answer is as far away as the
//! partition's leader, and who reads other partitions must not wait for it.
//!
//! A partition that can't be asked about is asked about again and again, alone.

use std::collections::BTreeMap;
use std::io;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use tracing::warn;

use crate::{TopicId, topic_ids};

/// Limit of one question to the broker.
const ASK: Duration = Duration::from_secs(2);
/// Pause before a partition is asked about again, doubled up to the maximum.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long the thread sleeps when it has nothing to ask.
const IDLE: Duration = Duration::from_secs(3_600);

/// A partition as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which.
    pub partition: i32,
    /// The ticket of the question.
    pub ticket: u64,
    /// The first offset that is still there.
    pub low: i64,
    /// The offset that its next record will get.
    pub high: i64,
    /// Which topic it is of, where the broker tells.
    pub topic_id: Option<TopicId>,
}

/// A question about a partition. A later one takes the place of an earlier one.
struct Question {
    partition: i32,
    ticket: u64,
    at: Instant,
}

/// The thread; it ends once this is dropped.
pub struct PartitionAsker {
    questions: Sender<Question>,
    answers: Receiver<Extent>,
}

impl PartitionAsker {
    /// Starts the thread for partitions of `topic`. `on_failure` hears of each question that failed:
    /// the partition, and why.
    pub fn spawn<C: ConsumerContext + 'static>(
        consumer: Weak<BaseConsumer<C>>,
        topic: String,
        on_failure: impl Fn(i32, &KafkaError) + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, asked) = channel();
        let (answer, answers) = channel();
        let asker = Asker { consumer, topic, answer, on_failure, open: BTreeMap::new() };
        let thread = std::thread::Builder::new().name("partitions".into());
        thread.spawn(move || asker.run(&asked))?;
        Ok(Self { questions, answers })
    }

    /// Asks about a partition after `pause`; the answer has the same ticket.
    pub fn ask(&self, partition: i32, ticket: u64, pause: Duration) {
        // A thread that has ended panicked, and its log tells.
        let _ = self.questions.send(Question { partition, ticket, at: Instant::now() + pause });
    }

    /// The answers that have come.
    pub fn answers(&self) -> impl Iterator<Item = Extent> + '_ {
        self.answers.try_iter()
    }
}

/// A partition that is asked about.
struct Open {
    ticket: u64,
    failures: u32,
    at: Instant,
}

struct Asker<C: ConsumerContext + 'static, F> {
    consumer: Weak<BaseConsumer<C>>,
    topic: String,
    answer: Sender<Extent>,
    on_failure: F,
    open: BTreeMap<i32, Open>,
}

impl<C: ConsumerContext + 'static, F: Fn(i32, &KafkaError)> Asker<C, F> {
    fn run(mut self, asked: &Receiver<Question>) {
        loop {
            let next = self.open.values().map(|open| open.at).min();
            let wait = next.map_or(IDLE, |next| next.saturating_duration_since(Instant::now()));
            match asked.recv_timeout(wait) {
                Ok(question) => self.add(question),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(question) = asked.try_recv() {
                self.add(question);
            }
            let now = Instant::now();
            let mut due: Vec<(u32, i32)> = self
                .open
                .iter()
                .filter(|(_, open)| open.at <= now)
                .map(|(partition, open)| (open.failures, *partition))
                .collect();
            // Those that fail are asked last: each takes its time.
            due.sort_unstable();
            // Held for the length of the calls only: its user closes the consumer.
            let Some(consumer) = self.consumer.upgrade() else { return };
            let id = if due.is_empty() { Ok(None) } else { self.id(&consumer) };
            for (_, partition) in due {
                match &id {
                    Ok(id) => {
                        let extent = consumer.fetch_watermarks(&self.topic, partition, ASK);
                        self.answer(partition, extent, *id);
                    }
                    Err(error) => self.answer(partition, Err(error.clone()), None),
                }
            }
        }
    }

    fn add(&mut self, Question { partition, ticket, at }: Question) {
        self.open.insert(partition, Open { ticket, failures: 0, at });
    }

    fn id(&self, consumer: &BaseConsumer<C>) -> KafkaResult<Option<TopicId>> {
        let ids = topic_ids(consumer.client(), std::slice::from_ref(&self.topic), ASK)?;
        Ok(ids.get(&self.topic).copied())
    }

    fn answer(
        &mut self,
        partition: i32,
        extent: KafkaResult<(i64, i64)>,
        topic_id: Option<TopicId>,
    ) {
        let Some(open) = self.open.get_mut(&partition) else { return };
        match extent {
            Ok((low, high)) => {
                let ticket = open.ticket;
                self.open.remove(&partition);
                // Its user may have ended.
                let _ = self.answer.send(Extent { partition, ticket, low, high, topic_id });
            }
            Err(error) => {
                open.failures += 1;
                (self.on_failure)(partition, &error);
                // Not each time: it can last for as long as a broker is away.
                if open.failures.is_power_of_two() {
                    let (topic, failures) = (&self.topic, open.failures);
                    warn!(topic, partition, failures, %error, "partition can't be read yet, retrying");
                }
                let pause = RETRY * 2u32.saturating_pow(open.failures.min(8) - 1);
                open.at = Instant::now() + pause.min(RETRY_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;
    use crate::ClientLog;

    #[test]
    fn a_partition_without_a_leader_waits_alone() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 3, 1).unwrap();
        cluster.partition_leader("t", 1, None).unwrap();
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
        let consumer: BaseConsumer<ClientLog> = config.create_with_context(ClientLog).unwrap();
        let consumer = Arc::new(consumer);
        let (failed, failures) = channel();
        let asker =
            PartitionAsker::spawn(Arc::downgrade(&consumer), "t".into(), move |partition, _| {
                let _ = failed.send(partition);
            })
            .unwrap();
        for partition in 0..3 {
            asker.ask(partition, 7, Duration::ZERO);
        }
        let mut found = Vec::new();
        let until = Instant::now() + Duration::from_secs(30);
        let mut wait_for = |count: usize| {
            while found.len() < count {
                assert!(Instant::now() < until, "{found:?}");
                found.extend(asker.answers());
                std::thread::sleep(Duration::from_millis(5));
            }
            found.clone()
        };
        let two = wait_for(2);
        assert_eq!(two.iter().map(|extent| extent.partition).collect::<Vec<_>>(), [0, 2]);
        assert!(two.iter().all(|extent| extent.ticket == 7 && extent.topic_id.is_some()));
        assert_eq!(failures.recv_timeout(Duration::from_secs(30)), Ok(1));
        cluster.partition_leader("t", 1, Some(1)).unwrap();
        assert_eq!(wait_for(3)[2].partition, 1);
    }
}
