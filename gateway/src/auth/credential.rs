//! What a client shows to say who it is.

use http::{HeaderMap, header};
use serde_json::{Map, Value};

use crate::failure::{Code, Failure};

/// Header, and field of `connection_init`, that carries a key instead of
/// `Authorization: Bearer …`.
const KEY_HEADER: &str = "x-api-key";
/// Another name of that field.
const KEY_FIELD: &str = "apiKey";

/// What a client shows to say who it is; nothing of it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// An API key or a token.
    Bearer(&'a str),
    /// An API key.
    Key(&'a str),
}

impl<'a> Credential<'a> {
    /// What the headers of a request show; `None` where they don't show anything.
    pub fn of_headers(headers: &'a HeaderMap) -> Result<Option<Self>, Failure> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            return value
                .to_str()
                .ok()
                .and_then(Self::bearer)
                .map(Some)
                .ok_or_else(|| refused("Authorization must be Bearer and a key or token"));
        }
        match headers.get(KEY_HEADER).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(key)) => Ok(Some(Self::Key(key.trim()))),
            Some(Err(_)) => Err(refused("the API key is not valid")),
        }
    }

    /// What the payload of `connection_init` shows; `None` where it does not show anything.
    pub fn of_payload(payload: &'a Map<String, Value>) -> Result<Option<Self>, Failure> {
        let field = |name: &str| payload.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let shown = if let Some((_, value)) = field("authorization") {
            value.as_str().and_then(Self::bearer)
        } else if let Some((_, value)) = field(KEY_FIELD).or_else(|| field(KEY_HEADER)) {
            value.as_str().map(Self::Key)
        } else {
            return Ok(None);
        };
        shown.map(Some).ok_or_else(|| refused("the payload has no valid API key or token"))
    }

    /// The key or token in `Bearer …` (RFC 6750 §2.1).
    fn bearer(value: &'a str) -> Option<Self> {
        let (scheme, shown) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(Self::Bearer(shown.trim()))
    }
}

fn refused(message: &'static str) -> Failure {
    Failure::new(Code::Unauthenticated, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_header_shows_a_key_or_a_token() {
        let shown = |name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            let shown = Credential::of_headers(&headers).map_err(|failure| failure.code);
            shown.map(|shown| shown.map(|shown| format!("{shown:?}")))
        };
        let bearer = |text: &str| Ok(Some(format!("Bearer({text:?})")));
        assert_eq!(shown("accept", "*/*"), Ok(None));
        assert_eq!(shown("authorization", "Bearer k-1"), bearer("k-1"));
        assert_eq!(shown("authorization", "bearer  k-1 "), bearer("k-1"));
        assert_eq!(shown("x-api-key", " k-1 "), Ok(Some("Key(\"k-1\")".into())));
        for wrong in ["Basic a2V5", "Bearer", "Bearer ", "k-1", ""] {
            assert_eq!(shown("authorization", wrong), Err(Code::Unauthenticated), "{wrong}");
        }
    }

    #[test]
    fn a_payload_shows_a_key_or_a_token() {
        let shown = |payload: Value| {
            let payload = payload.as_object().unwrap().clone();
            let shown = Credential::of_payload(&payload).map_err(|failure| failure.code);
            shown.map(|shown| shown.map(|shown| format!("{shown:?}")))
        };
        assert_eq!(shown(json!({ "other": 1 })), Ok(None));
        for name in ["Authorization", "authorization"] {
            let bearer = Ok(Some("Bearer(\"k-1\")".to_owned()));
            assert_eq!(shown(json!({ name: "Bearer k-1" })), bearer);
        }
        for name in ["apiKey", "x-api-key", "X-API-Key"] {
            assert_eq!(shown(json!({ name: "k-1" })), Ok(Some("Key(\"k-1\")".into())));
        }
        for wrong in [json!({ "Authorization": 5 }), json!({ "apiKey": null })] {
            assert_eq!(shown(wrong), Err(Code::Unauthenticated));
        }
    }
}
