//! The messages, and the codes to close with.

use async_graphql::ServerError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::execute::Answer;
use crate::params::Params;

/// Name of the protocol in `Sec-WebSocket-Protocol`.
pub(super) const NAME: &str = "graphql-transport-ws";

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromClient {
    ConnectionInit {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Ping {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Pong {},
    Subscribe {
        id: String,
        payload: Params,
    },
    Complete {
        id: String,
    },
}

/// What the gateway says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromGateway<'a> {
    ConnectionAck,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Map<String, Value>>,
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

    /// Too many wrong keys came from this address, or the keys of tokens can't be had. Clients of
    /// the protocol connect again after a pause (1013 of the IANA registry of close codes).
    pub fn try_again_later() -> Self {
        Self::new(1013, "Try again later")
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
        let read = |text: &str| serde_json::from_str::<FromClient>(text);
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
            r#"{"type":"subscribe","id":"1","payload":{}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}"#,
            r#"{"type":"complete"}"#,
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
