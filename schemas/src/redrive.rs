//! What a redrive writes: the record of a dead letter, back in the topic it came from, and beside
//! the letter a note that this was done.
//!
//! The note goes to the letter's own topic and partition, in the same transaction as the record.
//! It stands behind the letter, so retention can't remove it before the letter.

use rdkafka::message::OwnedHeaders;

use crate::headers::{DEAD_LETTER_PREFIX, RawHeaders, insert, push, text};
use crate::{Source, Timestamp};

/// Prefix of the headers that a redriven record has beyond those it was first consumed with.
const REDRIVE_PREFIX: &str = "comanda_redrive_";

/// Where a redriven record comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The dead letter.
    pub of: Source,
    /// How often the record was redriven, this time included.
    pub count: u32,
    /// Offset of the record when it was first consumed, in the same partition.
    pub first_offset: i64,
    /// Timestamp of the record when it was first consumed, where it had one.
    pub first_timestamp: Option<Timestamp>,
}

impl Redrive {
    /// Name of the header that carries [`Redrive::first_offset`].
    pub const FIRST_OFFSET: &str = "comanda_redrive_first_offset";

    /// The headers of the redriven record, from those of its dead letter.
    pub fn headers<H: RawHeaders>(&self, letter: Option<&H>) -> OwnedHeaders {
        let added = |name: &[u8]| {
            name.starts_with(DEAD_LETTER_PREFIX.as_bytes())
                || name.starts_with(REDRIVE_PREFIX.as_bytes())
        };
        let mut kept = OwnedHeaders::new();
        for header in letter.into_iter().flat_map(RawHeaders::raw) {
            if !added(header.0) {
                push(&mut kept, header);
            }
        }
        let first_timestamp = self.first_timestamp.map(Timestamp::to_rfc3339).unwrap_or_default();
        [
            ("comanda_redrive_of_topic", self.of.topic.clone()),
            ("comanda_redrive_of_partition", self.of.partition.to_string()),
            ("comanda_redrive_of_offset", self.of.offset.to_string()),
            ("comanda_redrive_count", self.count.to_string()),
            (Self::FIRST_OFFSET, self.first_offset.to_string()),
            ("comanda_redrive_first_timestamp", first_timestamp),
        ]
        .iter()
        .fold(kept, |headers, (key, value)| insert(headers, (key, value)))
    }

    /// From the headers of a redriven record; `None` for any other.
    pub fn read<H: RawHeaders>(headers: &H) -> Option<Self> {
        Some(Self {
            of: Source {
                topic: text(headers, "comanda_redrive_of_topic")?.to_owned(),
                partition: text(headers, "comanda_redrive_of_partition")?.parse().ok()?,
                offset: text(headers, "comanda_redrive_of_offset")?.parse().ok()?,
            },
            count: text(headers, "comanda_redrive_count")?.parse().ok()?,
            first_offset: text(headers, Self::FIRST_OFFSET)?.parse().ok()?,
            first_timestamp: text(headers, "comanda_redrive_first_timestamp")
                .and_then(Timestamp::parse_rfc3339),
        })
    }
}

/// The note that a dead letter was redriven. It has the letter's key and no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redriven {
    /// Offset of the letter, in the partition of the note.
    pub letter_offset: i64,
    /// Where its record stands now.
    pub to: Source,
}

impl Redriven {
    /// The headers of the note.
    pub fn headers(&self) -> OwnedHeaders {
        [
            ("comanda_redriven_letter_offset", self.letter_offset.to_string()),
            ("comanda_redriven_to_topic", self.to.topic.clone()),
            ("comanda_redriven_to_partition", self.to.partition.to_string()),
            ("comanda_redriven_to_offset", self.to.offset.to_string()),
        ]
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| insert(headers, (key, value)))
    }

    /// From the headers of a note; `None` for any other record. A dead letter is never a note,
    /// whatever headers the record of a stranger brought along.
    pub fn read<H: RawHeaders>(headers: &H) -> Option<Self> {
        if headers.raw().any(|(name, _)| name.starts_with(DEAD_LETTER_PREFIX.as_bytes())) {
            return None;
        }
        Some(Self {
            letter_offset: text(headers, "comanda_redriven_letter_offset")?.parse().ok()?,
            to: Source {
                topic: text(headers, "comanda_redriven_to_topic")?.to_owned(),
                partition: text(headers, "comanda_redriven_to_partition")?.parse().ok()?,
                offset: text(headers, "comanda_redriven_to_offset")?.parse().ok()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, Headers as _};

    use super::*;
    use crate::DeadLetter;

    fn source(topic: &str, offset: i64) -> Source {
        Source { topic: topic.into(), partition: 3, offset }
    }

    fn letter(original: OwnedHeaders) -> OwnedHeaders {
        let time = Timestamp::from_millis(1_795_484_800_123);
        DeadLetter {
            topic: "orders",
            partition: 3,
            offset: 41,
            timestamp: Some(time),
            group: "comanda-payment",
            error_kind: "decode",
            error_chain: "no: event",
            attempts: 2,
            first_failed_at: time,
        }
        .headers(Some(original))
    }

    fn redrive(count: u32) -> Redrive {
        Redrive {
            of: source("orders.payment.dlq", 7),
            count,
            first_offset: 41,
            first_timestamp: Some(Timestamp::from_millis(1_795_484_800_123)),
        }
    }

    #[test]
    fn a_redriven_record_has_its_first_headers_and_tells_where_it_comes_from() {
        let original = OwnedHeaders::new()
            .insert(Header { key: "from", value: Some("a stranger") })
            .insert(Header { key: "raw", value: Some(&b"\xff\x00"[..]) })
            .insert(Header { key: "none", value: None::<&str> })
            .insert(Header { key: "from", value: Some("again") });
        let once = redrive(1).headers(Some(&letter(original.clone())));
        // Redriven, dead again, redriven again: nothing piles up.
        let twice = redrive(2).headers(Some(&letter(once)));
        let kept: Vec<_> = twice.iter().take(4).map(|h| (h.key, h.value)).collect();
        let expected: Vec<_> = original.iter().map(|h| (h.key, h.value)).collect();
        assert_eq!(kept, expected);
        assert_eq!(twice.count(), original.count() + 6);
        assert_eq!(Redrive::read(&twice), Some(redrive(2)));
        let unknown = Redrive { first_timestamp: None, ..redrive(1) };
        assert_eq!(Redrive::read(&unknown.headers(None::<&OwnedHeaders>)), Some(unknown));
        assert_eq!(Redrive::read(&original), None);
    }

    #[test]
    fn a_note_is_told_from_a_letter_that_looks_like_one() {
        let note = Redriven { letter_offset: 7, to: source("orders", 90) };
        assert_eq!(Redriven::read(&note.headers()), Some(note.clone()));
        assert_eq!(Redriven::read(&letter(note.headers())), None);
        assert_eq!(Redriven::read(&letter(OwnedHeaders::new())), None);
    }
}
