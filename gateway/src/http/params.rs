//! The parameters of a request, from its body or its URL.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::value::RawValue;

use crate::failure::{Code, Failure};
use crate::params::{Params, Wire, object, problem};

fn bad(message: String) -> Failure {
    Failure::new(Code::BadRequest, message)
}

/// Whether a POST has the one content type that is taken: JSON in UTF-8. Forms and plain text are
/// what other sites can make a browser send without asking.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
            let value = value.trim().trim_matches('"');
            !name.trim().eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8")
        })
}

/// What some clients send before JSON, and a reader may ignore (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// The body of a POST with its variables as they came, where it is an object of the right types.
pub(super) fn raw(body: &[u8]) -> Option<Wire<'_>> {
    let body = without_mark(body);
    if is_list(body) { None } else { serde_json::from_slice(body).ok() }
}

fn is_list(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// From the body of a POST.
pub(super) fn of_body(body: &[u8]) -> Result<Params, Failure> {
    let body = without_mark(body);
    if is_list(body) {
        return Err(bad("a batch of requests is not taken; send them one by one".into()));
    }
    Params::read(body).map_err(|problem| bad(format!("the body is no GraphQL request: {problem}")))
}

/// From the query of a GET's URL.
pub(super) fn of_query(query: &str) -> Result<Params, Failure> {
    let mut found: HashMap<String, String> = HashMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_ours =
            matches!(&*name, "query" | "documentId" | "operationName" | "variables" | "extensions");
        if is_ours && let Some(_first) = found.insert(name.clone().into_owned(), value.into_owned())
        {
            return Err(bad(format!("the URL has the parameter {name} twice")));
        }
    }
    let (variables, extensions) = (found.remove("variables"), found.remove("extensions"));
    let wire = Wire {
        query: found.remove("query"),
        document_id: found.remove("documentId"),
        operation_name: found.remove("operationName"),
        variables: json(variables.as_deref(), "variables")?,
        extensions: json(extensions.as_deref(), "extensions")?,
    };
    Params::try_from(wire)
        .map_err(|problem| bad(format!("the URL is no GraphQL request: {problem}")))
}

fn json<'t>(text: Option<&'t str>, name: &str) -> Result<Option<&'t RawValue>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let mut from = serde_json::Deserializer::from_str(text);
    let value = object(&mut from).and_then(|value| from.end().map(|()| value));
    value.map_err(|error| bad(format!("parameter {name}: {}", problem(&error, "an object"))))
}

/// Reads any bytes as a body, both ways, and as the query of a URL.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_for_fuzzing(bytes: &[u8]) {
    let (params, raw) = (of_body(bytes), raw(bytes));
    match raw.map(Params::try_from) {
        Some(Ok(wire)) => {
            let params = params.expect("one reader takes what the other does");
            assert_eq!(params.document, wire.document);
            assert_eq!(params.operation_name, wire.operation_name);
            let text = |params: &Params| params.variables.as_ref().map(|v| v.get().to_owned());
            assert_eq!(text(&params), text(&wire));
        }
        Some(Err(_)) | None => assert!(params.is_err()),
    }
    if let Ok(query) = std::str::from_utf8(bytes) {
        let _ = of_query(query);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Wanted;

    #[test]
    fn parameters_have_the_right_types_or_are_refused() {
        // How deep variables may be is for the limits to say.
        let deep = format!(
            r#"{{"query":"{{a}}","variables":{{"a":{}1{}}}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        for good in [
            r#"{"query":"{a}"}"#,
            r#" {"query":"{a}","variables":null,"operationName":null,"extensions":null}"#,
            r#"{"query":"{a}","variables":{"a":[1]},"operationName":"A","extensions":{"a":1}}"#,
            r#"{"query":"{a}","id":1}"#,
            r#"{"documentId":"a"}"#,
            "\u{feff}{\"query\":\"{a}\"}",
            r#"{"query":null,"documentId":"a"}"#,
            r#"{"query":null,"extensions":{"persistedQuery":{"version":1,"sha256Hash":"ab"}}}"#,
            &deep,
            r#"{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"ab"}}}"#,
        ] {
            assert!(of_body(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "null",
            "1",
            "{",
            "[]",
            r#"[{"query":"{a}"}]"#,
            r#"{}"#,
            r#"{"query":null}"#,
            r#"{"query":{}}"#,
            r#"{"query":0}"#,
            r#"{"query":["{a}"]}"#,
            r#"{"query":"{a}","variables":"{}"}"#,
            r#"{"query":"{a}","variables":[]}"#,
            r#"{"query":"{a}","variables":false}"#,
            r#"{"query":"{a}","operationName":0}"#,
            r#"{"query":"{a}","operationName":{}}"#,
            r#"{"query":"{a}","extensions":"x"}"#,
            r#"{"query":"{a}","extensions":[]}"#,
            r#"{"query":"{a}"} {}"#,
            r#"{"documentId":1}"#,
            r#"{"query":"{a}","extensions":{"persistedQuery":{"version":2,"sha256Hash":"ab"}}}"#,
            r#"{"query":"{a}","extensions":{"persistedQuery":{"version":1}}}"#,
            r#"{"extensions":{"persistedQuery":"ab"}}"#,
            r#"{"extensions":{"persistedQuery":[1,"ab"]}}"#,
        ] {
            let refused = of_body(bad.as_bytes()).map_err(|failure| failure.code);
            assert_eq!(refused.err(), Some(Code::BadRequest), "{bad:.60}");
        }
        assert!(of_body(b"{\"query\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_url_has_each_parameter_once() {
        let params = of_query("query=%7Ba%7D&variables=%7B%22b%22%3A1%7D&operationName=&x=1&x=2");
        let params = params.unwrap();
        assert_eq!((params.document, params.operation_name), (Wanted::Text("{a}".into()), None));
        assert_eq!(params.variables.unwrap().get(), r#"{"b":1}"#);
        let hash =
            "extensions=%7B%22persistedQuery%22:%7B%22version%22:1,%22sha256Hash%22:%22ab%22%7D%7D";
        assert_eq!(of_query(hash).unwrap().document, Wanted::Id("ab".into()));
        assert_eq!(of_query("documentId=ab").unwrap().document, Wanted::Id("ab".into()));
        let named = Wanted::Named { text: "{a}".into(), hash: "ab".into() };
        assert_eq!(of_query(&format!("query=%7Ba%7D&{hash}")).unwrap().document, named);
        let twice = "query=%7Ba%7D&query=%7Bb%7D";
        for bad in ["", "x=1", twice, "query=a&variables=1", "query=a&extensions=%5B%5D"] {
            assert!(of_query(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_post_is_json_in_utf_8() {
        let check =
            |value: &str| is_json(&[(CONTENT_TYPE, value.parse().unwrap())].into_iter().collect());
        for good in ["application/json", "Application/JSON ; Charset=\"UTF-8\""] {
            assert!(check(good), "{good}");
        }
        for bad in ["", "text/plain", "application/json; charset=utf-16", "application/jsonp"] {
            assert!(!check(bad), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
