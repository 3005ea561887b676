//! The consuming side: what the group says, kept for the engine's own thread to act on.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use comanda_schemas::{log_error, log_line};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::{TopicPartitionList, types::RDKafkaRespErr};
use tracing::warn;

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
/// librdkafka waits for the answer as long as it takes.
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
