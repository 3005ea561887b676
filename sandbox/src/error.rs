use std::net::SocketAddr;

use rdkafka::error::KafkaError;

/// Why a part of the sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {addr}")]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// librdkafka refused to create the cluster or a topic.
    #[error("cannot start the in-process broker")]
    Broker(#[source] KafkaError),
    /// The thread that owns the cluster could not be started, or ended before it was ready.
    #[error("cannot start the thread of the in-process broker")]
    BrokerThread(#[source] std::io::Error),
    /// A setting makes no sense.
    #[error("setting {key}: {problem}")]
    Options {
        /// The setting's name.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}
