//! GraphQL over WebSocket: the protocol `graphql-transport-ws`
//! (github.com/enisdenjo/graphql-ws, PROTOCOL.md).

mod connection;
mod frames;
mod intake;
mod operation;
mod protocol;
mod upgrade;

pub(crate) use upgrade::{Sockets, handshake, upgrade};

/// Reads a text as a message of a client.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_for_fuzzing(text: &str) {
    if let Err(close) = protocol::FromClient::read(text) {
        assert!(close.reason.len() <= 123);
    }
}

/// Reads bytes as frames, at once and one by one.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn frame_for_fuzzing(bytes: &[u8]) {
    let (mut whole, mut parts) = (frames::Frames::default(), frames::Frames::default());
    whole.take(bytes);
    bytes.iter().for_each(|byte| parts.take(std::slice::from_ref(byte)));
    assert_eq!(whole.unfinished(), parts.unfinished());
    assert_eq!(whole.claimed(), parts.claimed());
    assert_eq!(whole.since().is_some(), parts.since().is_some());
    assert_eq!(whole.take_control_frames(), parts.take_control_frames());
}
