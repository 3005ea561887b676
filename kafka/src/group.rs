//! Membership of a consumer group: what the group decides, kept for the polling thread to act on.
//!
//! Everything here is called on that one thread, librdkafka's callbacks included; but for the end of
//! a consumer that somebody else still has.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::{ClientConfig, ClientContext};
use rdkafka::{TopicPartitionList, types::RDKafkaRespErr};
use tracing::warn;

use crate::scan::partitions;
use crate::{log_error, log_line};

/// Adds to `config` what every member of `group` has in common: cooperative rebalances, committed
/// records alone, offsets that nobody commits behind our back.
pub fn configure(config: &mut ClientConfig, group: &str, session_timeout_ms: u64) {
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (session_timeout_ms / 10).max(100).to_string())
        .set("fetch.wait.max.ms", "100")
        // The default of a second makes gaps as long as that when queues are small.
        .set("fetch.queue.backoff.ms", "50")
        .set("queued.max.messages.kbytes", "16384");
}

/// What the group decided; the member answers with [`take_over`] or [`give_back`].
#[derive(Debug, Clone)]
pub enum Rebalance {
    /// These come; to be answered with [`take_over`].
    Assigned(Vec<i32>),
    /// These go; to be answered with [`give_back`].
    Revoked {
        /// Which.
        partitions: Vec<i32>,
        /// Another process may own them already.
        lost: bool,
    },
}

type OnStatistics = Box<dyn Fn(&Statistics) + Send + Sync>;

/// The consumer's callbacks.
///
/// They run inside `poll`, where the member's state is out of reach, so a decision is only noted;
/// librdkafka waits for the answer as long as it takes, also when the consumer is closed.
#[derive(Default)]
pub struct Context {
    state: Mutex<State>,
    on_statistics: Option<OnStatistics>,
}

#[derive(Debug, Default)]
struct State {
    decisions: VecDeque<Rebalance>,
    closing: bool,
}

impl Context {
    /// A context that hands on librdkafka's statistics, where the configuration asks for them.
    pub fn with_statistics(on_statistics: impl Fn(&Statistics) + Send + Sync + 'static) -> Self {
        Self { on_statistics: Some(Box::new(on_statistics)), ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The next decision to act on; the same one until it is answered.
    pub fn decision(&self) -> Option<Rebalance> {
        self.state().decisions.front().cloned()
    }

    fn answered(&self) {
        self.state().decisions.pop_front();
    }

    /// From now on decisions are obeyed at once: the member is done and is leaving.
    fn close(&self) {
        self.state().closing = true;
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(on_statistics) = &self.on_statistics {
            on_statistics(&statistics);
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions: Vec<i32> = list.elements().iter().map(|e| e.partition()).collect();
        let mut state = self.state();
        if state.closing {
            if let Err(error) = answer(consumer, list, false) {
                warn!(%error, "leaving the group");
            }
            return;
        }
        state.decisions.push_back(match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(partitions),
            _ => Rebalance::Revoked { partitions, lost: consumer.assignment_lost() },
        });
    }
}

/// Tells librdkafka that the partitions are taken (`assigned`) or given back.
fn answer(
    consumer: &BaseConsumer<Context>,
    list: &TopicPartitionList,
    assigned: bool,
) -> Result<(), KafkaError> {
    match (consumer.rebalance_protocol(), assigned) {
        (RebalanceProtocol::Cooperative, true) => consumer.incremental_assign(list),
        (RebalanceProtocol::Cooperative, false) => consumer.incremental_unassign(list),
        (_, true) => consumer.assign(list),
        (_, false) => consumer.unassign(),
    }
}

/// Answers that partitions are taken over, whose reading begins later, with [`start`].
pub fn take_over_later(consumer: &BaseConsumer<Context>) -> Result<(), KafkaError> {
    answer(consumer, &TopicPartitionList::new(), true)?;
    consumer.context().answered();
    Ok(())
}

/// Begins to read partitions that were taken over, from the offsets in `list`. Not while a decision
/// waits for its answer.
pub fn start(
    consumer: &BaseConsumer<Context>,
    list: &TopicPartitionList,
    paused: bool,
) -> Result<(), KafkaError> {
    consumer.incremental_assign(list)?;
    if paused { consumer.pause(list) } else { consumer.resume(list) }
}

/// Takes `list` over, which begins to be read from its offsets, or waits where `paused`.
pub fn take_over(
    consumer: &BaseConsumer<Context>,
    list: &TopicPartitionList,
    paused: bool,
) -> Result<(), KafkaError> {
    answer(consumer, list, true)?;
    consumer.context().answered();
    // librdkafka keeps a partition's pause over its unassignment: one that was paused when it was
    // given away would come back paused, and one that comes while we are paused would not be.
    if paused { consumer.pause(list) } else { consumer.resume(list) }
}

/// Gives partitions back.
pub fn give_back(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: &[i32],
) -> Result<(), KafkaError> {
    answer(consumer, &list_of(topic, partitions), false)?;
    consumer.context().answered();
    Ok(())
}

/// Stops or resumes the fetching of all partitions.
pub fn set_paused(consumer: &BaseConsumer<Context>, paused: bool) -> Result<(), KafkaError> {
    let assignment = consumer.assignment()?;
    if paused { consumer.pause(&assignment) } else { consumer.resume(&assignment) }
}

/// Whether `topic` exists; blocks for `limit` at the most.
pub fn has_topic(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    limit: Duration,
) -> Result<bool, KafkaError> {
    Ok(!partitions(consumer, topic, limit)?.is_empty())
}

/// Closes the consumer, however its user ends: whatever the group decides or has decided is obeyed,
/// because librdkafka waits for the answer. To be dropped last of all that has the consumer.
pub struct Closing {
    /// The consumer.
    pub consumer: Arc<BaseConsumer<Context>>,
    /// The topic it is subscribed to.
    pub topic: String,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.consumer.context().close();
        while let Some(decision) = self.consumer.context().decision() {
            let answered = match decision {
                Rebalance::Assigned(_) => answer(&self.consumer, &TopicPartitionList::new(), true),
                Rebalance::Revoked { partitions, .. } => {
                    answer(&self.consumer, &list_of(&self.topic, &partitions), false)
                }
            };
            if let Err(error) = answered {
                warn!(%error, "leaving the group");
            }
            self.consumer.context().answered();
        }
    }
}

/// `partitions` of `topic`, as librdkafka takes them.
pub fn list_of(topic: &str, partitions: &[i32]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    list
}
