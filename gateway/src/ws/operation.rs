//! Operations that run on a connection.

use std::collections::HashMap;

use async_graphql::Value;
use async_graphql::parser::types::OperationType;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::protocol::FromGateway;
use crate::execute::{Answer, Executor, Prepared};
use crate::schema::Asker;

/// A message of an operation. Boxed on its way: a queue keeps room for 32 of them.
pub(super) struct Outgoing {
    id: String,
    serial: u64,
    text: String,
    is_last: bool,
}

/// The operations of one connection. They end with it.
pub(super) struct Operations {
    running: HashMap<String, Running>,
    tasks: JoinSet<()>,
    next_serial: u64,
    outgoing: mpsc::Sender<Box<Outgoing>>,
}

struct Running {
    /// An id can be used again: what an earlier operation still says is not for the new one.
    serial: u64,
    is_subscription: bool,
    task: AbortHandle,
}

impl Operations {
    pub fn new(outgoing: mpsc::Sender<Box<Outgoing>>) -> Self {
        Self { running: HashMap::new(), tasks: JoinSet::new(), next_serial: 0, outgoing }
    }

    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn has(&self, id: &str) -> bool {
        self.running.contains_key(id)
    }

    /// Whether a query or mutation still runs.
    pub fn has_requests(&self) -> bool {
        self.running.values().any(|running| !running.is_subscription)
    }

    pub fn start(&mut self, id: String, executor: &Executor, prepared: Prepared, asker: Asker) {
        let is_subscription = prepared.operation == OperationType::Subscription;
        let serial = self.next_serial;
        self.next_serial += 1;
        let speaker = Speaker { id: id.clone(), serial, outgoing: self.outgoing.clone() };
        // Two kinds of task: a subscription has no room for the execution of a query.
        let task = if is_subscription {
            let answers = executor.subscribe(prepared, asker);
            self.tasks.spawn(async move { speaker.stream(answers).await })
        } else {
            let executor = executor.clone();
            self.tasks.spawn(async move {
                let answer = executor.execute(prepared, asker).await;
                speaker.answer(&answer).await;
            })
        };
        self.running.insert(id, Running { serial, is_subscription, task });
    }

    /// The client does not want it any more.
    pub fn stop(&mut self, id: &str) {
        if let Some(running) = self.running.remove(id) {
            running.task.abort();
        }
    }

    pub fn stop_subscriptions(&mut self) {
        self.running.retain(|_, running| {
            if running.is_subscription {
                running.task.abort();
            }
            !running.is_subscription
        });
    }

    /// The text of a message, where it is of an operation that is still wanted.
    pub fn take(&mut self, outgoing: Outgoing) -> Option<String> {
        let running = self.running.get(&outgoing.id)?;
        if running.serial != outgoing.serial {
            return None;
        }
        if outgoing.is_last {
            self.running.remove(&outgoing.id);
        }
        Some(outgoing.text)
    }

    /// Waits for the end of some task; for ever where there is none.
    pub async fn reap(&mut self) {
        match self.tasks.join_next().await {
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Says what an operation has to say. The queue is bounded: it waits for a client that is slow.
struct Speaker {
    id: String,
    serial: u64,
    outgoing: mpsc::Sender<Box<Outgoing>>,
}

impl Speaker {
    async fn stream(&self, answers: impl Stream<Item = Answer>) {
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            // A failure of the whole subscription, at its start or later, is its end.
            if matches!(answer.data, None | Some(Value::Null)) {
                return self.error(&answer).await;
            }
            self.say(&FromGateway::Next { id: &self.id, payload: &answer }, false).await;
        }
        self.say(&FromGateway::Complete { id: &self.id }, true).await;
    }

    async fn answer(&self, answer: &Answer) {
        if answer.data.is_none() {
            return self.error(answer).await;
        }
        self.say(&FromGateway::Next { id: &self.id, payload: answer }, false).await;
        self.say(&FromGateway::Complete { id: &self.id }, true).await;
    }

    async fn error(&self, answer: &Answer) {
        self.say(&FromGateway::Error { id: &self.id, payload: &answer.errors }, true).await;
    }

    async fn say(&self, message: &FromGateway<'_>, is_last: bool) {
        let (id, serial, text) = (self.id.clone(), self.serial, message.to_text());
        // The connection is gone otherwise, and this task with it.
        let _ = self.outgoing.send(Box::new(Outgoing { id, serial, text, is_last })).await;
    }
}
