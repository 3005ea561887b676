//! A topic that the payment processor reads besides its input, on a thread that may block.

use std::time::Duration;

use comanda_schemas::scan::{Scan, ScanError, Step};
use comanda_schemas::{Event, KafkaOptions, ReadError, ReadTries, Registry, headers};
use rdkafka::Message as _;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// How long one look for the next event takes.
const LOOK: Duration = Duration::from_millis(200);
/// Pause after the topic, or a schema, could not be read.
const AGAIN: Duration = Duration::from_secs(2);

/// A topic, and what is needed to read it.
pub struct Followed {
    /// The connection.
    pub kafka: KafkaOptions,
    /// Its full name.
    pub topic: String,
    /// Schemas of its events.
    pub registry: Registry,
    /// Where the thread waits.
    pub runtime: Handle,
    /// Ends it.
    pub shutdown: CancellationToken,
}

impl Followed {
    /// Waits, unless it is over.
    pub(super) fn pause(&self, pause: Duration) {
        self.wait(tokio::time::sleep(pause));
    }

    /// What `future` comes to, unless it is over before.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(self.shutdown.run_until_cancelled(future))
    }

    /// Repeats `read` until it succeeds, or it is over.
    pub(super) fn insist(&self, mut read: impl FnMut() -> Result<(), ScanError>) {
        while !self.shutdown.is_cancelled() {
            let Err(error) = read() else { return };
            let (topic, error) = (&self.topic, headers::error_chain(&error));
            warn!(topic, error, "a topic can't be read, trying again");
            self.pause(AGAIN);
        }
    }

    /// Has `take` take each event of `scan`; wherever that ends, `goes_on` says whether more is
    /// waited for.
    pub(super) fn read<E: Event>(
        &self,
        mut scan: Scan,
        take: impl Fn(E),
        goes_on: impl Fn() -> bool,
    ) -> Result<(), ScanError> {
        while !self.shutdown.is_cancelled() {
            match scan.next(LOOK)? {
                Step::Record(record) => {
                    match self.wait(self.decode(record.payload().unwrap_or_default())) {
                        Some(Ok(event)) => take(event),
                        Some(Err(error)) => error!(
                            topic = self.topic,
                            partition = record.partition(),
                            offset = record.offset(),
                            error = headers::error_chain(&error),
                            "undecodable event skipped"
                        ),
                        None => {}
                    }
                }
                Step::End if goes_on() => {}
                Step::End => break,
                Step::Idle => {}
            }
        }
        Ok(())
    }

    async fn decode<E: Event>(&self, value: &[u8]) -> Result<E, ReadError> {
        let mut tries = ReadTries::default();
        loop {
            match self.registry.read(value).await {
                Err(error) if tries.again_after(&error) => tokio::time::sleep(AGAIN).await,
                decoded => return decoded,
            }
        }
    }
}
