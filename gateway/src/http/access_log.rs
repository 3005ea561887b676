//! One line for each request, without bodies, keys and variables.

use std::net::IpAddr;
use std::time::Instant;

use async_graphql::parser::types::OperationType;
use http::{Method, Request, Response, Uri};
use http_body::Body;
use tracing::info;

use super::request_id::RequestId;
use crate::auth::{Caller, Principal};
use crate::execute;
use crate::failure::Code;

/// Bytes of a path, and of an operation's name, that are logged.
const MAX_LEN: usize = 200;

/// What the routes learn of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Learnt {
    pub caller: Caller,
    pub operation: Option<OperationType>,
    /// As the client gave it.
    pub name: Option<String>,
    pub code: Option<Code>,
}

/// A line, begun when the request came.
pub(super) struct Line {
    began: Instant,
    method: Method,
    uri: Uri,
}

impl Line {
    pub fn begin<B>(request: &Request<B>) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { began: Instant::now(), method, uri }
    }

    /// Writes it when the head of the answer is there.
    pub fn write<B: Body>(self, response: &Response<B>, address: IpAddr, id: &RequestId) {
        let nothing = Learnt::default();
        let learnt = response.extensions().get::<Learnt>().unwrap_or(&nothing);
        let (role, customer) = match &learnt.caller {
            None => (None, None),
            Some(Principal::Operator) => (Some("operator"), None),
            Some(Principal::Customer(id)) => (Some("customer"), Some(&**id)),
        };
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        info!(
            target: "comanda::access",
            request_id = id.as_str(),
            method = self.method.as_str(),
            path = cut(self.uri.path()),
            status = response.status().as_u16(),
            bytes = response.body().size_hint().exact(),
            micros,
            %address,
            role,
            customer,
            operation = learnt.operation.map(execute::name),
            name = learnt.name.as_deref().filter(|name| is_name(name)).map(cut),
            code = learnt.code.map(Code::as_str),
        );
    }
}

/// A name as GraphQL has them (specification §2.1.9), so that nothing else gets into the log.
fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LEN)]
}
