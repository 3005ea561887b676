//! The messages, and the codes to close with.

use std::borrow::Cow;

use async_graphql::ServerError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::execute::Answer;
use crate::params::problem;

/// Name of the protocol in `Sec-WebSocket-Protocol`.
pub(super) const NAME: &str = "graphql-transport-ws";

/// Longest id of an operation, in bytes: each of its messages repeats it.
const MAX_ID: usize = 255;

/// What a client says.
#[derive(Debug)]
pub(super) enum FromClient<'a> {
    ConnectionInit {
        payload: Map<String, Value>,
    },
    Ping {
        payload: Option<&'a RawValue>,
    },
    Pong,
    Subscribe {
        id: String,
        /// To be read once the client may ask for something.
        payload: &'a RawValue,
    },
    Complete {
        id: String,
    },
}

/// A message as it comes. Payloads are not looked into: as values they are many times as large.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

impl<'a> FromClient<'a> {
    /// Reads a message strictly.
    pub fn read(text: &'a str) -> Result<Self, Close> {
        let Wire { r#type, id, payload } = serde_json::from_str(text).map_err(Close::unread)?;
        if id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
            return Err(Close::bad_message(&format!("its id is longer than {MAX_ID} bytes")));
        }
        match (&*r#type, id, payload) {
            ("connection_init", _, None) => Ok(Self::ConnectionInit { payload: Map::new() }),
            ("connection_init", _, Some(raw)) => {
                let payload = serde_json::from_str(raw.get()).map_err(Close::unread)?;
                Ok(Self::ConnectionInit { payload })
            }
            ("ping", _, payload) if payload.is_none_or(|raw| raw.get().starts_with('{')) => {
                Ok(Self::Ping { payload })
            }
            ("pong", ..) => Ok(Self::Pong),
            ("subscribe", Some(id), Some(payload)) => Ok(Self::Subscribe { id, payload }),
            ("complete", Some(id), _) => Ok(Self::Complete { id }),
            _ => Err(Close::bad_message("it has no known type, or not the fields of its type")),
        }
    }
}

/// What the gateway says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromGateway<'a> {
    ConnectionAck,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    Next {
        id: &'a str,
        payload: &'a Answer,
    },
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

impl FromGateway<'_> {
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("messages have string keys and no failing values")
    }
}

/// Why the gateway ends a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Close {
    pub code: u16,
    pub reason: String,
}

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        // A close frame has room for 123 bytes of reason.
        let mut reason = reason.into();
        let room = (0..=123).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        reason.truncate(room);
        Self { code, reason }
    }

    pub fn going_away() -> Self {
        Self::new(1001, "the gateway stops")
    }

    pub fn unreadable() -> Self {
        Self::new(1009, "a message is too large, or not one of WebSocket")
    }

    /// Too many wrong keys came from this address, the keys of tokens can't be had, or the client
    /// has as much as it may of something. Clients of the protocol connect again after a pause (1013
    /// of the IANA registry of close codes).
    pub fn try_again_later() -> Self {
        Self::new(1013, "Try again later")
    }

    pub fn too_many_pings() -> Self {
        Self::new(1008, "too many pings, or other messages that ask for nothing")
    }

    pub fn late() -> Self {
        Self::new(1008, "a message did not come whole in time")
    }

    /// A text that is no message.
    pub fn unread(error: serde_json::Error) -> Self {
        Self::bad_message(&problem(&error, "a message of graphql-transport-ws"))
    }

    pub fn bad_message(why: &str) -> Self {
        Self::new(4400, format!("Invalid message: {why}"))
    }

    pub fn unauthorized() -> Self {
        Self::new(4401, "Unauthorized")
    }

    pub fn forbidden() -> Self {
        Self::new(4403, "Forbidden")
    }

    pub fn other_protocol() -> Self {
        Self::new(4406, "Subprotocol not acceptable")
    }

    pub fn init_timeout() -> Self {
        Self::new(4408, "Connection initialisation timeout")
    }

    pub fn duplicate(id: &str) -> Self {
        Self::new(4409, format!("Subscriber for {id} already exists"))
    }

    pub fn too_many_inits() -> Self {
        Self::new(4429, "Too many initialisation requests")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_strictly() {
        let read = |text: &str| FromClient::read(text).map(|message| format!("{message:?}"));
        for good in [
            r#"{"type":"connection_init"}"#,
            r#"{"type":"connection_init","payload":{"a":1}}"#,
            r#"{"type":"ping","payload":null}"#,
            r#"{"type":"pong"}"#,
            r#"{"id":"1","payload":{"query":"{a}","variables":{"n":1}},"type":"subscribe"}"#,
            r#"{"id":"1","type":"complete"}"#,
        ] {
            assert!(read(good).is_ok(), "{good}: {:?}", read(good));
        }
        for bad in [
            "",
            "[]",
            r#"{"type":"start","id":"1"}"#,
            r#"{"type":"subscribe","payload":{"query":"{a}"}}"#,
            r#"{"type":"subscribe","id":1,"payload":{"query":"{a}"}}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"complete"}"#,
            r#"{"type":"ping","payload":[]}"#,
            r#"{"type":"ping","type":"pong"}"#,
            &format!(r#"{{"type":"complete","id":"{}"}}"#, "x".repeat(MAX_ID + 1)),
            r#"{"type":"connection_init","payload":"x"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reason_fits_into_a_close_frame() {
        let close = Close::duplicate(&"é".repeat(200));
        assert!(close.reason.len() <= 123 && close.reason.starts_with("Subscriber for é"));
        assert_eq!(Close::duplicate("1").reason, "Subscriber for 1 already exists");
    }
}
