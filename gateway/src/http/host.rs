//! The `Host` of a request (RFC 9112 §3.2).

use http::header::HOST;
use http::{Request, Version};

/// Why a request has no good `Host`; `None` where it has one, or needs none.
pub(super) fn problem<B>(request: &Request<B>) -> Option<&'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => {
            Some("a request of HTTP/1.1 needs the header Host")
        }
        (None, _) => None,
        (Some(_), Some(_)) => Some("a request has one header Host"),
        (Some(host), None) if is_host(host.as_bytes()) => None,
        (Some(_), None) => Some("the header Host is no host"),
    }
}

/// Whether all of it may stand in `uri-host [ ":" port ]` (RFC 3986 §3.2.2). It may be empty.
fn is_host(value: &[u8]) -> bool {
    let may_stand =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    value.iter().all(may_stand)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(version: Version, hosts: &[&str]) -> bool {
        let request = Request::builder().version(version);
        let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
        problem(&request.body(()).unwrap()).is_some()
    }

    #[test]
    fn http_1_1_has_one_host() {
        for good in
            ["x", "", "api.example:8080", "[::1]:8080", "127.0.0.1", "xn--bcher-kva.example"]
        {
            assert!(!is_refused(Version::HTTP_11, &[good]), "{good}");
        }
        for bad in [&[][..], &["x", "x"], &["a b"], &["a/b"], &["user@a"], &["a#b"]] {
            assert!(is_refused(Version::HTTP_11, bad), "{bad:?}");
        }
        assert!(!is_refused(Version::HTTP_10, &[]) && !is_refused(Version::HTTP_2, &[]));
        assert!(is_refused(Version::HTTP_10, &["a", "b"]));
    }
}
