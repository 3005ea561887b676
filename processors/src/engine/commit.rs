//! Committing: what is ready, and what to do when it fails.

use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::committer::{Committer, Failure};
use super::metrics::{METADATA_BYTES, PRODUCERS_REPLACED_TOTAL, RECORD_SECONDS};
use super::offsets::Spans;
use super::run::{Run, stage};
use super::{Error, Processor};

/// Wait after a failed transaction, doubled up to the maximum.
const COMMIT_RETRY: Duration = Duration::from_millis(100);
const COMMIT_RETRY_MAX: Duration = Duration::from_secs(5);
/// Limit of the question for committed offsets.
const ASK: Duration = Duration::from_secs(30);

impl<P: Processor> Run<P> {
    /// Commits all that is ready; whatever failed in a way that can pass is tried again later.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        if self.commit_after.is_some_and(|(at, _)| Instant::now() < at) {
            return Ok(());
        }
        loop {
            let ready = self.ledger.ready(self.shared.options.max_transaction_records);
            if ready.records == 0 {
                return Ok(());
            }
            if self.committer.is_none() {
                self.open_committer()?;
            }
            let Some(committer) = &self.committer else { return Ok(()) };
            let writes = self.ledger.results(&ready).flat_map(|finished| &finished.writes);
            let committed = committer.commit(writes, &self.topic, &ready, &self.consumer);
            if let Err(failure) = committed {
                return self.commit_failed(failure);
            }
            self.commit_after = None;
            for commit in &ready.commits {
                histogram!(METADATA_BYTES, "stage" => stage::<P>())
                    .record(commit.metadata.len() as f64);
                for finished in self.ledger.committed(commit) {
                    histogram!(RECORD_SECONDS, "stage" => stage::<P>())
                        .record(finished.read_at.elapsed());
                }
            }
        }
    }

    fn commit_failed(&mut self, failure: Failure) -> Result<(), Error> {
        match failure {
            Failure::Fenced => {
                return Err(Error::Fenced { transactional_id: self.transactional_id.clone() });
            }
            Failure::Aborted(error) => {
                warn!(stage = stage::<P>(), %error, "transaction aborted; results are kept");
            }
            Failure::ProducerLost(error) if is_final(&error) => {
                return Err(Self::failed("opening the transactional producer", error));
            }
            Failure::ProducerLost(error) => {
                warn!(stage = stage::<P>(), %error, "transactional producer is replaced");
                counter!(PRODUCERS_REPLACED_TOTAL, "stage" => stage::<P>()).increment(1);
                self.committer = None;
            }
        }
        let pause = self.commit_after.map_or(COMMIT_RETRY, |(_, last)| last * 2);
        let pause = pause.min(COMMIT_RETRY_MAX);
        self.commit_after = Some((Instant::now() + pause, pause));
        Ok(())
    }

    /// Opens a producer and drops the results that turn out to be committed: the transaction of
    /// its predecessor may have gone through after all.
    pub(super) fn open_committer(&mut self) -> Result<(), Error> {
        match Committer::open(&self.producer, stage::<P>()) {
            Ok(committer) => match self.reconcile() {
                Ok(()) => self.committer = Some(committer),
                Err(error) => {
                    warn!(stage = stage::<P>(), %error, "committed offsets are not known yet");
                }
            },
            Err(failure) => self.commit_failed(failure)?,
        }
        Ok(())
    }

    fn reconcile(&mut self) -> Result<(), KafkaError> {
        let partitions: Vec<i32> = self.ledger.partitions().collect();
        for (partition, stands) in self.committed(&partitions)? {
            if let Some((next, above)) = stands {
                self.ledger.reconcile(partition, next, &above);
            }
        }
        Ok(())
    }

    /// Where the group stands in each of `partitions`: the committed offset, if there is one, and
    /// what is finished above it.
    pub(super) fn committed(&self, partitions: &[i32]) -> Result<Vec<(i32, Stands)>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        let list = self.consumer.committed_offsets(list, ASK)?;
        let mut all = Vec::with_capacity(partitions.len());
        for element in list.elements() {
            element.error()?;
            let Offset::Offset(next) = element.offset() else {
                all.push((element.partition(), None));
                continue;
            };
            let above = Spans::decode(next, element.metadata()).unwrap_or_else(|| {
                warn!(
                    stage = stage::<P>(),
                    partition = element.partition(),
                    offset = next,
                    "the offset's metadata is not ours: what is above it runs again"
                );
                Spans::default()
            });
            all.push((element.partition(), Some((next, above))));
        }
        Ok(all)
    }
}

/// Whether the broker refuses the producer's settings or rights, which no waiting changes.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::InvalidTransactionTimeout
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    )
}

/// Where a group stands in a partition.
pub(super) type Stands = Option<(i64, Spans)>;
