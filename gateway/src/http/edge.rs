//! What is done for every request, whatever it asks for: who sent it, what it is called, who may
//! read the answer, and a line about it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use comanda_schemas::TraceContext;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use tower::Service;
use tracing::{Instrument, error_span};

use super::access_log::Line;
use super::client::Proxies;
use super::cors::Cors;
use super::request_id::{RequestId, X_REQUEST_ID};
use crate::{Error, Options};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the routes are told of a request, as an extension of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    /// The client's address, past trusted proxies.
    pub address: IpAddr,
    pub trace: TraceContext,
}

/// The outermost part of the gateway.
pub(crate) struct Edge {
    proxies: Proxies,
    cors: Arc<Cors>,
    has_access_log: bool,
}

impl Edge {
    pub fn new(options: &Options, cors: Arc<Cors>) -> Result<Self, Error> {
        let proxies = Proxies::parse(&options.trusted_proxies, options.forwarded_header)?;
        Ok(Self { proxies, cors, has_access_log: options.access_log })
    }

    /// Whether connections from `peer` are those of many clients.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.trust(peer.to_canonical())
    }

    /// Has `service` answer a request that came from `peer`.
    pub async fn serve<S, B, R>(
        self: Arc<Self>,
        peer: IpAddr,
        mut service: S,
        mut request: Request<B>,
    ) -> Result<Response<R>, Infallible>
    where
        S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
        R: Body + Default,
    {
        let line = self.has_access_log.then(|| Line::begin(&request));
        let headers = request.headers();
        let address = self.proxies.client(peer, headers);
        let (id, trace) = (RequestId::of(headers), trace(headers));
        let readable_by = self.cors.origin(headers);
        let mut response = match self.cors.preflight(readable_by.as_ref(), &request) {
            Some(response) => response,
            None => {
                request.extensions_mut().insert(Sender { address, trace });
                let span = error_span!("request", request_id = id.as_str());
                service.call(request).instrument(span).await?
            }
        };
        if let Some(line) = line {
            line.write(&response, address, &id);
        }
        let headers = response.headers_mut();
        self.cors.expose(readable_by, headers);
        headers.insert(X_REQUEST_ID, id.into_value());
        let trace = HeaderValue::try_from(trace.to_string()).expect("a traceparent is plain");
        headers.insert(TRACEPARENT, trace);
        Ok(response)
    }
}

/// The trace that the client is in, or a new one.
fn trace(headers: &HeaderMap) -> TraceContext {
    let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    parent.and_then(TraceContext::parse).unwrap_or_else(TraceContext::new_root)
}
