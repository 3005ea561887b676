//! Answers as HTTP responses.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use metrics::counter;

use super::accept::Media;
use crate::execute::Answer;
use crate::failure::{Code, Failure};
use crate::metrics::REFUSED_TOTAL;

/// Seconds after which to try again what is overloaded or away.
const RETRY_AFTER_SECONDS: &str = "1";

/// A refusal of a request as such, before any GraphQL.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub failure: Failure,
    /// Value of `Allow`.
    pub allow: Option<&'static str>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, failure: Failure::new(Code::BadRequest, message), allow: None }
    }

    pub fn method(allow: &'static str, message: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    pub fn respond(self, media: Media) -> Response<Bytes> {
        counter!(REFUSED_TOTAL, "status" => self.status.as_str().to_owned()).increment(1);
        let code = self.failure.code;
        let mut response = encode(self.status, media, &self.failure.into());
        add_advice(&mut response, code);
        if let Some(allow) = self.allow {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { status: failure.code.status(), failure, allow: None }
    }
}

/// The response that carries an answer.
pub(super) fn respond(media: Media, answer: &Answer) -> Response<Bytes> {
    let code = answer.code();
    let mut response = encode(status(media, answer), media, answer);
    if let Some(code) = code.filter(|_| response.status() != StatusCode::OK) {
        add_advice(&mut response, code);
    }
    response
}

/// GraphQL over HTTP §6.4: with `application/json` a well-formed request is answered with 200,
/// with the other media type the status says whether there are data.
fn status(media: Media, answer: &Answer) -> StatusCode {
    let has_data = answer.data.as_ref().is_some_and(|data| *data != async_graphql::Value::Null);
    match (media, answer.code()) {
        (_, Some(Code::Internal)) if !has_data => StatusCode::INTERNAL_SERVER_ERROR,
        (Media::Json, _) | (_, None) => StatusCode::OK,
        (Media::GraphqlResponse, Some(_)) if has_data => StatusCode::OK,
        (Media::GraphqlResponse, Some(code)) => code.status(),
    }
}

fn encode(status: StatusCode, media: Media, answer: &Answer) -> Response<Bytes> {
    let body = serde_json::to_vec(answer).expect("answers have string keys and no failing values");
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept, authorization, x-api-key"));
    response
}

fn add_advice(response: &mut Response<Bytes>, code: Code) {
    let headers = response.headers_mut();
    if code == Code::Unauthenticated {
        let challenge = HeaderValue::from_static("Bearer realm=\"comanda\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if code.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::Value;

    use super::*;

    fn answer(code: Code, data: Option<Value>) -> Answer {
        Answer { data, ..Failure::new(code, "no").into() }
    }

    #[test]
    fn the_status_says_with_one_media_type_what_the_other_leaves_to_the_body() {
        let partly = Some(Value::Boolean(true));
        for (code, data, expected) in [
            (Code::ValidationFailed, None, 400),
            (Code::ParseFailed, None, 400),
            (Code::LimitExceeded, None, 400),
            (Code::Unauthenticated, Some(Value::Null), 401),
            (Code::Forbidden, Some(Value::Null), 403),
            (Code::Overloaded, Some(Value::Null), 503),
            (Code::BrokerUnavailable, Some(Value::Null), 503),
            (Code::OutcomeUnknown, Some(Value::Null), 504),
            (Code::Overloaded, partly, 200),
        ] {
            let answer = answer(code, data);
            assert_eq!(status(Media::GraphqlResponse, &answer), expected, "{code:?}");
            assert_eq!(status(Media::Json, &answer), 200, "{code:?}");
        }
        assert_eq!(status(Media::Json, &answer(Code::Internal, None)), 500);
    }

    #[test]
    fn advice_goes_with_the_status() {
        let get = |code, name: &str| {
            let response = respond(Media::GraphqlResponse, &answer(code, None));
            response.headers().get(name).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(get(Code::Overloaded, "retry-after").as_deref(), Some("1"));
        assert_eq!(get(Code::Unauthenticated, "retry-after"), None);
        assert!(get(Code::Unauthenticated, "www-authenticate").unwrap().starts_with("Bearer"));
        let plain = respond(Media::Json, &answer(Code::Overloaded, None));
        assert_eq!((plain.status(), plain.headers().get(RETRY_AFTER)), (StatusCode::OK, None));
    }
}
