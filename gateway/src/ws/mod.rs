//! GraphQL over WebSocket: the protocol `graphql-transport-ws`
//! (github.com/enisdenjo/graphql-ws, PROTOCOL.md).

mod connection;
mod frames;
mod intake;
mod operation;
mod protocol;
mod upgrade;

pub(crate) use upgrade::{Sockets, handshake, upgrade};
