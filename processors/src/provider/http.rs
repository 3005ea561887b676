//! One HTTP client per provider: base URL, key, time-outs, and answers of bounded size.

use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::{Bytes, BytesMut};
use comanda_schemas::headers::error_chain;
use metrics::{counter, histogram};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::Error;
use super::metrics::{REQUEST_SECONDS, REQUESTS_TOTAL};

/// Longest answer that is read, in bytes. Those of the providers are a few kilobytes.
const MAX_BODY: usize = 512 << 10;
/// Idle connections are closed before a server or a proxy in between does so (commonly after 60
/// seconds): a request on a connection that is just being closed has no known outcome.
const IDLE: Duration = Duration::from_secs(20);
/// Longest code taken over from an answer, in bytes.
const MAX_CODE: usize = 64;

/// Where a provider is and how to call it.
pub(crate) struct Endpoint<'a> {
    /// Name of the provider, for metrics and errors.
    pub provider: &'a str,
    /// Base URL, with or without a path and a slash at its end.
    pub url: &'a str,
    /// How it knows that a request is ours.
    pub auth: Auth<'a>,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Time from the first byte sent to the last byte of the answer.
    pub request_timeout: Duration,
}

/// How a provider knows that a request is ours.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Auth<'a> {
    /// It does not ask.
    None,
    /// `Authorization: Bearer KEY` (RFC 6750).
    Bearer(&'a SecretString),
    /// `Authorization: Basic …` (RFC 7617): a user's name and the key.
    Basic(&'static str, &'a SecretString),
    /// The key in a header of the provider's own, named in lower case.
    Header(&'static str, &'a SecretString),
}

impl Auth<'_> {
    /// Whether it takes a key and there is none.
    pub fn lacks_key(self) -> bool {
        match self {
            Auth::None => false,
            Auth::Bearer(key) | Auth::Basic(_, key) | Auth::Header(_, key) => {
                key.expose_secret().is_empty()
            }
        }
    }

    /// The header that carries it; `None` for a key that no header can carry.
    fn header(self) -> Option<HeaderMap> {
        let (name, value) = match self {
            Auth::None => return Some(HeaderMap::new()),
            Auth::Bearer(key) => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
            Auth::Basic(user, key) => {
                let pair = BASE64_STANDARD.encode(format!("{user}:{}", key.expose_secret()));
                (AUTHORIZATION, format!("Basic {pair}"))
            }
            Auth::Header(name, key) => {
                (HeaderName::from_static(name), key.expose_secret().to_owned())
            }
        };
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some(HeaderMap::from_iter([(name, value)]))
    }
}

/// A client of one provider.
#[derive(Debug)]
pub(crate) struct Http {
    provider: String,
    base: Url,
    client: Client,
}

/// What a provider answered, whatever the status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    /// `Retry-After`, where the answer has one.
    pub retry_after: Option<Duration>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// No connection came about, so the provider saw nothing of it.
    #[error("no connection: {0}")]
    NotSent(String),
    /// Sent; no whole answer came in time. The provider may still be at work on it.
    #[error("no answer in time")]
    TimedOut,
    /// Sent, perhaps in part; the connection broke or the answer was not readable.
    #[error("connection lost: {0}")]
    Broken(String),
}

impl Http {
    pub fn new(endpoint: &Endpoint<'_>) -> Result<Self, Error> {
        let provider = || endpoint.provider.to_owned();
        let headers = endpoint.auth.header().ok_or_else(|| Error::Setting {
            provider: provider(),
            setting: "key",
            problem: "has characters that no HTTP header can carry",
        })?;
        let client = Client::builder()
            .user_agent(concat!("comanda/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // The key and the customer's data go to the configured host and to no other.
            .redirect(redirect::Policy::none())
            .no_proxy()
            // Repeating a charge is decided by the processor alone.
            .retry(retry::never())
            .connect_timeout(endpoint.connect_timeout)
            .timeout(endpoint.request_timeout)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|source| Error::Client { provider: provider(), source })?;
        let base = base_url(endpoint.url).ok_or_else(|| Error::Url { provider: provider() })?;
        Ok(Self { provider: provider(), base, client })
    }

    /// A request to `path`, which is relative to the base URL and does not begin with a slash.
    pub fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client.request(method, url)
    }

    /// Sends and reads the whole answer. `call` names the call in the metrics.
    pub async fn send(&self, call: &'static str, request: RequestBuilder) -> Result<Answer, Lost> {
        let begun = Instant::now();
        let answer = match request.send().await {
            Ok(response) => read(response).await,
            Err(error) => Err(lost(error)),
        };
        let outcome = match &answer {
            Ok(answer) => class(answer.status),
            Err(Lost::NotSent(_)) => "not_sent",
            Err(Lost::TimedOut) => "timed_out",
            Err(Lost::Broken(_)) => "broken",
        };
        let provider = || self.provider.clone();
        counter!(
            REQUESTS_TOTAL, "provider" => provider(), "call" => call, "outcome" => outcome
        )
        .increment(1);
        histogram!(REQUEST_SECONDS, "provider" => provider(), "call" => call)
            .record(begun.elapsed());
        answer
    }
}

fn base_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Some(url)
}

async fn read(mut response: Response) -> Result<Answer, Lost> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let retry_after = headers.get(RETRY_AFTER).and_then(parse_retry_after);
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Lost::Broken(format!("an answer of more than {MAX_BODY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, retry_after, headers, body: body.freeze() })
}

/// The URL is left out of the text: queries and base URLs are not for logs.
fn lost(error: reqwest::Error) -> Lost {
    let error = error.without_url();
    if error.is_connect() {
        Lost::NotSent(error_chain(&error))
    } else if error.is_timeout() {
        Lost::TimedOut
    } else {
        Lost::Broken(error_chain(&error))
    }
}

/// Seconds or an HTTP date (RFC 9110 §10.2.3); a date in the past is no wait.
fn parse_retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = OffsetDateTime::parse(text, &Rfc2822).ok()? - OffsetDateTime::now_utc();
    Some(wait.try_into().unwrap_or_default())
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// A provider's own code for an error, fit for events and logs; `None` for anything that does not
/// look like a code, so that no free text, which may name a person, passes for one.
pub(crate) fn code_of(text: Option<&str>) -> Option<String> {
    let code = text?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let fits = (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(plain);
    fits.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wiremock::matchers::{header, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn http(url: &str) -> Http {
        try_http(url, "sk_1").unwrap()
    }

    fn try_http(url: &str, key: &str) -> Result<Http, Error> {
        http_with(url, Auth::Bearer(&key.to_owned().into()))
    }

    fn http_with(url: &str, auth: Auth<'_>) -> Result<Http, Error> {
        Http::new(&Endpoint {
            provider: "p",
            url,
            auth,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_millis(300),
        })
    }

    async fn server(answer: ResponseTemplate) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        server
    }

    async fn get(url: &str) -> Result<Answer, Lost> {
        let http = http(url);
        http.send("test", http.request(Method::GET, "v1/x", &[])).await
    }

    #[tokio::test]
    async fn a_request_keeps_the_base_path_and_carries_key_query_and_user_agent() {
        let server = MockServer::start().await;
        Mock::given(path("/base/v1/x"))
            .and(header("authorization", "Bearer sk_1"))
            .and(header("user-agent", concat!("comanda/", env!("CARGO_PKG_VERSION"))))
            .and(query_param("q", "a'b&c"))
            .respond_with(ResponseTemplate::new(200).set_body_string("yes"))
            .mount(&server)
            .await;
        for base in ["/base", "/base/"] {
            let http = http(&format!("{}{base}", server.uri()));
            let request = http.request(Method::GET, "v1/x", &[("q", "a'b&c")]);
            let answer = http.send("test", request).await.unwrap();
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"yes"[..]));
        }
    }

    #[tokio::test]
    async fn each_kind_of_key_has_its_header() {
        let server = server(ResponseTemplate::new(200)).await;
        let key = SecretString::from("k:1");
        for (auth, name, value) in [
            (Auth::Bearer(&key), "authorization", Some("Bearer k:1")),
            (Auth::Basic("api", &key), "authorization", Some("Basic YXBpOms6MQ==")),
            (Auth::Header("x-token", &key), "x-token", Some("k:1")),
            (Auth::None, "authorization", None),
        ] {
            let http = http_with(&server.uri(), auth).unwrap();
            assert!(!format!("{http:?}").contains("k:1"), "{http:?}");
            http.send("test", http.request(Method::GET, "x", &[])).await.unwrap();
            let request = server.received_requests().await.unwrap().pop().unwrap();
            let sent = request.headers.get(name).and_then(|value| value.to_str().ok());
            assert_eq!(sent, value, "{auth:?}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let other = server(ResponseTemplate::new(200)).await;
        let moved = ResponseTemplate::new(307).insert_header("location", other.uri());
        let answer = get(&server(moved).await.uri()).await.unwrap();
        assert_eq!(answer.status.as_u16(), 307);
        assert!(other.received_requests().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn no_listener_means_that_nothing_was_sent() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let lost = get(&format!("http://{unused}/secret-path")).await.unwrap_err();
        assert!(matches!(&lost, Lost::NotSent(_)), "{lost:?}");
        assert!(!lost.to_string().contains("secret-path"), "{lost}");
    }

    #[tokio::test]
    async fn an_answer_that_takes_too_long_timed_out() {
        let slow = server(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
        assert_eq!(get(&slow.uri()).await.unwrap_err(), Lost::TimedOut);
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_its_end() {
        let long =
            server(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; MAX_BODY + 1])).await;
        assert!(matches!(get(&long.uri()).await.unwrap_err(), Lost::Broken(_)));
        let fits = server(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; MAX_BODY])).await;
        assert_eq!(get(&fits.uri()).await.unwrap().body.len(), MAX_BODY);
    }

    #[tokio::test]
    async fn retry_after_is_read_from_the_answer() {
        let busy = server(ResponseTemplate::new(429).insert_header("retry-after", "7")).await;
        let answer = get(&busy.uri()).await.unwrap();
        assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parse = |text: &str| parse_retry_after(&HeaderValue::from_str(text).unwrap());
        assert_eq!(parse(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(parse("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let future = parse("Fri, 01 Jan 2100 00:00:00 GMT").unwrap();
        assert!(future > Duration::from_secs(86_400), "{future:?}");
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-5"), None);
    }

    #[test]
    fn only_what_looks_like_a_code_passes_for_one() {
        assert_eq!(code_of(Some("insufficient_funds")).as_deref(), Some("insufficient_funds"));
        for text in ["", "ana@example.com", "Your card was declined", &"x".repeat(65), "a\nb"] {
            assert_eq!(code_of(Some(text)), None, "{text:?}");
        }
    }

    #[test]
    fn settings_that_can_not_work_are_refused_without_being_shown() {
        for url in ["", "payments.example", "file:///etc/x", "ftp://example.com"] {
            assert!(matches!(try_http(url, "k"), Err(Error::Url { .. })), "{url}");
        }
        let error = try_http("http://localhost", "sec\nret").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("ret\""), "{error:?}");
        assert!(!format!("{:?}", http("http://localhost")).contains("sk_1"));
    }
}
