//! Where partitions begin that came to this process: a thread that asks Kafka, for each partition
//! by itself, since the answers can be as far away as a leader or the group's coordinator.
//!
//! A partition whose offsets can't be had waits alone and is asked for again; the others start.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use comanda_kafka::TopicId;
use comanda_kafka::group::Context;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use tracing::warn;

use crate::Error;
use crate::committed_offsets::{Standing, committed, end};
use crate::run::Event;
use crate::watch::{Pulse, Watch};

/// Pause before a partition is asked for again, doubled up to the maximum.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long the thread sleeps when it has nothing to ask.
const IDLE: Duration = Duration::from_secs(3_600);

/// Where a partition begins.
#[derive(Debug)]
pub(crate) struct Start {
    /// Which assignment of the partition it was asked for.
    pub ticket: u64,
    /// Where the group stands in it.
    pub standing: Standing,
    /// Where its log ended, after it came to this process.
    pub end: i64,
}

/// What is asked for: partitions, each with its ticket. A later question about a partition takes
/// the place of an earlier one.
type Question = Vec<(i32, u64)>;

/// What the thread needs.
#[derive(Clone)]
pub(crate) struct Setup {
    pub stage: &'static str,
    pub input: Arc<str>,
    /// The id of that topic, where the broker tells.
    pub topic_id: Option<TopicId>,
    pub consumer: Weak<BaseConsumer<Context>>,
    pub events: Sender<Event>,
}

/// The thread as the loop sees it; it ends when this is dropped.
pub(crate) struct PartitionStarter {
    questions: Sender<Question>,
    watch: Watch,
}

impl PartitionStarter {
    /// Starts the thread.
    pub fn spawn(setup: Setup) -> Result<Self, Error> {
        let (questions, asked) = channel();
        let pulse = Pulse::default();
        let watch = Watch::new(pulse.clone());
        let thread = std::thread::Builder::new().name(format!("starts-{}", setup.stage));
        let asker = Asker { setup, pulse, open: BTreeMap::new() };
        thread.spawn(move || asker.run(&asked)).map_err(|_| Error::Thread)?;
        Ok(Self { questions, watch })
    }

    /// Has the beginnings of partitions found out; each comes as an event of its own.
    pub fn ask(&self, partitions: Question) {
        // A thread that has ended panicked; the watch does not see that, the panic's log does.
        let _ = self.questions.send(partitions);
    }

    /// How long its present call has lasted.
    pub fn stuck_for(&mut self) -> Duration {
        self.watch.stuck_for()
    }
}

/// A partition that is asked for.
struct Open {
    ticket: u64,
    /// Once that is known.
    standing: Option<Standing>,
    failures: u32,
    at: Instant,
}

impl Open {
    fn fail(&mut self, setup: &Setup, partition: i32, what: &'static str, error: &KafkaError) {
        self.failures += 1;
        // Not each time: it can last for as long as a broker is away.
        if self.failures.is_power_of_two() {
            let (stage, topic, failures) = (setup.stage, &*setup.input, self.failures);
            warn!(stage, topic, partition, what, failures, %error, "partition can't start yet, retrying");
        }
        let pause = RETRY * 2u32.saturating_pow(self.failures.min(8) - 1);
        self.at = Instant::now() + pause.min(RETRY_MAX);
    }
}

struct Asker {
    setup: Setup,
    pulse: Pulse,
    open: BTreeMap<i32, Open>,
}

impl Asker {
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
            // Held for the length of the calls only: the loop closes the consumer.
            let Some(consumer) = self.setup.consumer.upgrade() else { return };
            let pulse = self.pulse.clone();
            let call = pulse.enter();
            self.ask_group(&consumer);
            drop(call);
            self.ask_leaders(&consumer, asked);
        }
    }

    fn add(&mut self, question: Question) {
        for (partition, ticket) in question {
            let open = Open { ticket, standing: None, failures: 0, at: Instant::now() };
            self.open.insert(partition, open);
        }
    }

    /// Partitions that are due, those that failed least first.
    fn due(&self, wanted: impl Fn(&Open) -> bool) -> Vec<i32> {
        let now = Instant::now();
        let due = self.open.iter().filter(|(_, open)| open.at <= now && wanted(open));
        let mut due: Vec<(u32, i32)> = due.map(|(p, open)| (open.failures, *p)).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, partition)| partition).collect()
    }

    /// The committed offsets of all that are due, in one question.
    fn ask_group(&mut self, consumer: &BaseConsumer<Context>) {
        let due = self.due(|open| open.standing.is_none());
        if due.is_empty() {
            return;
        }
        let (stage, input) = (self.setup.stage, &self.setup.input);
        let what = "committed offset";
        match committed(consumer, stage, input, self.setup.topic_id, &due) {
            Ok(answers) => {
                for (partition, answer) in answers {
                    let Some(open) = self.open.get_mut(&partition) else { continue };
                    match answer {
                        Ok(standing) => open.standing = Some(standing),
                        Err(error) => open.fail(&self.setup, partition, what, &error),
                    }
                }
            }
            Err(error) => {
                for partition in due {
                    if let Some(open) = self.open.get_mut(&partition) {
                        open.fail(&self.setup, partition, what, &error);
                    }
                }
            }
        }
    }

    /// The ends of the logs, one by one. One that does not answer takes a second, so new questions
    /// come in between.
    fn ask_leaders(&mut self, consumer: &BaseConsumer<Context>, asked: &Receiver<Question>) {
        let pulse = self.pulse.clone();
        for partition in self.due(|open| open.standing.is_some()) {
            let call = pulse.enter();
            let end = end(consumer, &self.setup.input, partition);
            drop(call);
            let Some(open) = self.open.get_mut(&partition) else { continue };
            match (end, open.standing.take()) {
                (Ok(end), Some(standing)) => {
                    let start = Start { ticket: open.ticket, standing, end };
                    self.open.remove(&partition);
                    // The loop may have ended.
                    let _ = self.setup.events.send(Event::Start(start));
                }
                (Err(error), standing) => {
                    open.standing = standing;
                    open.fail(&self.setup, partition, "end of the log", &error);
                    if let Ok(question) = asked.try_recv() {
                        self.add(question);
                        return;
                    }
                }
                (Ok(_), None) => {}
            }
        }
    }
}
