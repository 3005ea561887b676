//! A record as it was consumed, in one piece of memory of its own.
//!
//! librdkafka's own message would hold on to the whole batch that it was fetched with, and the
//! binding's owned copy takes an allocation for each header.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use comanda_schemas::Timestamp;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

/// Room for a header's name and value: those of events have this on average.
const HEADER: usize = 48;

/// Where a part begins and ends.
type Part = Range<u32>;

/// A consumed record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub partition: i32,
    pub offset: i64,
    timestamp: Option<Timestamp>,
    /// Key, value, and of each header name and value, one after another.
    bytes: Vec<u8>,
    key: Option<Part>,
    value: Option<Part>,
    headers: Box<[(Part, Option<Part>)]>,
}

impl Record {
    /// A copy of `message`.
    pub fn copy(message: &BorrowedMessage<'_>) -> Self {
        let (key, value) = (message.key(), message.payload());
        let headers = message.headers();
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let mut bytes = Vec::with_capacity(size + headers.map_or(0, |h| h.count() * HEADER));
        let mut add = |part: &[u8]| {
            let from = bytes.len() as u32;
            bytes.extend_from_slice(part);
            from..bytes.len() as u32
        };
        let (key, value) = (key.map(&mut add), value.map(&mut add));
        // The binding panics at names that are not text, which a client in C can write. Such a record
        // goes on without its headers.
        let copied = catch_unwind(AssertUnwindSafe(|| {
            let headers = headers.into_iter().flat_map(|headers| headers.iter());
            headers.map(|h| (add(h.key.as_bytes()), h.value.map(&mut add))).collect()
        }));
        let headers = copied.unwrap_or_else(|_| {
            bytes.truncate(size);
            Default::default()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().map(Timestamp::from_millis),
            bytes,
            key,
            value,
            headers,
        }
    }

    fn part(&self, range: &Part) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|range| self.part(range))
    }

    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|range| self.part(range))
    }

    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// All bytes that it holds.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The value of the last header called `name`, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |(key, _): &&(Part, _)| self.part(key) == name.as_bytes();
        let (_, value) = self.headers.iter().rev().find(is_it)?;
        std::str::from_utf8(self.part(value.as_ref()?)).ok()
    }

    /// Its headers, as they came.
    pub fn headers(&self) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.headers.len());
        self.headers.iter().fold(empty, |headers, (key, value)| {
            // Names came from librdkafka as text.
            let key = String::from_utf8_lossy(self.part(key));
            let value = value.as_ref().map(|range| self.part(range));
            headers.insert(Header { key: &key, value })
        })
    }
}
