//! Why the gateway could not start, or stopped.

use std::net::SocketAddr;

/// Why the gateway could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("the gateway can't listen on {addr}")]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A setting makes no sense.
    #[error("gateway.{key} {problem}")]
    Options {
        /// The setting's name.
        key: &'static str,
        /// What is wrong with it; never a key or its hash.
        problem: String,
    },
}
