//! What pages of other sites may do (CORS, fetch.spec.whatwg.org §3.2), and may not.
//!
//! There are no cookies: whoever asks shows a key that only our own code has. So a foreign site
//! gains nothing by sending requests, and needs no refusal; without the answers below its scripts
//! can't even read what comes back. It can't send a mutation at all without a preflight, since that
//! has to be `application/json`. WebSockets have no preflight, so their `Origin` is checked.

use std::collections::HashSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::Error;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, traceparent, x-api-key, x-request-id");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ratelimit, ratelimit-policy, retry-after, traceparent, www-authenticate, x-request-id",
);
/// Seconds for which a browser remembers a preflight; Chromium takes no more.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origins whose pages may read answers. `Access-Control-Allow-Credentials` is never sent:
/// credentials would be cookies, and there are none.
#[derive(Debug)]
pub(crate) enum Cors {
    Any,
    Only(HashSet<String>),
}

impl Cors {
    pub fn parse(origins: &[String]) -> Result<Self, Error> {
        if origins == ["*"] {
            return Ok(Self::Any);
        }
        match origins.iter().position(|origin| !is_origin(origin)) {
            None => Ok(Self::Only(origins.iter().map(|origin| origin.to_lowercase()).collect())),
            Some(wrong) => Err(Error::Options {
                key: "cors_origins",
                problem: format!(
                    "has, as number {}, no origin such as https://shop.example:8443; \"*\" stands \
                     alone",
                    wrong + 1
                ),
            }),
        }
    }

    fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(origins) => origins.contains(origin),
        }
    }

    /// The origin of a request, where its page may read the answer.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Only(_) => self.allows(origin.to_str().ok()?).then(|| origin.clone()),
        }
    }

    /// The answer to a preflight for `origin`, where `request` is one.
    pub fn preflight<B, R: Default>(
        &self,
        origin: Option<&HeaderValue>,
        request: &Request<B>,
    ) -> Option<Response<R>> {
        let is_preflight = origin.is_some()
            && request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(R::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(response)
    }

    /// Lets the page of `origin` read an answer.
    pub fn expose(&self, origin: Option<HeaderValue>, answer: &mut HeaderMap) {
        if let Self::Only(origins) = self
            && !origins.is_empty()
        {
            answer.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = origin {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// Whether whoever sent `headers` may open a WebSocket: a page of this very host or of an origin
    /// that is allowed, or no browser, which sends no `Origin`.
    pub fn allows_socket(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        self.allows(origin) || host.is_some_and(|host| is_same(origin, host))
    }
}

/// Whether `text` is as browsers write an origin.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    !authority.as_str().contains('@')
        && text.len() == scheme.len() + "://".len() + authority.as_str().len()
}

/// Whether an origin has this host. TLS ends before us, so its scheme tells nothing.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = if scheme == "https" { ":443" } else { ":80" };
    let plain = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    plain(authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors::parse(&origins.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_what_is_listed_may_read() {
        let origin = |cors: &Cors, origin: &str| cors.origin(&headers(&[(ORIGIN, origin)]));
        let shop = cors(&["https://shop.example", "HTTP://localhost:3000"]);
        assert_eq!(origin(&shop, "https://shop.example").unwrap(), "https://shop.example");
        assert_eq!(origin(&shop, "http://localhost:3000").unwrap(), "http://localhost:3000");
        for foreign in ["http://shop.example", "https://shop.example:8443", "null", "https://evil"]
        {
            assert_eq!(origin(&shop, foreign), None, "{foreign}");
        }
        assert_eq!(origin(&cors(&["*"]), "https://anybody.example").unwrap(), "*");
        assert_eq!(origin(&cors(&[]), "https://shop.example"), None);
    }

    #[test]
    fn a_socket_is_for_our_own_pages_and_those_listed() {
        let may = |cors: &Cors, origin: &str, host: &str| {
            cors.allows_socket(&headers(&[(ORIGIN, origin), (HOST, host)]))
        };
        let closed = cors(&[]);
        assert!(closed.allows_socket(&headers(&[(HOST, "api.example")])), "no browser");
        assert!(may(&closed, "https://api.example", "api.example"));
        assert!(may(&closed, "https://api.example", "API.example:443"));
        assert!(may(&closed, "http://127.0.0.1:8080", "127.0.0.1:8080"));
        for foreign in ["https://evil.example", "http://127.0.0.1:8081", "null", "api.example"] {
            assert!(!may(&closed, foreign, "api.example"), "{foreign}");
        }
        assert!(may(&cors(&["https://shop.example"]), "https://shop.example", "api.example"));
        assert!(may(&cors(&["*"]), "https://anybody.example", "api.example"));
    }

    #[test]
    fn what_no_browser_would_send_is_refused_as_a_setting() {
        for wrong in
            ["shop.example", "https://shop.example/", "https://", "null", "https://a@b", "*"]
        {
            let origins = ["https://fine.example".to_owned(), wrong.to_owned()];
            assert!(Cors::parse(&origins).is_err(), "{wrong}");
        }
    }
}
