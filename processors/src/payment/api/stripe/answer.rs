//! What the provider's answers mean: the one place that tells a decline from a doubt.
//!
//! Sources: "Errors" and "Idempotent requests" in Stripe's API reference, and "Advanced error
//! handling" (<https://docs.stripe.com/error-low-level>) for which answers leave the outcome open.

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use super::super::Failure;
use crate::provider::{Answer, Lost, code_of};

/// Longest id that is taken over from the provider, in bytes.
const MAX_ID: usize = 255;

/// A payment, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
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

#[derive(Debug, Deserialize)]
pub(super) struct SearchResult {
    pub data: Vec<Intent>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refund {
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
    let kind = error.as_ref().and_then(|e| e.r#type.as_deref());
    let code = error.as_ref().and_then(|e| e.code.as_deref());
    let word = || code_of(code).unwrap_or_else(|| format!("http_{status}"));
    Err(match (status, kind, code) {
        (429, _, _) => Failure::Busy { retry_after: answer.retry_after },
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
        // 408: the whole request never came; but a proxy may say so of a request it passed on.
        // 424: a dependency of the provider failed.
        (408 | 504, _, _) => Failure::TimedOut,
        (424 | 500..=599, _, _) => Failure::Open(format!("http_{status}")),
        (400, _, _) | (402..=499, Some("invalid_request_error"), _) => Failure::Invalid(word()),
        // Redirects, unknown paths, other answers of somebody who is not the provider.
        _ => Failure::Refused(word()),
    })
}

/// Whether it is the stored answer to an earlier request of the same key; see "Idempotent requests"
/// in Stripe's API reference.
fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

/// The value in the body of a success. One that can't be read leaves the outcome open: the
/// provider did something.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::Open("unreadable_answer".into()))
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
            (400, "no JSON".into(), Failure::Invalid("http_400".into())),
            (404, "<html>".into(), Failure::Refused("http_404".into())),
            (302, String::new(), Failure::Refused("http_302".into())),
            (401, error(request, "api_key_expired"), Failure::Refused("api_key_expired".into())),
            (403, error(request, ""), Failure::Refused("http_403".into())),
            (402, error("card_error", "expired_card"), declined("expired_card")),
            (402, String::new(), declined("http_402")),
            (400, error("card_error", "expired_card"), declined("expired_card")),
            (400, error("idempotency_error", ""), Failure::KeyReused),
            (409, error("idempotency_error", ""), Failure::KeyReused),
            (409, error("idempotency_error", "idempotency_key_in_use"), Failure::InProgress),
            (409, error(request, "lock_timeout"), Failure::InProgress),
            (429, error(request, "lock_timeout"), Failure::Busy { retry_after: None }),
            (409, String::new(), Failure::InProgress),
            (408, String::new(), Failure::TimedOut),
            (504, String::new(), Failure::TimedOut),
            (424, String::new(), Failure::Open("http_424".into())),
            (500, error("api_error", "x"), Failure::Open("http_500".into())),
            (503, String::new(), Failure::Open("http_503".into())),
        ] {
            assert_eq!(meaning(status, &body), expected, "{status} {body}");
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
        assert_eq!(unreadable, Failure::Open("unreadable_answer".into()));
        let long = format!(r#"{{"id":"{}","status":"succeeded"}}"#, "p".repeat(MAX_ID + 1));
        assert!(parse::<Intent>(long.as_bytes()).is_err());
        let newer = br#"{"id":"pi_1","status":"dreaming"}"#;
        assert_eq!(parse::<Intent>(newer).unwrap().status, IntentStatus::Other);
    }
}
