//! Reading a topic to its end, and making sure that this is its real end.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comanda_schemas::scan::{From, Scan, Step};
use comanda_schemas::{ClientLog, KafkaOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;

use super::Desk;

/// How long one look for the next record takes; a signal is noticed that late.
const LOOK: Duration = Duration::from_millis(200);
/// Limit of one question to the broker.
const ASK: Duration = Duration::from_secs(10);
/// How long to wait for transactions of others beyond the time that a dead one may stay open.
const SETTLE: Duration = Duration::from_secs(30);
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

impl Desk {
    /// Hands each committed record of `topic` from `from` on to `each`, to the end of the topic or
    /// until `each` breaks off. A signal is an error.
    pub fn walk(
        &self,
        topic: &str,
        from: From,
        mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let opened = Scan::open(&self.settings.kafka, topic, from);
        let mut scan = opened.with_context(|| {
            let brokers = &self.settings.kafka.brokers;
            format!("is Kafka at {brokers}, and did `comanda topics apply` create its topics?")
        })?;
        loop {
            self.go_on()?;
            match scan.next(LOOK)? {
                Step::Record(record) => {
                    if each(&record)?.is_break() {
                        return Ok(());
                    }
                }
                Step::End => return Ok(()),
                Step::Idle => {}
            }
        }
    }

    /// An error once a signal has come.
    pub fn go_on(&self) -> Result<()> {
        if self.shutdown.is_cancelled() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits until all that stands in `topic` at this moment can be read.
    pub fn settle(&self, topic: &str) -> Result<()> {
        let patience = SETTLE + Duration::from_millis(self.settings.engine.transaction_timeout_ms);
        let (ends, until) = (Ends::of(&self.settings.kafka, topic)?, Instant::now() + patience);
        let mut told = false;
        for (partition, goal) in ends.all()? {
            while ends.readable(partition)? < goal {
                self.go_on()?;
                if !told {
                    note!("waits for a transaction to end that is open in {topic}");
                    told = true;
                }
                if Instant::now() > until {
                    bail!("a transaction has been open in {topic} for {}s", patience.as_secs());
                }
                std::thread::sleep(SETTLE_PAUSE);
            }
        }
        Ok(())
    }

    /// Whether a part of `topic` can't be read at this moment.
    pub fn is_hidden(&self, topic: &str) -> Result<bool> {
        let ends = Ends::of(&self.settings.kafka, topic)?;
        for (partition, end) in ends.all()? {
            if ends.readable(partition)? < end {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where the partitions of a topic end.
///
/// A `read_committed` reader sees nothing behind the first open transaction, and takes that for
/// the end. A process that died in the middle of one so hides letters for a while, and notes that
/// letters were redriven.
struct Ends {
    topic: String,
    uncommitted: BaseConsumer<ClientLog>,
    committed: BaseConsumer<ClientLog>,
}

impl Ends {
    fn of(kafka: &KafkaOptions, topic: &str) -> Result<Self> {
        let reader = |isolation: &str| -> Result<BaseConsumer<ClientLog>> {
            let mut config = kafka.client_config("dlq");
            config.set("group.id", "comanda-dlq").set("isolation.level", isolation);
            config.create_with_context(ClientLog).context("creating a consumer")
        };
        let (uncommitted, committed) = (reader("read_uncommitted")?, reader("read_committed")?);
        Ok(Self { topic: topic.to_owned(), uncommitted, committed })
    }

    /// Each partition with its end.
    fn all(&self) -> Result<Vec<(i32, i64)>> {
        let metadata = self.uncommitted.fetch_metadata(Some(&self.topic), ASK);
        let metadata = metadata.with_context(|| format!("asking for {}", self.topic))?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.map(|p| Ok((p.id(), self.end(&self.uncommitted, p.id())?))).collect()
    }

    /// How far `partition` can be read.
    fn readable(&self, partition: i32) -> Result<i64> {
        self.end(&self.committed, partition)
    }

    fn end(&self, reader: &BaseConsumer<ClientLog>, partition: i32) -> Result<i64> {
        let ends = reader.fetch_watermarks(&self.topic, partition, ASK);
        let (_, end) = ends.with_context(|| format!("asking for the end of {}", self.topic))?;
        Ok(end)
    }
}
