//! The consuming side: what the group says, kept for the engine's own thread to act on.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use comanda_schemas::{log_error, log_line};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList, types::RDKafkaRespErr};
use tracing::warn;

use super::offsets::Spans;

/// Limit of one question for committed offsets; the one who asks has other things to do.
const ASK: Duration = Duration::from_secs(1);

/// What the group decided; the engine answers with an assign or unassign of its own.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assigned(Vec<i32>),
    /// `lost`: another process may own them already.
    Revoked {
        partitions: Vec<i32>,
        lost: bool,
    },
}

/// The consumer's callbacks.
///
/// They run inside `poll`, where the engine's state is out of reach, so a decision is only noted;
/// librdkafka waits for the answer as long as it takes, also when the consumer is closed.
#[derive(Debug, Default)]
pub(super) struct Context {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    decisions: VecDeque<Rebalance>,
    closing: bool,
}

impl Context {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The next decision to act on.
    pub fn decision(&self) -> Option<Rebalance> {
        self.state().decisions.pop_front()
    }

    /// From now on decisions are obeyed at once: the engine has committed and is leaving.
    pub fn close(&self) {
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
pub(super) fn answer(
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

/// Answers a decision without taking anything.
pub(super) fn obey(consumer: &BaseConsumer<Context>, topic: &str, decision: Rebalance) {
    let answered = match decision {
        Rebalance::Assigned(_) => answer(consumer, &TopicPartitionList::new(), true),
        Rebalance::Revoked { partitions, .. } => {
            answer(consumer, &list_of(topic, &partitions), false)
        }
    };
    if let Err(error) = answered {
        warn!(%error, "leaving the group");
    }
}

/// Where the group stands in a partition.
#[derive(Debug)]
pub(super) struct Standing {
    pub partition: i32,
    /// The committed offset, and what is finished above it; `None` before the first commit.
    pub at: Option<(i64, Spans)>,
}

/// Where the group stands in each of `partitions`; blocks for some seconds at the most.
pub(super) fn committed(
    consumer: &BaseConsumer<Context>,
    stage: &'static str,
    topic: &str,
    partitions: &[i32],
) -> Result<Vec<Standing>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let list = consumer.committed_offsets(list_of(topic, partitions), ASK)?;
    let standing = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        element.error()?;
        let partition = element.partition();
        let Offset::Offset(next) = element.offset() else {
            return Ok(Standing { partition, at: None });
        };
        let above = Spans::decode(next, element.metadata()).unwrap_or_else(|| {
            warn!(
                stage,
                partition,
                offset = next,
                "the offset's metadata is not ours: what is above it runs again"
            );
            Spans::default()
        });
        Ok(Standing { partition, at: Some((next, above)) })
    };
    list.elements().iter().map(standing).collect()
}

/// `partitions` of `topic`, as librdkafka takes them.
pub(super) fn list_of(topic: &str, partitions: &[i32]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    list
}
