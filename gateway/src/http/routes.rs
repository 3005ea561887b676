//! Which request goes where.

use std::borrow::Cow;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use bytes::{Buf, Bytes};
use futures_util::future::{BoxFuture, Either};
use futures_util::{FutureExt, Stream, ready, stream};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tower::Service;
use tracing::error;
use warp::filters::path::FullPath;
use warp::{Filter, Rejection, Reply};

use super::accept::{Accept, Events, Media};
use super::access_log::Learnt;
use super::answer::{Refusal, respond, respond_json};
use super::{Cors, Sender, body, host, params, sse};
use crate::auth::{Auth, Caller, Credential, Denial, Grant};
use crate::budget::{Budget, Client};
use crate::execute::{Executor, Prepared};
use crate::failure::{Code, Failure};
use crate::params::Params;
use crate::plan::Planned;
use crate::rate::{Prepaid, Rates};
use crate::schema::{Asker, Reading};
use crate::server::Permit;
use crate::webhook::{self, Webhook};
use crate::{graphiql, ws};

/// Where GraphQL is.
const PATH: &str = "/graphql";

/// What the routes need.
pub(crate) struct Gateway {
    pub executor: Executor,
    pub auth: Arc<Auth>,
    pub rates: Arc<Rates>,
    /// Where the payment provider may report.
    pub webhook: Option<Webhook>,
    pub cors: Arc<Cors>,
    pub sockets: ws::Sockets,
    pub streams: sse::Streams,
    /// Whether GraphiQL is served.
    pub has_page: bool,
    pub max_body: u64,
    /// The same for clients without a key.
    pub max_anonymous_body: u64,
    /// Bytes of requests that have not come whole, or are large and worked on.
    pub request_bytes: Arc<Budget>,
    pub body_timeout: Duration,
    /// Whether anybody wants to know what is learnt of a request.
    pub has_access_log: bool,
}

/// A request, its body yet to be read.
struct Request<S> {
    sender: Sender,
    method: Method,
    path: Cow<'static, str>,
    query: String,
    headers: HeaderMap,
    body: S,
}

/// Answers requests. What a busy gateway is asked for goes past warp, whose filters cost more than
/// what they lead to.
pub(crate) fn service(
    gateway: Arc<Gateway>,
) -> impl Service<
    http::Request<Incoming>,
    Response = warp::reply::Response,
    Error = Infallible,
    Future: Send,
> + Clone {
    let others = warp::service(routes(gateway.clone()));
    // Together, because each request clones them.
    let shared = Arc::new((gateway, others));
    tower::service_fn(move |request: http::Request<Incoming>| {
        if let Some(refusal) = unfit(&request) {
            let response = refusal.respond(Media::Json).into_response();
            return Either::Left(Either::Left(std::future::ready(Ok(response))));
        }
        let shared = shared.clone();
        if request.method() != Method::POST || request.uri().path() != PATH {
            return Either::Left(Either::Right(Box::pin(shared.1.clone().call(request))));
        }
        // In a box: it is large, and is handed from layer to layer.
        Either::Right(Box::pin(async move {
            let (head, body) = request.into_parts();
            let request = Request {
                sender: *head.extensions.get().expect("the edge has put it there"),
                method: head.method,
                path: PATH.into(),
                query: String::new(),
                headers: head.headers,
                body: parts(body),
            };
            Ok(shared.0.respond(request).await)
        }))
    })
}

/// What no route is asked about. Without a path warp would panic.
fn unfit<B>(request: &http::Request<B>) -> Option<Refusal> {
    if request.method() == Method::CONNECT {
        return Some(Refusal::method("GET, POST", "this is no proxy"));
    }
    let problem = match request.uri().path_and_query() {
        None => "the request has no path",
        Some(_) => host::problem(request)?,
    };
    Some(Refusal::new(StatusCode::BAD_REQUEST, problem))
}

/// The data of a body.
fn parts(mut body: Incoming) -> impl Stream<Item = hyper::Result<Bytes>> {
    stream::poll_fn(move |context| {
        loop {
            let frame = ready!(Pin::new(&mut body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Poll::Ready(None),
                Some(Ok(Ok(data))) => return Poll::Ready(Some(Ok(data))),
                // Trailers.
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    })
}

/// All routes. What is refused is refused as JSON, too.
fn routes(
    gateway: Arc<Gateway>,
) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone {
    let sockets = gateway.clone();
    let socket = warp::path!("graphql")
        .and(ws::handshake())
        .and(warp::ext::get::<Sender>())
        .and(warp::ext::optional::<Permit>())
        .map(move |handshake, sender, permit| {
            ws::upgrade(handshake, sender, permit, sockets.clone())
        });
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let plain = warp::ext::get::<Sender>()
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |sender, method, path: FullPath, query, headers, body| {
            let (gateway, path) = (gateway.clone(), path.as_str().to_owned().into());
            async move {
                let request = Request { sender, method, path, query, headers, body };
                gateway.respond(request).await
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
    async fn respond<S, B, E>(&self, request: Request<S>) -> warp::reply::Response
    where
        S: Stream<Item = Result<B, E>>,
        B: Buf,
    {
        let accept = Accept::of(&request.headers);
        let mut learnt = Learnt::default();
        let serving = AssertUnwindSafe(self.serve(request, accept, &mut learnt));
        let served = serving.catch_unwind().await.unwrap_or_else(|_| {
            error!("serving a request panicked");
            Err(Failure::internal().into())
        });
        let mut response = served.unwrap_or_else(|refusal| {
            learnt.code = Some(refusal.failure.code);
            refusal.respond(accept.media.unwrap_or(Media::Json)).into_response()
        });
        if self.has_access_log {
            response.extensions_mut().insert(learnt);
        }
        response
    }

    async fn serve<S, B, E>(
        &self,
        request: Request<S>,
        accept: Accept,
        learnt: &mut Learnt,
    ) -> Result<warp::reply::Response, Refusal>
    where
        S: Stream<Item = Result<B, E>>,
        B: Buf,
    {
        match &*request.path {
            PATH => self.graphql(request, accept, learnt).await,
            "/webhooks/stripe" => match &self.webhook {
                Some(webhook) => self.webhook(webhook, request).await,
                None => Err(Failure::new(Code::NotFound, "there is no webhook here").into()),
            },
            "/" if self.has_page => match request.method {
                Method::GET | Method::HEAD => Ok(graphiql::page().into_response()),
                _ => Err(Refusal::method("GET, HEAD", "this page is there to be read")),
            },
            _ => Err(Failure::new(Code::NotFound, "there is nothing here; try /graphql").into()),
        }
    }

    async fn webhook<S, B, E>(
        &self,
        webhook: &Webhook,
        request: Request<S>,
    ) -> Result<warp::reply::Response, Refusal>
    where
        S: Stream<Item = Result<B, E>>,
        B: Buf,
    {
        let Request { sender, method, headers, body, .. } = request;
        if method != Method::POST {
            return Err(Refusal::method("POST", "the webhook takes POST"));
        }
        if !params::is_json(&headers) || is_encoded(&headers) {
            let message = "the webhook takes application/json in UTF-8, without Content-Encoding";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        self.rates.delivery(sender.address)?;
        let body = self.read(body, self.max_body, sender, &None).await?;
        let signature = headers.get("stripe-signature").map(HeaderValue::as_bytes);
        match webhook.take(signature, &body.bytes, sender.trace).await {
            Ok(_) => Ok(StatusCode::OK.into_response()),
            Err(webhook::Refused::Untrusted) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, "the signature is not good"))
            }
            Err(webhook::Refused::Malformed) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, "this is no event"))
            }
            Err(webhook::Refused::Unavailable) => {
                let message = "the report can't be stored right now; try again";
                Err(Failure::new(Code::BrokerUnavailable, message).into())
            }
        }
    }

    async fn graphql<S, B, E>(
        &self,
        request: Request<S>,
        accept: Accept,
        learnt: &mut Learnt,
    ) -> Result<warp::reply::Response, Refusal>
    where
        S: Stream<Item = Result<B, E>>,
        B: Buf,
    {
        let Request { sender, method, query, headers, body, .. } = request;
        let is_post = match method {
            Method::POST => true,
            Method::GET => false,
            _ => return Err(Refusal::method("GET, POST", "GraphQL takes GET and POST")),
        };
        let Accept { media, events } = accept;
        let media = match media {
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
        if is_post && is_encoded(&headers) {
            let message = "the body of a request has to come without Content-Encoding";
            let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            return Err(refusal.with(ACCEPT_ENCODING, "identity"));
        }
        let grant = self.grant(Credential::of_headers(&headers), sender).await?;
        let caller = grant.as_ref().map(|grant| grant.principal.clone());
        learnt.caller.clone_from(&caller);
        let left = self.rates.request(sender.address, &caller)?;
        let asker = Asker {
            caller,
            trace: sender.trace,
            prepaid: Prepaid::default(),
            reading: Reading::default(),
        };
        let how = How { media, events, is_post };
        let mut response = if is_post {
            let max = if asker.caller.is_some() { self.max_body } else { self.max_anonymous_body };
            let body = self.read(body, max, sender, &asker.caller).await?;
            match self.plan(&how, &body.bytes, &asker.caller, learnt) {
                Some(planned) => self.answer_plan(media, planned, asker, learnt).await,
                None => {
                    let params = params::of_body(&body.bytes)?;
                    Box::pin(self.answer(how, params, (asker, sender), grant, learnt)).await?
                }
            }
        } else {
            let params = params::of_query(&query)?;
            Box::pin(self.answer(how, params, (asker, sender), grant, learnt)).await?
        };
        if let Some(left) = left {
            response.headers_mut().extend(left.fields());
        }
        Ok(response)
    }

    /// Reads the body of a request of `caller`.
    async fn read<S, B, E>(
        &self,
        body: S,
        max: u64,
        sender: Sender,
        caller: &Caller,
    ) -> Result<body::Whole, Refusal>
    where
        S: Stream<Item = Result<B, E>>,
        B: Buf,
    {
        let bounds = body::Bounds { max, max_of_any: self.max_body, wait: self.body_timeout };
        let hold = |bytes| self.request_bytes.hold(Client::of(sender.address, caller), bytes);
        body::read(body, bounds, hold).await
    }

    /// The request of a POST as one that has a plan.
    fn plan(
        &self,
        how: &How,
        body: &[u8],
        caller: &Caller,
        learnt: &mut Learnt,
    ) -> Option<Planned> {
        if how.events == Events::Preferred {
            return None;
        }
        let wire = params::raw(body)?;
        let name = self.has_access_log.then(|| wire.operation_name.clone()).flatten();
        let planned = self.executor.plan(wire, caller)?;
        (learnt.operation, learnt.name) = (Some(OperationType::Mutation), name);
        Some(planned)
    }

    async fn answer_plan(
        &self,
        media: Media,
        planned: Planned,
        asker: Asker,
        learnt: &mut Learnt,
    ) -> warp::reply::Response {
        match self.executor.execute_plan(planned, &asker).await {
            Ok(json) => respond_json(media, json).into_response(),
            Err(answer) => {
                learnt.code = answer.code();
                respond(media, &answer).into_response()
            }
        }
    }

    /// What a credential gives whoever shows it.
    pub async fn grant(
        &self,
        shown: Result<Option<Credential<'_>>, Failure>,
        sender: Sender,
    ) -> Result<Option<Grant>, Refusal> {
        let grant = match shown {
            Ok(shown) => self.auth.grant(shown).await,
            Err(failure) => Err(failure.into()),
        };
        grant.map_err(|denial: Denial| match self.rates.count_denial(sender.address, &denial) {
            Ok(()) => denial.failure.into(),
            Err(left) => left.into(),
        })
    }

    /// Comes back when the grant holds no longer.
    pub fn end_of(&self, grant: Option<Grant>) -> BoxFuture<'static, ()> {
        let Some(grant) = grant else { return std::future::pending().boxed() };
        let auth = self.auth.clone();
        async move { auth.end_of(&grant).await }.boxed()
    }

    async fn answer(
        &self,
        how: How,
        params: Params,
        (asker, sender): (Asker, Sender),
        grant: Option<Grant>,
        learnt: &mut Learnt,
    ) -> Result<warp::reply::Response, Refusal> {
        let How { media, events, is_post } = how;
        if self.has_access_log {
            learnt.name.clone_from(&params.operation_name);
        }
        let prepared = match self.executor.prepare(params, &asker.caller).await {
            Ok(prepared) => prepared,
            Err(answer) => {
                learnt.code = answer.code();
                return Ok(match events {
                    Events::Preferred => sse::once(&answer),
                    _ => respond(media, &answer).into_response(),
                });
            }
        };
        learnt.operation = Some(prepared.operation);
        match prepared.operation {
            OperationType::Query => {}
            OperationType::Mutation if is_post => {}
            OperationType::Mutation => {
                return Err(Refusal::method("POST", "a mutation has to be sent with POST"));
            }
            OperationType::Subscription if events != Events::No => {
                return self.open_stream(prepared, asker, sender, grant);
            }
            OperationType::Subscription => {
                let message = "a subscription needs a WebSocket (graphql-transport-ws), or has to \
                               accept text/event-stream";
                let answer = Failure::new(Code::Invalid, message).into();
                return Ok(respond(media, &answer).into_response());
            }
        }
        if events == Events::Preferred {
            return self.open_stream(prepared, asker, sender, grant);
        }
        let answer = self.executor.execute(prepared, asker).await;
        learnt.code = answer.code();
        Ok(respond(media, &answer).into_response())
    }
}

impl Gateway {
    /// Answers with a stream of events.
    fn open_stream(
        &self,
        prepared: Prepared,
        asker: Asker,
        sender: Sender,
        grant: Option<Grant>,
    ) -> Result<warp::reply::Response, Refusal> {
        let place = self.streams.place(Client::of(sender.address, &asker.caller))?;
        let answers = (prepared, asker);
        Ok(self.streams.open(&self.executor, answers, place, self.end_of(grant)))
    }
}

/// How a request came and how it wants to be answered.
struct How {
    media: Media,
    events: Events,
    is_post: bool,
}

/// Whether the body is compressed. It would have to be bounded as it is and as it becomes; requests
/// are too short to be worth that.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
