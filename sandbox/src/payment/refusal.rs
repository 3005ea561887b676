use http::StatusCode;

/// A refusal that leaves no trace, in Stripe's terms.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub kind: &'static str,
    pub code: Option<&'static str>,
    pub param: Option<String>,
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind: "invalid_request_error", code, param: None, message }
    }

    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, None, "Authorization: Bearer and an API key are needed")
    }

    pub fn parameter(code: &'static str, param: &str, message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::BAD_REQUEST, Some(code), message);
        Self { param: Some(param.to_owned()), ..refusal }
    }

    pub fn missing(param: &str) -> Self {
        Self::parameter("parameter_missing", param, format!("Missing required param: {param}."))
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, None, message)
    }

    pub fn not_found(what: &str, id: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        Self::new(StatusCode::NOT_FOUND, Some("resource_missing"), message)
    }

    pub fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, None, "Unrecognized request URL or method")
    }

    pub fn key_reused() -> Self {
        let message = "This idempotency key was first used with other parameters";
        Self { kind: "idempotency_error", ..Self::new(StatusCode::BAD_REQUEST, None, message) }
    }

    pub fn key_in_use() -> Self {
        let message = "A request with this idempotency key is still running; try again later";
        Self::new(StatusCode::CONFLICT, Some("idempotency_key_in_use"), message)
    }

    pub fn rate_limited() -> Self {
        let message = "Too many requests; try again later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, Some("rate_limit"), message)
    }

    pub fn server_error() -> Self {
        let message = "Something went wrong on the provider's side";
        let refusal = Self::new(StatusCode::INTERNAL_SERVER_ERROR, None, message);
        Self { kind: "api_error", ..refusal }
    }
}
