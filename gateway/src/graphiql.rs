//! The page at `/`: GraphiQL from a CDN, pinned by version and hash, or, where that can't be
//! reached, a plain form that does without.

use bytes::Bytes;
use http::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

const PAGE: &str = include_str!("graphiql.html");

/// Scripts and styles of the page itself and of the CDN; requests to this gateway alone; in no
/// other site's frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' https://unpkg.com; \
                      style-src 'unsafe-inline' https://unpkg.com; img-src data:; \
                      font-src data: https://unpkg.com; connect-src 'self' ws: wss:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn page() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(PAGE.as_bytes()));
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
