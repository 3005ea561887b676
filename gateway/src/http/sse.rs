//! GraphQL over Server-Sent Events: the "distinct connections mode" of graphql-sse
//! (github.com/enisdenjo/graphql-sse, PROTOCOL.md). One request is one operation of any type; its
//! results are `next` events, `complete` is the last.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use warp::Reply;
use warp::reply::Response;

use crate::Options;
use crate::budget::{Bounds, Budget, Client, Hold};
use crate::config::millis;
use crate::execute::{Answer, Executor, Prepared};
use crate::failure::{Code, Failure};
use crate::metrics::{EVENT_STREAMS, Held};
use crate::schema::Asker;

/// Events that wait to be sent on one stream.
const QUEUE: usize = 16;
/// A comment: proxies see that the stream is alive.
const PING: &[u8] = b":\n\n";
/// Browsers do not tell of an event without data.
const COMPLETE: &[u8] = b"event: complete\ndata:\n\n";

/// What all streams of a gateway share.
pub(crate) struct Streams {
    ping: Duration,
    places: Arc<Budget>,
    shutdown: CancellationToken,
}

impl Streams {
    /// `shutdown` ends the subscriptions.
    pub fn new(options: &Options, shutdown: CancellationToken) -> Self {
        let bounds = Bounds {
            each: options.max_event_streams_per_client as usize,
            all: options.max_event_streams as usize,
        };
        let places = Budget::new("event_streams", bounds, bounds);
        Self { ping: millis(options.event_stream_ping_ms), places, shutdown }
    }

    /// A place for one stream of `client`.
    pub(super) fn place(&self, client: Client) -> Result<Hold, Failure> {
        let own = "too many event streams of this client are open";
        let all = "too many event streams are open";
        self.places.hold(client, 1).map_err(|exhausted| exhausted.failure(own, all))
    }

    /// Executes an operation; it ends with the response that carries its results, or at the end
    /// of what allows it.
    pub(super) fn open(
        &self,
        executor: &Executor,
        (prepared, asker): (Prepared, Asker),
        place: Hold,
        end: BoxFuture<'static, ()>,
    ) -> Response {
        let is_endless = prepared.operation == OperationType::Subscription;
        let executor = executor.clone();
        let answers = if is_endless {
            Either::Left(executor.subscribe(prepared, asker))
        } else {
            Either::Right(stream::once(async move { executor.execute(prepared, asker).await }))
        };
        let (events, mut queue) = mpsc::channel(QUEUE);
        let shutdown = if is_endless { self.shutdown.clone() } else { CancellationToken::new() };
        let speaker = Speaker { events, ping: self.ping, shutdown };
        tokio::spawn(async move {
            let _held = (place, Held::new(EVENT_STREAMS));
            // The response is dropped, and the queue with it, when the client is gone.
            let gone = speaker.events.clone();
            tokio::select! {
                _ = speaker.speak(answers, end) => {}
                () = gone.closed() => {}
            }
        });
        let events = stream::poll_fn(move |context| queue.poll_recv(context));
        respond(warp::reply::stream(events.map(Ok::<Bytes, Infallible>)))
    }
}

/// An answer that was there before anything was executed: by the protocol, errors of the
/// validation are results, too.
pub(super) fn once(answer: &Answer) -> Response {
    respond([&next(answer)[..], COMPLETE].concat())
}

fn respond(events: impl Reply) -> Response {
    let mut response = events.into_response();
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-cache"),
        (VARY, "accept, authorization, x-api-key"),
        // nginx would hold the events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The event of a result. JSON has no line breaks in it.
fn next(answer: &Answer) -> Bytes {
    let mut event = b"event: next\ndata: ".to_vec();
    serde_json::to_writer(&mut event, answer)
        .expect("answers have string keys and no failing values");
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// Says what an operation has to say. The queue is bounded: it waits for a client that is slow.
struct Speaker {
    events: mpsc::Sender<Bytes>,
    ping: Duration,
    shutdown: CancellationToken,
}

impl Speaker {
    /// `None` where the client is gone, or takes nothing any more.
    async fn speak(
        &self,
        answers: impl Stream<Item = Answer>,
        mut end: BoxFuture<'static, ()>,
    ) -> Option<()> {
        let mut answers = std::pin::pin!(answers);
        let mut ping = interval(self.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(answer) => self.say(next(&answer)).await?,
                    None => break,
                },
                // The first comes at once: it tells that the stream is open.
                _ = ping.tick() => self.say(Bytes::from_static(PING)).await?,
                () = &mut end => {
                    let message = "the key or token does not hold any longer";
                    let failure = Failure::new(Code::Unauthenticated, message);
                    self.say(next(&failure.into())).await?;
                    break;
                }
                () = self.shutdown.cancelled() => {
                    let failure = Failure::new(Code::ShuttingDown, "the gateway stops");
                    self.say(next(&failure.into())).await?;
                    break;
                }
            }
        }
        self.say(Bytes::from_static(COMPLETE)).await
    }

    async fn say(&self, event: Bytes) -> Option<()> {
        timeout(self.ping * 2, self.events.send(event)).await.ok()?.ok()
    }
}
