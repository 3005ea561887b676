//! A record of a dead-letter topic.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use comanda_schemas::headers::RawHeaders;
use comanda_schemas::{DeadLetter, Redrive, Redriven, Source, Timestamp};
use rdkafka::Message;

/// Where a record stands in a topic, written `PARTITION@OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Partition, from 0.
    pub partition: i32,
    /// Offset, from 0.
    pub offset: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

impl FromStr for Position {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let (partition, offset) = text.split_once('@')?;
            let partition = partition.parse().ok().filter(|p| *p >= 0)?;
            let offset = offset.parse().ok().filter(|o| *o >= 0)?;
            Some(Self { partition, offset })
        };
        read().context("write PARTITION@OFFSET, for example 3@17")
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where it stands.
    pub at: Position,
    /// When it was stored there.
    pub stored_at: Option<Timestamp>,
    /// Its key as consumed, usually the order id.
    pub key: Option<Vec<u8>>,
    /// Where the record was consumed.
    pub origin: Source,
    /// Timestamp of that record.
    pub timestamp: Option<Timestamp>,
    /// Kind of the error.
    pub kind: String,
    /// The error and its causes.
    pub chain: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it first failed.
    pub first_failed_at: Timestamp,
    /// The redrive that put the record where it was consumed.
    pub redrive: Option<Redrive>,
}

impl Letter {
    /// Offset at which the record was consumed for the first time. Records of one key are in
    /// order by it, whatever was redriven since.
    pub fn first_offset(&self) -> i64 {
        self.redrive.as_ref().map_or(self.origin.offset, |redrive| redrive.first_offset)
    }

    /// Timestamp of the record when it was consumed for the first time.
    pub fn first_timestamp(&self) -> Option<Timestamp> {
        self.redrive.as_ref().map_or(self.timestamp, |redrive| redrive.first_timestamp)
    }

    /// How long, at the most, a provider has known the idempotency key of its calls.
    pub fn key_age(&self, now: Timestamp) -> Duration {
        let first = self.first_timestamp().unwrap_or(self.first_failed_at);
        now.since(first.min(self.first_failed_at))
    }

    /// Its key for people.
    pub fn key_text(&self) -> String {
        self.key.as_deref().map_or_else(|| "-".to_owned(), |key| printable(key, 64))
    }

    /// What to write on a redriven record; `topic` is that of the letter.
    pub fn next_redrive(&self, topic: &str) -> Redrive {
        Redrive {
            of: Source {
                topic: topic.to_owned(),
                partition: self.at.partition,
                offset: self.at.offset,
            },
            count: self.redrive.as_ref().map_or(0, |r| r.count).saturating_add(1),
            first_offset: self.first_offset(),
            first_timestamp: self.first_timestamp(),
        }
    }
}

/// What stands in a dead-letter topic.
#[derive(Debug)]
pub enum Found {
    /// A dead letter.
    Letter(Letter),
    /// The note that one was redriven.
    Note(Redriven),
    /// Neither: not written by comanda.
    Foreign,
}

impl Found {
    /// Reads a record's headers.
    pub fn read<M: Message<Headers: RawHeaders>>(record: &M) -> Self {
        let Some(headers) = record.headers() else { return Self::Foreign };
        if let Some(note) = Redriven::read(headers) {
            return Self::Note(note);
        }
        let Some(dead) = DeadLetter::read(headers) else { return Self::Foreign };
        Self::Letter(Letter {
            at: Position { partition: record.partition(), offset: record.offset() },
            stored_at: record.timestamp().to_millis().map(Timestamp::from_millis),
            key: record.key().map(<[u8]>::to_vec),
            origin: Source {
                topic: dead.topic.to_owned(),
                partition: dead.partition,
                offset: dead.offset,
            },
            timestamp: dead.timestamp,
            kind: dead.error_kind.to_owned(),
            chain: dead.error_chain.to_owned(),
            attempts: dead.attempts,
            first_failed_at: dead.first_failed_at,
            redrive: Redrive::read(headers),
        })
    }
}

/// Bytes as one line of text that can't harm a terminal, `limit` characters of them at the most.
pub fn printable(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut shown: String = chars.by_ref().take(limit).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A span of time in its largest unit: `45s`, `12m`, `3h`, `5d`.
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A letter at `at` of a record that was consumed at partition 0, offset `origin`.
    pub fn letter(at: &str, key: &str, origin: i64) -> Letter {
        let time = Timestamp::from_millis(1_795_484_800_000 + origin);
        Letter {
            at: at.parse().unwrap(),
            stored_at: Some(time),
            key: Some(key.as_bytes().to_vec()),
            origin: Source { topic: "orders".into(), partition: 0, offset: origin },
            timestamp: Some(time),
            kind: "decode".into(),
            chain: "not an event".into(),
            attempts: 1,
            first_failed_at: time,
            redrive: None,
        }
    }

    #[test]
    fn positions_are_read_as_they_are_written() {
        let at: Position = "3@17".parse().unwrap();
        assert_eq!((at.partition, at.offset), (3, 17));
        assert_eq!(at.to_string(), "3@17");
        for wrong in ["", "3", "@", "3@", "@17", "-1@0", "0@-1", "3@17@1", "a@b", "3 @ 17"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_second_redrive_counts_on_and_remembers_the_first_record() {
        let first = letter("0@1", "k", 5);
        let redrive = first.next_redrive("dlq");
        assert_eq!((redrive.count, redrive.first_offset, redrive.of.offset), (1, 5, 1));
        let again = Letter { redrive: Some(redrive), ..letter("0@9", "k", 40) };
        let redrive = again.next_redrive("dlq");
        assert_eq!((redrive.count, redrive.first_offset, redrive.of.offset), (2, 5, 9));
        assert_eq!(redrive.first_timestamp, first.timestamp);
        // The provider has known the key since the first record.
        let now = Timestamp::from_millis(1_795_484_800_000 + 60_000);
        assert_eq!(again.key_age(now), first.key_age(now));
    }

    #[test]
    fn what_strangers_wrote_is_shown_on_one_harmless_line() {
        assert_eq!(printable(b"a\x1b[2Jb\nc\xff", 64), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        assert_eq!(printable("äöü".as_bytes(), 2), "äö…");
        assert_eq!(printable(b"ab", 2), "ab");
    }

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let text = |s| span(Duration::from_secs(s));
        assert_eq!([text(0), text(59), text(60), text(3_599)], ["0s", "59s", "1m", "59m"]);
        assert_eq!([text(3_600), text(172_799), text(172_800)], ["1h", "47h", "2d"]);
    }
}
