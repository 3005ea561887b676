//! Record headers: CloudEvents in binary mode, W3C trace context, and what a dead letter carries.
//!
//! Sources: CloudEvents Kafka protocol binding 1.0.2 §3.2 (`ce_` prefix, `content-type`), W3C
//! Trace Context level 1 §3.2 (`traceparent`).

use std::fmt;

use rdkafka::message::{Header, OwnedHeaders};
use uuid::Uuid;

use crate::{Event, Timestamp};

pub use comanda_kafka::headers::{RawHeader, RawHeaders, push};

/// `content-type` of every event: Avro in the Confluent wire format.
pub const CONTENT_TYPE: &str = "application/vnd.confluent.avro";

/// A position in a distributed trace, as the `traceparent` header carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// A new trace, sampled.
    pub fn new_root() -> Self {
        Self { trace_id: nonzero(rand::random), span_id: nonzero(rand::random), flags: 1 }
    }

    /// A new span in the same trace.
    pub fn child(&self) -> Self {
        Self { span_id: nonzero(rand::random), ..*self }
    }

    /// Reads a `traceparent`; `None` when it breaks the format, as the standard asks.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |s: &str, len| {
            s.len() == len && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let sizes = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        if !sizes || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        Some(Self { trace_id, span_id, flags: u8::from_str_radix(flags, 16).ok()? & 1 })
    }

    /// The trace of a record, continued; a new one where the record has none.
    pub fn continue_from<H: RawHeaders>(headers: Option<&H>) -> Self {
        Self::continue_text(headers.and_then(|h| text(h, "traceparent")))
    }

    /// The trace of a `traceparent`, continued; a new one where there is none.
    pub fn continue_text(parent: Option<&str>) -> Self {
        parent.and_then(Self::parse).map_or_else(Self::new_root, |parent| parent.child())
    }

    /// The `traceparent` that says this.
    fn encode(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&mut text[3..35], self.trace_id);
        hex(&mut text[36..52], self.span_id.into());
        hex(&mut text[53..55], self.flags.into());
        text
    }
}

/// Writes the low digits of `number` over all of `text`.
fn hex(text: &mut [u8], mut number: u128) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// A random id that is not zero, which the standard forbids.
fn nonzero<T: PartialEq + Default>(mut random: impl FnMut() -> T) -> T {
    loop {
        let id = random();
        if id != T::default() {
            return id;
        }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ascii(&self.encode()))
    }
}

/// Hex digits and dashes as text.
fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// The headers of a record that carries an event, in a form that is small and cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct EventHeaders {
    id: Uuid,
    r#type: &'static str,
    source: &'static str,
    time: Timestamp,
    trace: TraceContext,
}

impl EventHeaders {
    /// Those of `event`; `source` is the CloudEvents source, the part of comanda that wrote it,
    /// e.g. `/comanda/gateway`.
    pub fn new<E: Event>(event: &E, source: &'static str, trace: &TraceContext) -> Self {
        let (id, time) = (event.event_id(), event.occurred_at());
        Self { id, r#type: event.ce_type(), source, time, trace: *trace }
    }

    /// As librdkafka takes them.
    pub fn to_headers(&self) -> OwnedHeaders {
        let mut headers = Some(OwnedHeaders::new_with_capacity(7));
        self.for_each(|name, value| {
            headers = headers.take().map(|headers| insert(headers, (name, value)));
        });
        headers.unwrap_or_default()
    }

    /// Gives each of them, name and value, to `each`.
    pub fn for_each(&self, each: impl FnMut(&str, &str)) {
        let mut each = each;
        let mut id = Uuid::encode_buffer();
        let (time, trace) = (self.time.to_rfc3339(), self.trace.encode());
        let all = [
            ("ce_specversion", "1.0"),
            ("ce_id", self.id.as_hyphenated().encode_lower(&mut id)),
            ("ce_type", self.r#type),
            ("ce_source", self.source),
            ("ce_time", &time),
            ("content-type", CONTENT_TYPE),
            ("traceparent", ascii(&trace)),
        ];
        for (name, value) in all {
            each(name, value);
        }
    }
}

/// [`EventHeaders`] for at once.
pub fn event_headers<E: Event>(
    event: &E,
    source: &'static str,
    trace: &TraceContext,
) -> OwnedHeaders {
    EventHeaders::new(event, source, trace).to_headers()
}

pub(crate) fn insert(headers: OwnedHeaders, (key, value): (&str, &str)) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// The value of the last header called `key`, where it is text.
pub fn text<'h, H: RawHeaders>(headers: &'h H, key: &str) -> Option<&'h str> {
    let (_, value) = headers.raw().filter(|(name, _)| *name == key.as_bytes()).last()?;
    std::str::from_utf8(value?).ok()
}

/// Why and where from a record went to a dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// Topic it was consumed from.
    pub topic: &'a str,
    /// Partition it was consumed from.
    pub partition: i32,
    /// Offset it was consumed at.
    pub offset: i64,
    /// Timestamp of the record, where it had one.
    pub timestamp: Option<Timestamp>,
    /// Consumer group that gave up on it.
    pub group: &'a str,
    /// Short name of the kind of error, e.g. `decode`.
    pub error_kind: &'a str,
    /// The error and its causes, outermost first, joined with `: `.
    pub error_chain: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// When it first failed.
    pub first_failed_at: Timestamp,
}

/// Prefix of the headers that a dead letter adds to those it was consumed with.
pub const DEAD_LETTER_PREFIX: &str = "comanda_dlq_";

impl<'a> DeadLetter<'a> {
    /// From the headers of a record in a dead-letter topic; `None` when it is no dead letter.
    pub fn read<H: RawHeaders>(headers: &'a H) -> Option<Self> {
        Some(Self {
            topic: text(headers, "comanda_dlq_topic")?,
            partition: text(headers, "comanda_dlq_partition")?.parse().ok()?,
            offset: text(headers, "comanda_dlq_offset")?.parse().ok()?,
            timestamp: text(headers, "comanda_dlq_timestamp").and_then(Timestamp::parse_rfc3339),
            group: text(headers, "comanda_dlq_group")?,
            error_kind: text(headers, "comanda_dlq_error_kind")?,
            error_chain: text(headers, "comanda_dlq_error_chain")?,
            attempts: text(headers, "comanda_dlq_attempts")?.parse().ok()?,
            first_failed_at: Timestamp::parse_rfc3339(text(
                headers,
                "comanda_dlq_first_failed_at",
            )?)?,
        })
    }

    /// `original`, the headers it was consumed with, and those of this dead letter.
    pub fn headers(&self, original: Option<OwnedHeaders>) -> OwnedHeaders {
        let all = [
            ("comanda_dlq_topic", self.topic.to_owned()),
            ("comanda_dlq_partition", self.partition.to_string()),
            ("comanda_dlq_offset", self.offset.to_string()),
            (
                "comanda_dlq_timestamp",
                self.timestamp.map(Timestamp::to_rfc3339).unwrap_or_default(),
            ),
            ("comanda_dlq_group", self.group.to_owned()),
            ("comanda_dlq_error_kind", self.error_kind.to_owned()),
            ("comanda_dlq_error_chain", self.error_chain.to_owned()),
            ("comanda_dlq_attempts", self.attempts.to_string()),
            ("comanda_dlq_first_failed_at", self.first_failed_at.to_rfc3339()),
            ("comanda_dlq_build", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        all.iter()
            .map(|(key, value)| (*key, value.as_str()))
            .fold(original.unwrap_or_default(), insert)
    }
}

/// An error and its causes on one line, outermost first.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        cause = error.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_survives_its_text_form() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::parse(text).unwrap();
        assert_eq!(trace.to_string(), text);
        let child = trace.child();
        assert_eq!(child.trace_id, trace.trace_id);
        assert_ne!(child.span_id, trace.span_id);
    }

    #[test]
    fn a_dead_letter_survives_its_headers() {
        let time = Timestamp::from_millis(1_795_484_800_123);
        let letter = DeadLetter {
            topic: "orders",
            partition: 3,
            offset: 41,
            timestamp: None,
            group: "comanda-payment",
            error_kind: "decode",
            error_chain: "not an event: the first byte is not 0",
            attempts: 2,
            first_failed_at: time,
        };
        // What the record of a stranger claims does not count.
        let forged = DeadLetter { topic: "elsewhere", offset: 1, ..letter.clone() }.headers(None);
        assert_eq!(DeadLetter::read(&letter.headers(Some(forged))), Some(letter));
        assert_eq!(DeadLetter::read(&OwnedHeaders::new()), None);
    }

    #[test]
    fn a_broken_traceparent_is_ignored() {
        for broken in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(broken), None, "{broken}");
        }
    }
}
