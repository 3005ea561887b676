//! How far a subscriber has come.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comanda_schemas::{Topic, TopicNames};
use comanda_store::Position;

use crate::failure::{Code, Failure};
use crate::receipt::{push, take};

/// First byte of the text form: the form that follows.
const FORM: u8 = 1;
/// Most partitions that a cursor from outside may name.
const MAX_PARTITIONS: usize = 10_000;

/// The next offset of each partition that a subscriber has seen something of. What it does not
/// name is at its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Sorted by topic and partition. Each subscriber holds a cursor: a tree would be four times
    /// as large.
    next: Vec<(Partition, i64)>,
}

/// Number of a topic, and a partition of it.
type Partition = (u8, i32);

impl Cursor {
    /// From what a subscriber was given as [`fmt::Display`].
    pub fn parse(text: &str) -> Result<Self, Failure> {
        Self::decode(text).ok_or_else(|| Failure::new(Code::Invalid, "after is not a cursor"))
    }

    fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_PARTITIONS * 16 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut rest = bytes.strip_prefix(&[FORM])?;
        let mut cursor = Self::default();
        while let Some((topic, after)) = rest.split_first() {
            rest = after;
            let partition = i32::try_from(take(&mut rest)?).ok()?;
            let offset = i64::try_from(take(&mut rest)?).ok()?;
            let at = (*topic, partition);
            // They stand in order, each once, as they are written.
            let is_in_order = cursor.next.last().is_none_or(|(last, _)| *last < at);
            let is_topic = usize::from(*topic) < Topic::ALL.len();
            if !is_topic || !is_in_order || cursor.next.len() >= MAX_PARTITIONS {
                return None;
            }
            cursor.next.push((at, offset));
        }
        Some(cursor)
    }

    /// Whether the record at `offset` was seen.
    pub fn has_seen(&self, topic: Topic, partition: i32, offset: i64) -> bool {
        self.at((number(topic), partition)).is_some_and(|next| offset < next)
    }

    /// Everything below `next_offset` was seen, from now on. It never goes back.
    pub fn advance(&mut self, topic: Topic, partition: i32, next_offset: i64) {
        let next = self.at_mut((number(topic), partition));
        *next = next_offset.max(*next);
    }

    fn at(&self, partition: Partition) -> Option<i64> {
        let found = self.next.binary_search_by_key(&partition, |(at, _)| *at);
        found.ok().map(|place| self.next[place].1)
    }

    /// The next offset of a partition, which is named from now on.
    fn at_mut(&mut self, partition: Partition) -> &mut i64 {
        let found = self.next.binary_search_by_key(&partition, |(at, _)| *at);
        let place = found.unwrap_or_else(|place| {
            self.next.insert(place, (partition, 0));
            place
        });
        &mut self.next[place].1
    }

    /// Whether it names no partition that `other` does not name.
    pub fn is_within(&self, other: &Self) -> bool {
        self.next.iter().all(|(at, _)| other.at(*at).is_some())
    }

    /// Whatever either has seen.
    pub fn merge(&mut self, other: &Self) {
        for (at, next_offset) in &other.next {
            let next = self.at_mut(*at);
            *next = (*next_offset).max(*next);
        }
    }

    /// The partitions in which it has seen more than `other`.
    pub fn beyond(&self, other: &Self) -> Self {
        let seen = self.next.iter().filter(|(at, next)| other.at(*at) < Some(*next));
        Self { next: seen.copied().collect() }
    }

    /// As the store has it.
    pub fn positions(&self, names: &TopicNames) -> Vec<Position> {
        let names = Topic::ALL.map(|topic| names.name(topic));
        let position = |(at, next_offset): &(Partition, i64)| Position {
            topic: names[usize::from(at.0)].clone(),
            partition: at.1,
            next_offset: *next_offset,
        };
        self.next.iter().map(position).collect()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![FORM];
        for ((topic, partition), next) in &self.next {
            bytes.push(*topic);
            push(&mut bytes, partition.cast_unsigned().into());
            push(&mut bytes, next.cast_unsigned());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// What stands for a topic in a cursor: its place in [`Topic::ALL`], which clients keep.
fn number(topic: Topic) -> u8 {
    match topic {
        Topic::Orders => 0,
        Topic::Payments => 1,
        Topic::Notifications => 2,
        Topic::PaymentReports => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_knows_what_it_has_seen_and_never_goes_back() {
        let mut cursor = Cursor::default();
        assert!(!cursor.has_seen(Topic::Payments, 3, 0));
        cursor.advance(Topic::Payments, 3, 8);
        cursor.advance(Topic::Payments, 3, 5);
        assert!(cursor.has_seen(Topic::Payments, 3, 7) && !cursor.has_seen(Topic::Payments, 3, 8));
        assert!(!cursor.has_seen(Topic::Orders, 3, 0) && !cursor.has_seen(Topic::Payments, 2, 0));
    }

    #[test]
    fn two_cursors_are_joined_and_told_apart_partition_by_partition() {
        let of = |seen: &[(i32, i64)]| {
            let mut cursor = Cursor::default();
            seen.iter()
                .for_each(|(partition, next)| cursor.advance(Topic::Orders, *partition, *next));
            cursor
        };
        let (mut one, other) = (of(&[(0, 5), (1, 5), (2, 5)]), of(&[(0, 5), (1, 4), (3, 1)]));
        assert_eq!(one.beyond(&other), of(&[(1, 5), (2, 5)]));
        one.merge(&of(&[(0, 9), (1, 1), (7, 2)]));
        assert_eq!(one, of(&[(0, 9), (1, 5), (2, 5), (7, 2)]));
    }

    #[test]
    fn a_topics_number_is_its_place_among_all() {
        let numbers = Topic::ALL.map(|topic| usize::from(number(topic)));
        assert_eq!(numbers, [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for wrong in ["", "x", "AQ==", "AgAAAA", "AQQAAA", "AQAA", &"A".repeat(1_000_000)] {
            assert_eq!(Cursor::parse(wrong).unwrap_err().code, Code::Invalid, "{wrong:.10}");
        }
    }

    #[test]
    fn a_cursor_names_each_partition_once_and_in_order() {
        let of = |partitions: &[u8]| {
            let bytes = partitions.iter().flat_map(|partition| [0, *partition, 1]);
            let bytes: Vec<u8> = [FORM].into_iter().chain(bytes).collect();
            Cursor::parse(&URL_SAFE_NO_PAD.encode(bytes)).map_err(|failure| failure.code)
        };
        let known = of(&[0, 1, 2]).unwrap();
        assert!(of(&[0, 2]).unwrap().is_within(&known) && !of(&[3]).unwrap().is_within(&known));
        for wrong in [&[1, 0][..], &[1, 1]] {
            assert_eq!(of(wrong), Err(Code::Invalid));
        }
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(
            seen in prop::collection::vec((0..Topic::ALL.len(), 0..i32::MAX, 0..i64::MAX), 0..50)
        ) {
            let mut cursor = Cursor::default();
            for (topic, partition, next) in seen {
                cursor.advance(Topic::ALL[topic], partition, next);
            }
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_-]{0,60}|.*") {
            let _ = Cursor::parse(&text);
        }
    }
}
