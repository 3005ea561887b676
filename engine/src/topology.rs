//! Where an engine works: its topics and names, and how it reaches Kafka.

use std::fmt;
use std::sync::Arc;

use rdkafka::ClientConfig;

/// Topics and names of an engine.
#[derive(Debug, Clone)]
pub struct Topology {
    /// What the engine is called in its log, in the label `stage` of its metrics and in the names of
    /// its threads.
    pub name: &'static str,
    /// What the names of its metrics begin with, without the underscore that follows.
    pub metrics_prefix: &'static str,
    /// The consumer group. Transactional ids begin with it, too.
    pub group: String,
    /// The topic that it consumes.
    pub input: String,
    /// The topic to which records go that can't be handled.
    pub dead_letters: String,
    /// What an operator reads when the breaker has stopped the engine: where dead letters are looked
    /// at and put back.
    pub breaker_advice: String,
}

/// The base of the configuration of each Kafka client, from the role that it is for.
#[derive(Clone)]
pub struct Connect(Arc<dyn Fn(&str) -> ClientConfig + Send + Sync>);

impl Connect {
    /// From a function of the role, for clients that are called after it.
    pub fn per_role(base: impl Fn(&str) -> ClientConfig + Send + Sync + 'static) -> Self {
        Self(Arc::new(base))
    }

    pub(crate) fn client_config(&self, role: &str) -> ClientConfig {
        (self.0)(role)
    }
}

impl From<ClientConfig> for Connect {
    /// The same for every role.
    fn from(config: ClientConfig) -> Self {
        Self::per_role(move |_| config.clone())
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}
