//! Which request goes where.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use bytes::{Buf, Bytes};
use comanda_schemas::TraceContext;
use futures_util::{FutureExt, Stream};
use http::{HeaderMap, Method, Response, StatusCode};
use tracing::error;
use warp::filters::path::FullPath;
use warp::ws::Ws;
use warp::{Filter, Rejection, Reply};

use super::accept::{Events, Media};
use super::answer::{Refusal, respond};
use super::{body, params, sse};
use crate::auth::Keys;
use crate::execute::Executor;
use crate::failure::{Code, Failure};
use crate::params::Params;
use crate::schema::Asker;
use crate::{graphiql, ws};

/// What the routes need.
pub(crate) struct Gateway {
    pub executor: Executor,
    pub keys: Arc<Keys>,
    pub sockets: ws::Sockets,
    pub streams: sse::Streams,
    /// Whether GraphiQL is served.
    pub has_page: bool,
    pub max_body: u64,
    pub body_timeout: Duration,
}

/// A request, its body yet to be read.
struct Request<S> {
    method: Method,
    path: FullPath,
    query: String,
    headers: HeaderMap,
    body: S,
}

/// All routes. What is refused is refused as JSON, too.
pub(crate) fn routes(
    gateway: Arc<Gateway>,
) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone {
    let sockets = gateway.clone();
    let socket = warp::path!("graphql").and(warp::ws()).and(warp::header::headers_cloned()).map(
        move |upgrade: Ws, headers: HeaderMap| {
            let gateway = sockets.clone();
            ws::upgrade(upgrade, headers, gateway)
        },
    );
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let plain = warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method, path, query, headers, body| {
            let gateway = gateway.clone();
            async move {
                let request = Request { method, path, query, headers, body };
                let media = Media::negotiate(&request.headers).unwrap_or(Media::Json);
                let serving = AssertUnwindSafe(gateway.serve(request));
                match serving.catch_unwind().await {
                    Ok(Ok(response)) => response,
                    Ok(Err(refusal)) => refusal.respond(media).into_response(),
                    Err(_) => {
                        error!("serving a request panicked");
                        let failure = Failure::new(Code::Internal, "the gateway failed");
                        Refusal::from(failure).respond(media).into_response()
                    }
                }
            }
        });
    socket.or(plain).recover(refuse)
}

/// What no route takes, by warp's own reasons.
async fn refuse(_: Rejection) -> Result<Response<Bytes>, Infallible> {
    let refusal = Refusal::new(StatusCode::BAD_REQUEST, "the request is malformed");
    Ok(refusal.respond(Media::Json))
}

impl Gateway {
    async fn serve<S, B>(&self, request: Request<S>) -> Result<warp::reply::Response, Refusal>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        match request.path.as_str() {
            "/graphql" => self.graphql(request).await,
            "/" if self.has_page => match request.method {
                Method::GET | Method::HEAD => Ok(graphiql::page().into_response()),
                _ => Err(Refusal::method("GET, HEAD", "this page is there to be read")),
            },
            _ => Err(Refusal {
                status: StatusCode::NOT_FOUND,
                failure: Failure::new(Code::NotFound, "there is nothing here; try /graphql"),
                allow: None,
            }),
        }
    }

    async fn graphql<S, B>(&self, request: Request<S>) -> Result<warp::reply::Response, Refusal>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        let Request { method, query, headers, body, .. } = request;
        let is_post = match method {
            Method::POST => true,
            Method::GET => false,
            _ => return Err(Refusal::method("GET, POST", "GraphQL takes GET and POST")),
        };
        let events = Events::negotiate(&headers);
        let media = match Media::negotiate(&headers) {
            Some(media) => media,
            None if events != Events::No => Media::Json,
            None => {
                let message = "answers are application/graphql-response+json, application/json or \
                               text/event-stream";
                return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, message));
            }
        };
        if is_post && !params::is_json(&headers) {
            let message = "a POST has to be application/json in UTF-8";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let caller = self.keys.caller(&headers)?;
        let params = if is_post {
            let body = body::read(body, self.max_body, self.body_timeout).await?;
            params::of_body(&body)?
        } else {
            params::of_query(&query)?
        };
        let asker = Asker { caller, trace: trace(&headers) };
        self.answer(media, events, params, asker, is_post).await
    }

    async fn answer(
        &self,
        media: Media,
        events: Events,
        params: Params,
        asker: Asker,
        is_post: bool,
    ) -> Result<warp::reply::Response, Refusal> {
        let prepared = match self.executor.prepare(params, &asker.caller) {
            Ok(prepared) => prepared,
            Err(answer) if events == Events::Preferred => return Ok(sse::once(&answer)),
            Err(answer) => return Ok(respond(media, &answer).into_response()),
        };
        match prepared.operation {
            OperationType::Query => {}
            OperationType::Mutation if is_post => {}
            OperationType::Mutation => {
                return Err(Refusal::method("POST", "a mutation has to be sent with POST"));
            }
            OperationType::Subscription if events != Events::No => {
                return self.streams.open(&self.executor, prepared, asker);
            }
            OperationType::Subscription => {
                let message = "a subscription needs a WebSocket (graphql-transport-ws), or has to \
                               accept text/event-stream";
                let answer = Failure::new(Code::Invalid, message).into();
                return Ok(respond(media, &answer).into_response());
            }
        }
        if events == Events::Preferred {
            return self.streams.open(&self.executor, prepared, asker);
        }
        let answer = self.executor.execute(prepared, asker).await;
        Ok(respond(media, &answer).into_response())
    }
}

/// The trace that the client is in, or a new one.
pub(crate) fn trace(headers: &HeaderMap) -> TraceContext {
    let parent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    parent.and_then(TraceContext::parse).unwrap_or_else(TraceContext::new_root)
}
