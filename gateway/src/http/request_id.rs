//! Names of requests, to find one again in the logs of several systems.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Builder;
use uuid::fmt::Hyphenated;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a name that a client may give.
const MAX_LEN: usize = 128;

/// The name of a request: letters, digits and `-_.:+/=~@`.
#[derive(Debug, Clone)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The one that the client gave, where it can be written into a log as it is, or a new UUIDv7.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(given) if is_fit(given.as_bytes()) => Self(given.clone()),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        // Not `now_v7`: its random bytes are a system call.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let id = Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
        let mut text = [0; Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).expect("a UUID is plain"))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("only what is plain gets here")
    }

    pub fn into_value(self) -> HeaderValue {
        self.0
    }
}

fn is_fit(id: &[u8]) -> bool {
    (1..=MAX_LEN).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=~@".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_where_it_is_fit_for_a_log() {
        let of = |given: &[u8]| {
            let value = HeaderValue::from_bytes(given).unwrap();
            RequestId::of(&[(X_REQUEST_ID, value)].into_iter().collect()).as_str().to_owned()
        };
        for good in ["a", "0195d3f8-7c1e-7a51-a6c1-2f0e5f0b9a11", "Root=1-67891233:abc/d+e=="] {
            assert_eq!(of(good.as_bytes()), good);
        }
        for bad in [&b""[..], b"a b", b"a\tb", b"{}", b"\"a\"", b"\xc3\xa9", &[b'a'; 129]] {
            assert_eq!(of(bad).len(), 36, "{bad:?}");
        }
    }

    #[test]
    fn a_new_name_is_a_uuid_of_version_7() {
        let text = RequestId::of(&HeaderMap::new()).as_str().to_owned();
        let id: uuid::Uuid = text.parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
        assert_ne!(text, RequestId::of(&HeaderMap::new()).as_str());
    }
}
