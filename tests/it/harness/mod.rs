//! What the end-to-end tests stand on.
//!
//! - [`real_parts`]: one Apache Kafka and one Apicurio registry, shared by the whole run
//! - [`installation`]: comanda on them, with topics of its own
//! - [`mailpit`]: a real mailbox; [`localstripe`]: a payment provider that knows no idempotency keys
//! - [`postgres`]: a PostgreSQL, shared as well or a test's own
//! - [`proxy`]: stands between a broker and its clients
//! - [`process`]: the `comanda` binary as a child process; [`graphql`]: its gateway's client
//! - [`tools`]: the prerequisites, and what happens where one is missing
//! - [`downloads`]: what the tests fetch, cached under `target/it`

pub mod apicurio;
mod basics;
pub mod downloads;
pub mod graphql;
pub mod installation;
pub mod kafka;
pub mod localstripe;
pub mod mailpit;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod run_dir;
pub mod tools;
pub mod watched;

use std::str::FromStr;

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use apicurio::Apicurio;
pub use basics::{eventually, free_ports, on_free_ports, unique};
use kafka::Kafka;
use tools::Tool;

/// The real broker and the real registry.
pub struct RealParts {
    pub kafka: Kafka,
    pub registry: &'static Apicurio,
}

/// The shared broker and registry, started by the first test that asks; `None` where the
/// prerequisites are missing and the test is to be skipped.
///
/// They end with this process: see [`watched`].
pub async fn real_parts() -> Option<&'static RealParts> {
    static PARTS: OnceCell<RealParts> = OnceCell::const_new();
    if !tools::have(&[Tool::Java, Tool::Maven]) {
        return None;
    }
    let start = || async {
        let (kafka, registry) = tokio::join!(Kafka::start(), Apicurio::start());
        RealParts {
            kafka: kafka.unwrap_or_else(|e| panic!("Kafka does not start: {e:#}")),
            // As long as the static that it goes into.
            registry: Box::leak(Box::new(
                registry.unwrap_or_else(|e| panic!("Apicurio does not start: {e:#}")),
            )),
        }
    };
    Some(PARTS.get_or_init(start).await)
}

/// The shared registry and a broker of the test's own, to do anything to.
pub async fn own_parts() -> Option<&'static RealParts> {
    let registry = real_parts().await?.registry;
    let kafka = Kafka::start().await.unwrap_or_else(|e| panic!("Kafka does not start: {e:#}"));
    Some(Box::leak(Box::new(RealParts { kafka, registry })))
}

/// The shared registry and a cluster of three brokers of the test's own.
pub async fn own_cluster() -> Option<&'static RealParts> {
    let registry = real_parts().await?.registry;
    let kafka = Kafka::start_cluster().await;
    let kafka = kafka.unwrap_or_else(|e| panic!("the cluster does not start: {e:#}"));
    Some(Box::leak(Box::new(RealParts { kafka, registry })))
}

/// Held by tests that load the machine, so that they run one after another.
pub async fn heavy() -> SemaphorePermit<'static> {
    static ONE: Semaphore = Semaphore::const_new(1);
    ONE.acquire().await.expect("never closed")
}

/// A number that the environment sets as `COMANDA_<name>`, for runs at full size.
pub fn scale<T: FromStr>(name: &str, default: T) -> T {
    let name = format!("COMANDA_{name}");
    let Ok(text) = std::env::var(&name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
}
