//! Records that were refused for what stood beside them: sent again, each in a batch of its own.
//!
//! librdkafka gathers up to a megabyte in one batch, and a broker refuses a batch as a whole: where
//! the topic's `max.message.bytes` is below that, and where one record of it is not valid. Nothing
//! of a refused batch is stored. A record that is refused alone is the one at fault.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::counter;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Message as _};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use tracing::warn;

use crate::answers::Answers;
use crate::delivery::{Context, Pending};
use crate::metrics::SINGLED_OUT_TOTAL;

/// How often the log is told, at the most.
const TELL_EVERY: Duration = Duration::from_secs(60);

type Client = ThreadedProducer<Context>;

/// The client that sends records one by one; it is started when it is needed first.
pub(crate) struct Singles {
    config: ClientConfig,
    answers: Arc<Answers>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Option<Arc<Client>>,
    told_at: Option<Instant>,
}

impl Singles {
    /// Beside a client of this configuration.
    pub fn beside(config: &ClientConfig, answers: Arc<Answers>) -> Self {
        let mut config = config.clone();
        config.set("batch.num.messages", "1").set("linger.ms", "0");
        Self { config, answers, state: Mutex::default() }
    }

    /// Whether a record may have been refused for another one of its batch.
    pub fn are_asked_for(error: &KafkaError) -> bool {
        matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidDifferentRecord)
        )
    }

    /// Sends a refused record again; gives back who waits for it, and why, where that can't be.
    pub fn send(
        &self,
        record: &BorrowedMessage<'_>,
        refused: &KafkaError,
        pending: Box<Pending>,
    ) -> Result<(), (KafkaError, Box<Pending>)> {
        self.tell(record, refused);
        let mut again = BaseRecord::with_opaque_to(record.topic(), pending);
        (again.key, again.payload) = (record.key(), record.payload());
        again.timestamp = record.timestamp().to_millis();
        again.headers = record.headers().map(BorrowedHeaders::detach);
        // The second client is for one that has failed for good meanwhile.
        for is_last in [false, true] {
            let client = match self.client() {
                Ok(client) => client,
                Err(error) => return Err((error, again.delivery_opaque)),
            };
            let (error, back) = match client.send(again) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            if is_last || error.rdkafka_error_code() != Some(RDKafkaErrorCode::Fatal) {
                return Err((error, back.delivery_opaque));
            }
            self.forget(&client);
            again = back;
        }
        unreachable!("the last turn returns")
    }

    fn client(&self) -> Result<Arc<Client>, KafkaError> {
        let mut state = self.state();
        if let Some(client) = &state.client {
            return Ok(client.clone());
        }
        let context = Context::without_singles(self.answers.clone());
        let client = Arc::new(Client::from_config_and_context(&self.config, context)?);
        state.client = Some(client.clone());
        Ok(client)
    }

    fn forget(&self, failed: &Arc<Client>) {
        let mut state = self.state();
        if state.client.as_ref().is_some_and(|client| Arc::ptr_eq(client, failed)) {
            state.client = None;
        }
    }

    fn tell(&self, record: &BorrowedMessage<'_>, refused: &KafkaError) {
        counter!(SINGLED_OUT_TOTAL).increment(1);
        let mut state = self.state();
        if state.told_at.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        state.told_at = Some(Instant::now());
        warn!(
            topic = record.topic(),
            partition = record.partition(),
            error = %refused,
            "producer: the broker refused a batch, its records are sent one by one; if it was too \
             large, the topic's max.message.bytes is below the 1000000 of a batch"
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}
