//! What the provider's answers mean: the one place that tells a decline from a doubt.
//!
//! Sources: "Errors" and "Idempotent requests" in Stripe's API reference, and "Advanced error
//! handling" (<https://docs.stripe.com/error-low-level>) for which answers leave the outcome open.

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use super::super::Failure;
use crate::provider::{Answer, Lost, code_of};

/// The types of the provider's errors, those of older versions included. Anything else that calls
/// itself an error comes from another server.
const ERROR_TYPES: [&str; 6] = [
    "api_error",
    "card_error",
    "idempotency_error",
    "invalid_request_error",
    "authentication_error",
    "rate_limit_error",
];
/// Longest id that is taken over from the provider, in bytes.
const MAX_ID: usize = 255;

/// A payment, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    #[serde(default, rename = "object")]
    _object: Option<IntentObject>,
    #[serde(deserialize_with = "bounded")]
    pub id: String,
    pub status: IntentStatus,
    #[serde(default)]
    pub amount: Option<i64>,
    #[serde(default)]
    pub currency: Option<String>,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub last_payment_error: Option<ErrorBody>,
}

/// What we attach to a payment to find it again.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub order_id: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub terms: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IntentStatus {
    Succeeded,
    Processing,
    RequiresPaymentMethod,
    RequiresAction,
    RequiresConfirmation,
    RequiresCapture,
    Canceled,
    /// Newer than this build.
    #[serde(other)]
    Other,
}

/// What the provider says that a value is; it must be nothing else.
#[derive(Debug, Clone, Deserialize)]
enum IntentObject {
    #[serde(rename = "payment_intent")]
    PaymentIntent,
}

#[derive(Debug, Deserialize)]
enum SearchObject {
    #[serde(rename = "search_result")]
    SearchResult,
}

#[derive(Debug, Deserialize)]
enum RefundObject {
    #[serde(rename = "refund")]
    Refund,
}

#[derive(Debug, Deserialize)]
pub(super) struct SearchResult {
    #[serde(default, rename = "object")]
    _object: Option<SearchObject>,
    pub data: Vec<Intent>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    #[serde(default, rename = "object")]
    _object: Option<RefundObject>,
    #[serde(rename = "id", deserialize_with = "bounded")]
    _id: String,
    pub status: RefundStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RefundStatus {
    Succeeded,
    Pending,
    RequiresAction,
    Failed,
    Canceled,
    /// Newer than this build.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct ErrorEnvelope {
    error: ErrorBody,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default)]
    payment_intent: Option<IntentRef>,
}

#[derive(Debug, Clone, Deserialize)]
struct IntentRef {
    #[serde(deserialize_with = "bounded")]
    id: String,
}

/// An id of the provider, which promises 255 characters at the most.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if id.is_empty() || id.len() > MAX_ID {
        return Err(D::Error::invalid_length(id.len(), &"an id of 1 to 255 bytes"));
    }
    Ok(id)
}

impl ErrorBody {
    fn is_the_providers(&self) -> bool {
        self.r#type.as_deref().is_some_and(|kind| ERROR_TYPES.contains(&kind))
    }

    /// The bank's reason, or else the provider's.
    pub fn decline(&self) -> Option<String> {
        code_of(self.decline_code.as_deref()).or_else(|| code_of(self.code.as_deref()))
    }
}

/// The body of a success, or what the answer or its absence means.
pub(super) fn classify(answer: Result<Answer, Lost>) -> Result<Bytes, Failure> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(lost @ Lost::NotSent(_)) => return Err(Failure::NotSent(lost)),
        Err(Lost::TimedOut) => return Err(Failure::TimedOut),
        Err(Lost::Broken(what)) => return Err(Failure::Open(what)),
    };
    let status = answer.status.as_u16();
    if (200..=299).contains(&status) {
        return Ok(answer.body);
    }
    let error = serde_json::from_slice::<ErrorEnvelope>(&answer.body).map(|e| e.error).ok();
    let error = error.filter(ErrorBody::is_the_providers);
    let kind = error.as_ref().and_then(|e| e.r#type.as_deref());
    let code = error.as_ref().and_then(|e| e.code.as_deref());
    let foreign = |may_be_done| Failure::Foreign { code: format!("http_{status}"), may_be_done };
    let word = || code_of(code).unwrap_or_else(|| format!("http_{status}"));
    Err(match (status, kind, code) {
        (429, _, _) => Failure::Busy { retry_after: answer.retry_after },
        // A proxy may say so of a request that it passed on.
        (408 | 409 | 424, None, _) => foreign(true),
        (..=499, None, _) => foreign(false),
        (401 | 403, _, _) => Failure::Refused(word()),
        (400..=499, _, Some("idempotency_key_in_use" | "lock_timeout")) => Failure::InProgress,
        (400..=499, Some("idempotency_error"), _) => Failure::KeyReused,
        (409, _, _) => Failure::InProgress,
        (402, _, _) | (400..=499, Some("card_error"), _) => {
            let decline = error.as_ref().and_then(ErrorBody::decline);
            let payment_id = error.as_ref().and_then(|e| e.payment_intent.as_ref());
            Failure::Declined {
                code: decline.unwrap_or_else(|| format!("http_{status}")),
                payment_id: payment_id.map(|intent| intent.id.clone()),
            }
        }
        (500..=599, _, _) if is_replayed(&answer) => Failure::KeyBurnt(format!("http_{status}")),
        // 424: a dependency of the provider failed.
        (408 | 504, _, _) => Failure::TimedOut,
        (424 | 500..=599, _, _) => Failure::Open(format!("http_{status}")),
        (400, _, _) | (402..=499, Some("invalid_request_error"), _) => Failure::Invalid(word()),
        _ => foreign(true),
    })
}

/// Whether it is the stored answer to an earlier request of the same key; see "Idempotent requests"
/// in Stripe's API reference.
fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

/// The value in the body of a success. One that can't be read leaves the outcome open: the
/// provider may have done something.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|_| Failure::Foreign { code: "unreadable_answer".into(), may_be_done: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    fn meaning(status: u16, body: &str) -> Failure {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            headers: Default::default(),
            body: body.to_owned().into(),
        };
        classify(Ok(answer)).unwrap_err()
    }

    fn error(kind: &str, code: &str) -> String {
        format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"of ana@example.com"}}}}"#)
    }

    #[test]
    fn every_class_of_error_has_its_meaning() {
        let declined = |code: &str| Failure::Declined { code: code.into(), payment_id: None };
        let request = "invalid_request_error";
        for (status, body, expected) in [
            (400, error(request, "amount_too_small"), Failure::Invalid("amount_too_small".into())),
            (404, error(request, "resource_missing"), Failure::Invalid("resource_missing".into())),
            (422, error(request, "parameter"), Failure::Invalid("parameter".into())),
            (401, error(request, "api_key_expired"), Failure::Refused("api_key_expired".into())),
            (403, error(request, ""), Failure::Refused("http_403".into())),
            (402, error("card_error", "expired_card"), declined("expired_card")),
            (402, error("card_error", ""), declined("http_402")),
            (400, error("card_error", "expired_card"), declined("expired_card")),
            (400, error("idempotency_error", ""), Failure::KeyReused),
            (409, error("idempotency_error", ""), Failure::KeyReused),
            (409, error("idempotency_error", "idempotency_key_in_use"), Failure::InProgress),
            (409, error(request, "lock_timeout"), Failure::InProgress),
            (429, error(request, "lock_timeout"), Failure::Busy { retry_after: None }),
            (409, error(request, ""), Failure::InProgress),
            (408, error(request, ""), Failure::TimedOut),
            (504, String::new(), Failure::TimedOut),
            (424, error("api_error", ""), Failure::Open("http_424".into())),
            (500, error("api_error", "x"), Failure::Open("http_500".into())),
            (503, String::new(), Failure::Open("http_503".into())),
        ] {
            assert_eq!(meaning(status, &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn an_answer_that_is_not_the_providers_tells_nothing_of_the_order() {
        for body in [
            "",
            "<html><h1>400 Bad Request</h1><hr>nginx</html>",
            "no JSON",
            "{}",
            "[]",
            "null",
            "\"card_error\"",
            r#"{"error":"invalid_request_error"}"#,
            r#"{"error":{}}"#,
            r#"{"error":{"type":null,"message":"x"}}"#,
            r#"{"error":{"type":"BadRequest","code":"card_declined"}}"#,
            r#"{"error":{"type":"card_error","code":400}}"#,
            r#"{"type":"card_error","code":"card_declined"}"#,
            r#"{"message":"Forbidden"}"#,
        ] {
            for status in [301, 302, 307, 400, 401, 402, 403, 404, 405, 413, 418, 422, 451, 499] {
                let code = format!("http_{status}");
                let expected = Failure::Foreign { code, may_be_done: false };
                assert_eq!(meaning(status, body), expected, "{status} {body}");
            }
            for status in [408, 409, 424] {
                let code = format!("http_{status}");
                let expected = Failure::Foreign { code, may_be_done: true };
                assert_eq!(meaning(status, body), expected, "{status} {body}");
            }
            assert_eq!(meaning(429, body), Failure::Busy { retry_after: None });
        }
    }

    #[test]
    fn a_success_that_is_not_the_providers_leaves_the_outcome_open() {
        let expected = Failure::Foreign { code: "unreadable_answer".into(), may_be_done: true };
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"status":"ok"}"#,
            r#"{"object":"list","data":[],"status":"succeeded","id":"x"}"#,
        ] {
            let body = body.as_bytes();
            assert_eq!(parse::<Intent>(body).unwrap_err(), expected);
            assert_eq!(parse::<SearchResult>(body).unwrap_err(), expected);
            assert_eq!(parse::<Refund>(body).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_banks_reason_comes_before_the_providers() {
        let body = r#"{"error":{"type":"card_error","code":"card_declined",
            "decline_code":"insufficient_funds","payment_intent":{"id":"pi_9"}}}"#;
        let expected = Failure::Declined {
            code: "insufficient_funds".into(),
            payment_id: Some("pi_9".into()),
        };
        assert_eq!(meaning(402, body), expected);
    }

    #[test]
    fn free_text_never_gets_into_the_detail() {
        let body = error("card_error", "Ana's card, ana@example.com");
        assert_eq!(meaning(402, &body).detail(), "http_402");
        assert_eq!(Failure::Open("connection of ana broke".into()).detail(), "connection_lost");
    }

    #[test]
    fn a_success_that_can_not_be_read_leaves_the_outcome_open() {
        let unreadable = parse::<Intent>(b"{\"id\":").unwrap_err();
        let code = "unreadable_answer".into();
        assert_eq!(unreadable, Failure::Foreign { code, may_be_done: true });
        let intent =
            |id: &str| format!(r#"{{"object":"payment_intent","id":"{id}","status":"succeeded"}}"#);
        assert!(parse::<Intent>(intent(&"p".repeat(MAX_ID)).as_bytes()).is_ok());
        assert!(parse::<Intent>(intent(&"p".repeat(MAX_ID + 1)).as_bytes()).is_err());
        let newer = br#"{"object":"payment_intent","id":"pi_1","status":"dreaming"}"#;
        assert_eq!(parse::<Intent>(newer).unwrap().status, IntentStatus::Other);
    }
}
