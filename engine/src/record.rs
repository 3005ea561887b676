//! A record as it was consumed, in one piece of memory of its own.
//!
//! librdkafka's own message would hold on to the whole batch that it was fetched with, and the
//! binding's owned copy takes an allocation for each header.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use comanda_kafka::headers::RawHeaders;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::Headers;

/// Room for a header's name and value: those of events have this on average.
const HEADER: usize = 48;

/// Where a part begins and ends.
type Part = Range<u32>;

/// A consumed record.
#[derive(Clone)]
pub struct Record {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    /// Key, value, and of each header name and value, one after another.
    bytes: Vec<u8>,
    key: Option<Part>,
    value: Option<Part>,
    headers: Box<[(Part, Option<Part>)]>,
}

impl Record {
    /// A copy of `message`, which is of `topic`.
    pub(crate) fn copy(topic: &Arc<str>, message: &BorrowedMessage<'_>) -> Self {
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
        let headers = headers.into_iter().flat_map(RawHeaders::raw);
        let headers = headers.map(|(name, value)| (add(name), value.map(&mut add))).collect();
        Self {
            topic: topic.clone(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            bytes,
            key,
            value,
            headers,
        }
    }

    /// One that was not consumed: for tests of processors and codecs.
    pub fn new(
        topic: &str,
        partition: i32,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers,
    ) -> Self {
        let mut bytes = Vec::new();
        let mut add = |part: &[u8]| {
            let from = bytes.len() as u32;
            bytes.extend_from_slice(part);
            from..bytes.len() as u32
        };
        let (key, value) = (key.map(&mut add), value.map(&mut add));
        let headers = headers.iter().map(|(name, value)| (add(name), value.map(&mut add)));
        let headers = headers.collect();
        let topic = topic.into();
        Self { topic, partition, offset, timestamp: None, bytes, key, value, headers }
    }

    fn part(&self, range: &Part) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// The topic that it was read from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition that it was read from.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset in the partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|range| self.part(range))
    }

    /// Its value.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|range| self.part(range))
    }

    /// Its timestamp, in milliseconds since 1970.
    pub fn timestamp_millis(&self) -> Option<i64> {
        self.timestamp
    }

    /// All bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The value of the last header called `name`, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |(key, _): &&(Part, _)| self.part(key) == name.as_bytes();
        let (_, value) = self.headers.iter().rev().find(is_it)?;
        std::str::from_utf8(self.part(value.as_ref()?)).ok()
    }

    /// A copy of its headers.
    pub fn headers(&self) -> Headers {
        let mut headers = Headers::with_capacity(self.headers.len(), self.bytes.len());
        for (key, value) in &self.headers {
            let value = value.as_ref().map(|range| self.part(range));
            headers.push_optional(self.part(key), value);
        }
        headers
    }
}

/// Where it is from, and its size: what it says can be what no log may hold.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topic, partition, offset) = (&self.topic, self.partition, self.offset);
        write!(f, "Record({topic} {partition}@{offset}, {} bytes)", self.bytes.len())
    }
}
