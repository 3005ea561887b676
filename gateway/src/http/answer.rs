//! Answers as HTTP responses.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use metrics::counter;

use super::accept::Media;
use crate::execute::Answer;
use crate::failure::{Code, Failure};
use crate::metrics::REFUSED_TOTAL;
use crate::rate::Allowance;

/// Seconds after which to try again what is overloaded or away.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Headers that most responses have in the end.
const HEADERS: usize = 10;

/// A refusal of a request as such, before any GraphQL.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub failure: Failure,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: &'static str) -> Self {
        let failure = Failure::new(Code::BadRequest, message);
        Self { status, failure, headers: Vec::new() }
    }

    pub fn method(allow: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).with(ALLOW, allow)
    }

    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    pub fn respond(self, media: Media) -> Response<Bytes> {
        counter!(REFUSED_TOTAL, "status" => self.status.as_str().to_owned()).increment(1);
        let (code, retry_after) = (self.failure.code, self.failure.retry_after);
        let mut response = encode(self.status, media, &self.failure.into());
        add_advice(&mut response, code, retry_after);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { status: failure.code.status(), failure, headers: Vec::new() }
    }
}

impl From<Allowance> for Refusal {
    fn from(allowance: Allowance) -> Self {
        let mut refusal = Self::from(Failure::from(&allowance));
        refusal.headers.extend(allowance.fields());
        refusal
    }
}

/// The response that carries an answer.
pub(super) fn respond(media: Media, answer: &Answer) -> Response<Bytes> {
    let code = answer.code();
    let mut response = encode(status(media, answer), media, answer);
    if let Some(code) = code.filter(|_| response.status() != StatusCode::OK) {
        add_advice(&mut response, code, answer.retry_after());
    }
    response
}

/// Answers with data have the status 200 (GraphQL over HTTP, "Status Codes": they must). Without,
/// `application/graphql-response+json` has the status of the failure. With `application/json`,
/// whose status older clients take for that of the transport alone, a request that is at fault is
/// still answered with 200; but where the gateway is at fault, or the client is to slow down, the
/// status says so. Proxies, load balancers and the retries of HTTP clients go by nothing else, and
/// the specification only says for `data: null` that a 2xx status *should* be used.
fn status(media: Media, answer: &Answer) -> StatusCode {
    let has_data = answer.data.as_ref().is_some_and(|data| *data != async_graphql::Value::Null);
    match (media, answer.code()) {
        (_, None) => StatusCode::OK,
        (_, Some(_)) if has_data => StatusCode::OK,
        (Media::GraphqlResponse, Some(code)) => code.status(),
        (Media::Json, Some(code)) if code.is_retriable() || code.status().is_server_error() => {
            code.status()
        }
        (Media::Json, Some(_)) => StatusCode::OK,
    }
}

fn encode(status: StatusCode, media: Media, answer: &Answer) -> Response<Bytes> {
    let body = serde_json::to_vec(answer).expect("answers have string keys and no failing values");
    carry(status, media, body)
}

/// The response that carries an answer without errors, which is JSON already.
pub(super) fn respond_json(media: Media, answer: Vec<u8>) -> Response<Bytes> {
    carry(StatusCode::OK, media, answer)
}

fn carry(status: StatusCode, media: Media, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept, authorization, x-api-key"));
    response
}

fn add_advice(response: &mut Response<Bytes>, code: Code, retry_after: Option<u64>) {
    let headers = response.headers_mut();
    if code == Code::Unauthenticated {
        let challenge = HeaderValue::from_static("Bearer realm=\"comanda\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    let is_away = code.status() == StatusCode::SERVICE_UNAVAILABLE;
    if let Some(seconds) = retry_after.or(is_away.then_some(RETRY_AFTER_SECONDS)) {
        headers.insert(RETRY_AFTER, seconds.into());
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
    fn the_status_says_who_is_at_fault() {
        let partly = Some(Value::Boolean(true));
        for (code, data, graphql, json) in [
            (Code::ValidationFailed, None, 400, 200),
            (Code::ParseFailed, None, 400, 200),
            (Code::LimitExceeded, None, 400, 200),
            (Code::Unauthenticated, Some(Value::Null), 401, 200),
            (Code::Forbidden, Some(Value::Null), 403, 200),
            (Code::RateLimited, Some(Value::Null), 429, 429),
            (Code::Overloaded, Some(Value::Null), 503, 503),
            (Code::BrokerUnavailable, Some(Value::Null), 503, 503),
            (Code::OutcomeUnknown, Some(Value::Null), 504, 504),
            (Code::BrokerRejected, Some(Value::Null), 502, 502),
            (Code::Internal, None, 500, 500),
            (Code::Overloaded, partly.clone(), 200, 200),
            (Code::Internal, partly, 200, 200),
        ] {
            let answer = answer(code, data);
            assert_eq!(status(Media::GraphqlResponse, &answer), graphql, "{code:?}");
            assert_eq!(status(Media::Json, &answer), json, "{code:?}");
        }
    }

    #[test]
    fn advice_goes_with_the_status() {
        let get = |media, code, name: &str| {
            let response = respond(media, &answer(code, None));
            response.headers().get(name).map(|v| v.to_str().unwrap().to_owned())
        };
        for media in [Media::GraphqlResponse, Media::Json] {
            assert_eq!(get(media, Code::Overloaded, "retry-after").as_deref(), Some("1"));
            assert_eq!(get(media, Code::Unauthenticated, "retry-after"), None);
        }
        let challenge = get(Media::GraphqlResponse, Code::Unauthenticated, "www-authenticate");
        assert!(challenge.unwrap().starts_with("Bearer"));
        let limited = Failure { retry_after: Some(7), ..Failure::new(Code::RateLimited, "no") };
        let response = respond(Media::Json, &limited.into());
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
    }
}
