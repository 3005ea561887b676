//! Headers of records, as they are read and written.

use std::fmt;
use std::ops::Range;

use comanda_kafka::headers::{RawHeader, push};
use rdkafka::message::OwnedHeaders;

/// Where a part begins and ends.
type Part = Range<u32>;

/// Names and values, in order; a name can stand there more than once. Names are bytes, as another
/// client can have written them. All are in one piece of memory.
#[derive(Clone, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    parts: Vec<(Part, Option<Part>)>,
}

impl Headers {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// None, with room for so many, and so many bytes in all.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), parts: Vec::with_capacity(count) }
    }

    fn add(&mut self, part: &[u8]) -> Part {
        let from = self.bytes.len() as u32;
        self.bytes.extend_from_slice(part);
        from..self.bytes.len() as u32
    }

    /// Adds one at the end.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.push_optional(name, Some(value));
    }

    /// Adds one that may have no value.
    pub fn push_optional(&mut self, name: impl AsRef<[u8]>, value: Option<&[u8]>) {
        let name = self.add(name.as_ref());
        let value = value.map(|value| self.add(value));
        self.parts.push((name, value));
    }

    /// The same, for building one in one expression.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.push(name, value);
        self
    }

    fn part(&self, range: &Part) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// All, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RawHeader<'_>> {
        let part = |range| self.part(range);
        self.parts.iter().map(move |(name, value)| (part(name), value.as_ref().map(part)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The value of the last one called `name`, where it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.iter().rev().find(|(key, _)| *key == name.as_bytes())?;
        std::str::from_utf8(value?).ok()
    }

    pub(crate) fn to_native(&self) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(self.parts.len());
        for header in self.iter() {
            // Refused is what has no room in memory alone.
            push(&mut headers, header);
        }
        headers
    }
}

/// Names alone: values can hold what no log may.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(name, _)| String::from_utf8_lossy(name));
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use comanda_kafka::headers::RawHeaders as _;

    use super::*;

    #[test]
    fn headers_keep_their_order_and_the_last_of_a_name_counts() {
        let mut headers = Headers::new().with("a", b"1").with("b", b"\xff").with("a", b"2");
        headers.push_optional("c", None);
        let names: Vec<&[u8]> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, [b"a", b"b", b"a", b"c"]);
        assert_eq!(headers.text("a"), Some("2"));
        assert_eq!((headers.text("b"), headers.text("c"), headers.text("d")), (None, None, None));
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn names_that_are_not_text_are_written_as_they_are() {
        let mut headers = Headers::new().with("a", b"1");
        headers.push_optional(b"\xff\xfe", Some(b"\0x"));
        assert_eq!(headers.text("a"), Some("1"));
        let native = headers.to_native();
        let expected: [RawHeader<'_>; 2] = [(b"a", Some(b"1")), (b"\xff\xfe", Some(b"\0x"))];
        assert_eq!(native.raw().collect::<Vec<_>>(), expected);
    }
}
