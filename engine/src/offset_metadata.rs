//! Which offsets above the committed one are finished: the metadata of an offset commit.
//!
//! A group's offset says that everything below it is done. Records above it can be done as well,
//! when a slow one holds the offset back; which ones stands in the metadata that Kafka keeps with
//! the offset, so that after a crash nothing that was committed runs again.
//!
//! # Format, version 1
//!
//! The text `1:` and, in base64 (URL alphabet, no padding), unsigned LEB128 numbers: the lengths
//! of the spans of offsets from the committed one on, in turn not done and done, beginning with
//! not done and ending with done. Every length is at least 1. Offsets above the last span are not
//! done. An empty text means that nothing above the committed offset is done.
//!
//! # Format, version 2
//!
//! The text `2:` and, in base64, a bitmap of the offsets from the committed one on, lowest bit first,
//! a set bit for each that is done. It is written where version 1 would be longer than the limit:
//! where many short spans alternate.
//!
//! # The topic's id
//!
//! The text `t:` and 32 hex digits: nothing above the committed offset is done, and the offset is one
//! of the topic with this id. A topic of the same name with another id is another log.
//!
//! Anything else, a newer version included, reads as "nothing above is done": its records run
//! again, which the idempotency of the calls absorbs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comanda_kafka::TopicId;

/// Kafka's default limit on the metadata of an offset (`offset.metadata.max.bytes`).
pub(crate) const MAX_LEN: usize = 4096;

const TOPIC: &str = "t:";
const VERSION: &str = "1:";
const BITMAP: &str = "2:";

/// `metadata`, with the topic's id where there is room for it.
pub(crate) fn with_topic(metadata: &str, topic: Option<TopicId>) -> String {
    match topic {
        // Builds that don't know ids read this as nothing above, too.
        Some(id) if metadata.is_empty() => format!("{TOPIC}{id}"),
        Some(_) | None => metadata.to_owned(),
    }
}

/// Which topic the offset with this metadata is of, where it says so.
pub(crate) fn topic(metadata: &str) -> Option<TopicId> {
    metadata.strip_prefix(TOPIC)?.parse().ok()
}

/// Spans of finished offsets, each from its first to just after its last, ascending and apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans(Vec<(i64, i64)>);

impl Spans {
    /// Adds a span that begins at or after the end of the last one.
    pub fn push(&mut self, from: i64, to: i64) {
        if from >= to {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.1 >= from => last.1 = to.max(last.1),
            _ => self.0.push((from, to)),
        }
    }

    /// Whether `offset` lies in one of them.
    pub fn contains(&self, offset: i64) -> bool {
        self.end_of(offset) > offset
    }

    /// The end of the span that `offset` lies in; `offset` where it lies in none.
    pub fn end_of(&self, offset: i64) -> i64 {
        let after = self.0.partition_point(|(from, _)| *from <= offset);
        if after > 0 { self.0[after - 1].1.max(offset) } else { offset }
    }

    /// The parts at or above `offset`.
    pub fn from(&self, offset: i64) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.0.iter().filter(move |(_, to)| *to > offset).map(move |(f, t)| ((*f).max(offset), *t))
    }

    /// The metadata that says this of the offsets above `committed`, which is not in a span.
    pub fn encode(&self, committed: i64) -> String {
        let mut bytes = Vec::new();
        let mut at = committed;
        for (from, to) in self.from(committed) {
            push_number(&mut bytes, from.abs_diff(at));
            push_number(&mut bytes, to.abs_diff(from));
            at = to;
        }
        if bytes.is_empty() {
            return String::new();
        }
        let text = format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(bytes));
        if text.len() <= MAX_LEN { text } else { self.bitmap(committed, text) }
    }

    /// The bitmap, where that is shorter than `text`.
    fn bitmap(&self, committed: i64, text: String) -> String {
        let end = self.0.last().map_or(committed, |(_, to)| *to);
        let bits = usize::try_from(end - committed).unwrap_or(usize::MAX);
        // Four characters for three bytes.
        if bits / 6 >= text.len() {
            return text;
        }
        let mut bytes = vec![0u8; bits.div_ceil(8)];
        for (from, to) in self.from(committed) {
            for offset in from..to {
                let bit = (offset - committed) as usize;
                bytes[bit / 8] |= 1 << (bit % 8);
            }
        }
        format!("{BITMAP}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn decode_bitmap(committed: i64, text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        committed.checked_add(i64::try_from(bytes.len()).ok()?.checked_mul(8)?)?;
        let mut spans = Self::default();
        for (index, byte) in bytes.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                let offset = committed + (index * 8 + bit) as i64;
                spans.push(offset, offset + 1);
            }
        }
        Some(spans)
    }

    /// What `metadata` says of the offsets above `committed`; `None` when it is not of this format.
    pub fn decode(committed: i64, metadata: &str) -> Option<Self> {
        if metadata.is_empty() || topic(metadata).is_some() {
            return Some(Self::default());
        }
        if let Some(bitmap) = metadata.strip_prefix(BITMAP) {
            return Self::decode_bitmap(committed, bitmap);
        }
        let bytes = URL_SAFE_NO_PAD.decode(metadata.strip_prefix(VERSION)?).ok()?;
        let (mut rest, mut spans, mut at) = (bytes.as_slice(), Self::default(), committed);
        while !rest.is_empty() {
            let from = at.checked_add(take_length(&mut rest)?)?;
            at = from.checked_add(take_length(&mut rest)?)?;
            spans.0.push((from, at));
        }
        Some(spans)
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The next length, at least 1; `None` when there is none, or it does not fit.
fn take_length(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return i64::try_from(number).ok().filter(|n| *n > 0);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(lengths: &[(i64, i64)], committed: i64) -> Spans {
        let (mut spans, mut at) = (Spans::default(), committed);
        for (gap, run) in lengths {
            spans.push(at + gap, at + gap + run);
            at += gap + run;
        }
        spans
    }

    #[test]
    fn the_format_is_as_documented() {
        // Not done 1, done 2, not done 300 (0xac 0x02), done 1.
        let spans = spans(&[(1, 2), (300, 1)], 10);
        let expected = format!("1:{}", URL_SAFE_NO_PAD.encode([1, 2, 0xac, 0x02, 1]));
        assert_eq!(spans.encode(10), expected);
        assert_eq!(Spans::default().encode(10), "");
    }

    #[test]
    fn the_id_of_the_topic_stands_where_nothing_else_does() {
        let id: TopicId = "1".repeat(32).parse().unwrap();
        let text = with_topic("", Some(id));
        assert_eq!((text.as_str(), topic(&text)), (format!("t:{id}").as_str(), Some(id)));
        assert_eq!(Spans::decode(5, &text), Some(Spans::default()));
        assert_eq!(with_topic("1:AQE", Some(id)), "1:AQE");
        assert_eq!((with_topic("", None), topic("1:AQE"), topic("")), (String::new(), None, None));
    }

    #[test]
    fn what_is_not_of_the_format_says_nothing() {
        let text = |bytes: &[u8]| format!("1:{}", URL_SAFE_NO_PAD.encode(bytes));
        for garbage in [
            "0".to_owned(),
            "3:AQE".to_owned(),
            "t:0".to_owned(),
            "2:***".to_owned(),
            "1:***".to_owned(),
            "some other tool's note".to_owned(),
            text(&[1]),
            text(&[0, 1]),
            text(&[1, 0]),
            text(&[1, 0x80]),
            text(&[0xff; 12]),
            text(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]),
        ] {
            assert_eq!(Spans::decode(5, &garbage), None, "{garbage}");
        }
        assert_eq!(Spans::decode(5, ""), Some(Spans::default()));
    }

    #[test]
    fn a_window_of_the_default_size_fits_unless_its_runs_are_long() {
        // Each of 1,024 unfinished records with finished ones above it.
        let usual = spans(&[(1, 100); 1_023], 1 << 40);
        assert!(usual.encode(1 << 40).len() < MAX_LEN);
        // Every other one of 20,000: a key with many records between those of others.
        let mixed = spans(&[(1, 1); 10_000], 1 << 40);
        let text = mixed.encode(1 << 40);
        assert!(text.len() < MAX_LEN && text.starts_with("2:"), "{}", text.len());
        assert_eq!(Spans::decode(1 << 40, &text), Some(mixed));
        // The ledger sees to it that this is not sent.
        let worst = spans(&[(1, 20_000); 1_023], 1 << 40);
        assert!(worst.encode(1 << 40).len() > MAX_LEN);
    }

    proptest! {
        #[test]
        fn spans_survive_their_text(
            lengths in proptest::collection::vec((1i64..5_000, 1i64..5_000), 0..200),
            committed in 0i64..1 << 60,
        ) {
            let spans = spans(&lengths, committed);
            let text = spans.encode(committed);
            let read = Spans::decode(committed, &text).unwrap();
            prop_assert_eq!(&read, &spans);
            let mut at = committed;
            for (gap, run) in lengths {
                prop_assert!(!read.contains(at) && !read.contains(at + gap - 1));
                prop_assert!(read.contains(at + gap) && read.contains(at + gap + run - 1));
                at += gap + run;
            }
            prop_assert!(!read.contains(at));
        }

        #[test]
        fn garbage_never_panics(text in ".*", bytes: Vec<u8>, committed: i64) {
            let _ = Spans::decode(committed, &text);
            let encoded = URL_SAFE_NO_PAD.encode(bytes);
            let _ = Spans::decode(committed, &format!("1:{encoded}"));
            let _ = Spans::decode(committed, &format!("2:{encoded}"));
        }
    }
}
