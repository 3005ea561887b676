//! Headers as they are on the wire: their names are bytes.
//!
//! Kafka calls a header's name a string, but no broker looks at it, and a client in C or Python can
//! write any bytes. The binding panics at a name that is not UTF-8, so headers are read here.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use rdkafka::message::{BorrowedHeaders, OwnedHeaders};
use rdkafka_sys as sys;

/// One header: its name, and its value where it has one.
pub type RawHeader<'h> = (&'h [u8], Option<&'h [u8]>);

/// Headers whose names need not be text.
pub trait RawHeaders {
    /// The binding's view of them.
    fn borrowed(&self) -> &BorrowedHeaders;

    /// Each header as it is, in order.
    fn raw(&self) -> Iter<'_> {
        Iter { headers: self.borrowed(), next: 0 }
    }
}

impl RawHeaders for BorrowedHeaders {
    fn borrowed(&self) -> &BorrowedHeaders {
        self
    }
}

impl RawHeaders for OwnedHeaders {
    fn borrowed(&self) -> &BorrowedHeaders {
        self.as_borrowed()
    }
}

/// The headers one after another.
pub struct Iter<'h> {
    headers: &'h BorrowedHeaders,
    next: usize,
}

impl<'h> Iterator for Iter<'h> {
    type Item = RawHeader<'h>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut name, mut value, mut size) = (ptr::null::<c_char>(), ptr::null(), 0);
        // SAFETY: the binding makes its reference from librdkafka's own pointer, and back in the
        // same way (`BorrowedHeaders::as_native_ptr`). The call writes to the three variables.
        let status = unsafe {
            sys::rd_kafka_header_get_all(
                native(self.headers),
                self.next,
                &mut name,
                &mut value,
                &mut size,
            )
        };
        if status != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return None;
        }
        self.next += 1;
        // SAFETY: librdkafka ends names with a zero byte, and both live as long as the headers.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        let value = (!value.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) });
        Some((name, value))
    }
}

/// Adds a header whose name may be any bytes; `false` where librdkafka refuses it.
pub fn push(headers: &mut OwnedHeaders, (name, value): RawHeader<'_>) -> bool {
    let (bytes, size) = match value {
        Some(value) => (value.as_ptr().cast::<c_void>(), value.len().cast_signed()),
        None => (ptr::null(), 0),
    };
    // SAFETY: the headers are ours alone; librdkafka copies name and value, whose lengths are given.
    let status = unsafe {
        sys::rd_kafka_header_add(
            native(headers.as_borrowed()).cast_mut(),
            name.as_ptr().cast::<c_char>(),
            name.len().cast_signed(),
            bytes,
            size,
        )
    };
    status == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

fn native(headers: &BorrowedHeaders) -> *const sys::rd_kafka_headers_t {
    ptr::from_ref(headers).cast()
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, Headers as _};

    use super::*;

    #[test]
    fn a_header_whose_name_is_not_text_is_read_and_written_like_any_other() {
        let odd: &[u8] = b"\xff\xfe";
        let first = OwnedHeaders::new().insert(Header { key: "a", value: Some("1") });
        let mut headers = first;
        assert!(push(&mut headers, (odd, Some(b"\x00x"))) && push(&mut headers, (odd, None)));
        let headers = headers.insert(Header { key: "b", value: Some("2") });
        let all: Vec<RawHeader<'_>> = headers.raw().collect();
        let expected: [RawHeader<'_>; 4] =
            [(b"a", Some(b"1")), (odd, Some(b"\x00x")), (odd, None), (b"b", Some(b"2"))];
        assert_eq!(all, expected);
        assert_eq!(headers.count(), 4);
        assert_eq!(OwnedHeaders::new().raw().count(), 0);
    }
}
