//! Reading the topics, each on a thread of its own, into facts.

use std::time::{Duration, Instant};

use anyhow::Result;
use comanda_schemas::scan::{From, Scan, ScanError, Step};
use comanda_schemas::{
    DeadLetter, DecodeError, KafkaOptions, NotificationEvent, PaymentEvent, PaymentReport,
    ReadError, Redrive, Redriven, Registry, Source, Stage, Topic, TopicNames,
};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Fact;

/// How long one look for the next record takes.
const LOOK: Duration = Duration::from_millis(100);
/// Facts read ahead of their reader.
const AHEAD: usize = 4096;

/// What a follower tells.
#[derive(Debug)]
pub enum Update {
    /// A fact, and when it was seen.
    Seen(Fact, Instant),
    /// One more topic was read to its end; it is followed on.
    CaughtUp,
    /// A topic can't be read.
    Failed(anyhow::Error),
}

/// Follows all topics until dropped.
pub struct Follower {
    updates: mpsc::Receiver<Update>,
    topics: usize,
    stop: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Events(Topic),
    DeadLetters(Stage),
}

impl Follower {
    /// Begins at `from` on all topics; returns when every topic was found and its point is fixed.
    pub async fn open(
        kafka: &KafkaOptions,
        names: &TopicNames,
        registry: &Registry,
        from: From,
    ) -> Result<Self> {
        let (sender, updates) = mpsc::channel(AHEAD);
        let stop = CancellationToken::new();
        let events = Topic::ALL.into_iter().map(Kind::Events);
        let kinds: Vec<Kind> =
            events.chain(Stage::ALL.into_iter().map(Kind::DeadLetters)).collect();
        let mut opening = Vec::new();
        for kind in &kinds {
            let name = match kind {
                Kind::Events(topic) => names.name(*topic),
                Kind::DeadLetters(stage) => names.dead_letters(*stage),
            };
            let kafka = kafka.clone();
            opening.push(tokio::task::spawn_blocking(move || Scan::open(&kafka, &name, from)));
        }
        for (opening, kind) in opening.into_iter().zip(&kinds) {
            let scan = opening.await?.map_err(hinted)?;
            let reader = Reader {
                kind: *kind,
                registry: registry.clone(),
                runtime: Handle::current(),
                sender: sender.clone(),
                stop: stop.clone(),
            };
            tokio::task::spawn_blocking(move || reader.run(scan));
        }
        Ok(Self { updates, topics: kinds.len(), stop })
    }

    /// How many topics are followed, and so how often [`Update::CaughtUp`] comes.
    pub fn topics(&self) -> usize {
        self.topics
    }

    /// The next update.
    pub async fn next(&mut self) -> Option<Update> {
        self.updates.recv().await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Reader {
    kind: Kind,
    registry: Registry,
    runtime: Handle,
    sender: mpsc::Sender<Update>,
    stop: CancellationToken,
}

impl Reader {
    fn run(self, mut scan: Scan) {
        let mut caught_up = false;
        while !self.stop.is_cancelled() {
            let update = match scan.next(LOOK) {
                Ok(Step::Record(record)) => match self.fact(&record) {
                    Ok(Some(fact)) => Update::Seen(fact, Instant::now()),
                    Ok(None) => continue,
                    Err(error) => Update::Failed(error),
                },
                Ok(Step::End) if !caught_up => {
                    caught_up = true;
                    Update::CaughtUp
                }
                Ok(Step::End | Step::Idle) => continue,
                Err(error) => Update::Failed(error.into()),
            };
            let failed = matches!(update, Update::Failed(_));
            if self.sender.blocking_send(update).is_err() || failed {
                return;
            }
        }
    }

    /// What a record says. `None` for a payment report, and for the note that a dead letter was
    /// redriven: the letter stays what became of its record, and the redriven record is one of its
    /// own.
    fn fact(&self, record: &BorrowedMessage<'_>) -> Result<Option<Fact>> {
        let at = Source {
            topic: record.topic().to_owned(),
            partition: record.partition(),
            offset: record.offset(),
        };
        Ok(Some(match self.kind {
            Kind::Events(Topic::Orders) => {
                let key = record.key().and_then(|k| std::str::from_utf8(k).ok());
                Fact::Order { at, order_id: key.and_then(|k| k.parse().ok()) }
            }
            Kind::Events(Topic::Payments) => match self.read::<PaymentEvent>(record)? {
                Err(_) => Fact::Unreadable { at },
                Ok(event) => Fact::Result {
                    at,
                    of: event.source,
                    order_id: event.order_id,
                    kind: event.r#type,
                    redriven: record.headers().and_then(Redrive::read).is_some(),
                },
            },
            Kind::Events(Topic::Notifications) => match self.read::<NotificationEvent>(record)? {
                Err(_) => Fact::Unreadable { at },
                Ok(event) => Fact::Notification {
                    of: event.source,
                    order_id: event.order_id,
                    kind: event.r#type,
                },
            },
            // What is known besides the results: nothing is owed to it.
            Kind::Events(Topic::PaymentReports) => match self.read::<PaymentReport>(record)? {
                Err(_) => Fact::Unreadable { at },
                Ok(_) => return Ok(None),
            },
            Kind::DeadLetters(_) if record.headers().and_then(Redriven::read).is_some() => {
                return Ok(None);
            }
            Kind::DeadLetters(_) => match record.headers().and_then(DeadLetter::read) {
                None => Fact::Unreadable { at },
                Some(letter) => Fact::DeadLetter {
                    of: Source {
                        topic: letter.topic.to_owned(),
                        partition: letter.partition,
                        offset: letter.offset,
                    },
                },
            },
        }))
    }

    /// The event, or why its bytes are at fault; an error when the registry is.
    fn read<T: DeserializeOwned>(
        &self,
        record: &BorrowedMessage<'_>,
    ) -> Result<Result<T, DecodeError>> {
        let payload = record.payload().unwrap_or_default();
        match self.runtime.block_on(self.registry.read(payload)) {
            Ok(event) => Ok(Ok(event)),
            Err(ReadError::Decode(error)) => Ok(Err(error)),
            Err(ReadError::Registry(error)) => Err(error.into()),
        }
    }
}

/// With what helps, where something does.
fn hinted(error: ScanError) -> anyhow::Error {
    let missing = matches!(error, ScanError::NoTopic(_));
    let error = anyhow::Error::new(error);
    if missing { error.context("`comanda topics apply` creates the topics") } else { error }
}
