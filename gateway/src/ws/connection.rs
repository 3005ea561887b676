//! One WebSocket, from its opening to its end.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::HeaderMap;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::operation::{Operations, Outgoing};
use super::protocol::{Close, FromClient, FromGateway};
use crate::auth::{Credential, Grant};
use crate::failure::{Code, Failure};
use crate::http::{Gateway, Sender};
use crate::metrics::{Held, WEBSOCKETS};
use crate::params::{Params, problem};
use crate::rate::Prepaid;
use crate::schema::Asker;

/// An open WebSocket.
pub(super) type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// How long the client may take to answer a close frame.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection and what runs on it.
pub(crate) struct Connection {
    gateway: Arc<Gateway>,
    sender: Sender,
    /// Those that asked for the WebSocket, as long as they may have to say who it is. They hold
    /// all that hyper read with them.
    headers: HeaderMap,
    /// Once the connection is acknowledged.
    asker: Option<Asker>,
    /// Comes back when whoever asked may ask no longer.
    end: BoxFuture<'static, ()>,
    operations: Operations,
    is_closing: bool,
    _held: Held,
}

/// What to do after a message.
type Step = ControlFlow<Close, Option<String>>;

const CARRY_ON: Step = ControlFlow::Continue(None);

impl Connection {
    /// Serves a socket until either side ends it.
    pub async fn serve(
        socket: WebSocket,
        sender: Sender,
        headers: HeaderMap,
        gateway: Arc<Gateway>,
        is_ours: bool,
    ) {
        let (mut sink, mut stream) = socket.split();
        let close = if is_ours {
            let (outgoing, queue) = mpsc::channel(gateway.sockets.queue);
            let mut connection = Self {
                gateway,
                sender,
                headers,
                asker: None,
                end: std::future::pending().boxed(),
                operations: Operations::new(outgoing),
                is_closing: false,
                _held: Held::new(WEBSOCKETS),
            };
            connection.run(&mut sink, &mut stream, queue).await
        } else {
            Some(Close::other_protocol())
        };
        // Whoever does not answer is hung up on.
        let _ = timeout(FAREWELL, say_farewell(sink, stream, close)).await;
    }

    /// `None` where the client is gone.
    async fn run(
        &mut self,
        sink: &mut SplitSink<WebSocket, Message>,
        stream: &mut SplitStream<WebSocket>,
        mut queue: mpsc::Receiver<Box<Outgoing>>,
    ) -> Option<Close> {
        let gateway = self.gateway.clone();
        let sockets = &gateway.sockets;
        let init_until = Instant::now() + sockets.init_timeout;
        let mut ping = interval(sockets.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            if self.is_closing && !self.operations.has_requests() {
                return Some(Close::going_away());
            }
            let message = tokio::select! {
                received = stream.next() => {
                    heard = Instant::now();
                    match received? {
                        Err(_) => return Some(Close::unreadable()),
                        Ok(message) if message.is_close() => return None,
                        Ok(message) => match self.receive(&message).await {
                            ControlFlow::Break(close) => return Some(close),
                            ControlFlow::Continue(reply) => reply.map(Message::text),
                        },
                    }
                }
                Some(outgoing) = queue.recv() => self.operations.take(*outgoing).map(Message::text),
                () = self.operations.reap() => None,
                () = sleep_until(init_until), if self.asker.is_none() => {
                    return Some(Close::init_timeout());
                }
                () = &mut self.end => return Some(Close::forbidden()),
                _ = ping.tick() => {
                    if heard.elapsed() > sockets.ping * 2 {
                        return None;
                    }
                    Some(Message::Ping(Bytes::new()))
                }
                () = sockets.shutdown.cancelled(), if !self.is_closing => {
                    self.is_closing = true;
                    self.operations.stop_subscriptions();
                    None
                }
            };
            // A client that takes nothing for so long is as good as gone.
            if let Some(message) = message
                && !matches!(timeout(sockets.ping * 2, sink.send(message)).await, Ok(Ok(())))
            {
                return None;
            }
        }
    }

    async fn receive(&mut self, message: &Message) -> Step {
        if message.is_ping() || message.is_pong() {
            return CARRY_ON;
        }
        let Message::Text(text) = message else {
            return ControlFlow::Break(Close::bad_message("it is not text"));
        };
        match serde_json::from_str(text.as_str()) {
            Err(error) => {
                let problem = problem(&error, "a message of graphql-transport-ws");
                ControlFlow::Break(Close::bad_message(&problem))
            }
            Ok(FromClient::Ping { payload }) => {
                ControlFlow::Continue(Some(FromGateway::Pong { payload }.to_text()))
            }
            Ok(FromClient::Pong {}) => CARRY_ON,
            Ok(FromClient::ConnectionInit { payload }) => {
                Box::pin(self.init(&payload.unwrap_or_default())).await
            }
            Ok(FromClient::Subscribe { id, payload }) => self.subscribe(id, payload),
            Ok(FromClient::Complete { id }) => {
                self.operations.stop(&id);
                CARRY_ON
            }
        }
    }

    async fn init(&mut self, payload: &Map<String, Value>) -> Step {
        if self.asker.is_some() {
            return ControlFlow::Break(Close::too_many_inits());
        }
        let grant = self.grant(payload).await;
        self.headers = HeaderMap::new();
        let grant = match grant {
            Ok(grant) => grant,
            Err(failure) if failure.code.is_retriable() => {
                return ControlFlow::Break(Close::try_again_later());
            }
            Err(_) => return ControlFlow::Break(Close::forbidden()),
        };
        let caller = grant.as_ref().map(|grant| grant.principal.clone());
        self.end = self.gateway.end_of(grant);
        let (trace, prepaid) = (self.sender.trace, Prepaid::default());
        self.asker = Some(Asker { caller, trace, prepaid });
        ControlFlow::Continue(Some(FromGateway::ConnectionAck.to_text()))
    }

    /// What the payload gives, or else the headers that asked for the WebSocket.
    async fn grant(&mut self, payload: &Map<String, Value>) -> Result<Option<Grant>, Failure> {
        let shown = Credential::of_payload(payload).and_then(|shown| match shown {
            None => Credential::of_headers(&self.headers),
            shown => Ok(shown),
        });
        let grant = self.gateway.grant(shown, self.sender).await;
        grant.map_err(|refusal| refusal.failure)
    }

    fn subscribe(&mut self, id: String, params: Params) -> Step {
        let Some(asker) = &self.asker else {
            return ControlFlow::Break(Close::unauthorized());
        };
        if self.operations.has(&id) {
            return ControlFlow::Break(Close::duplicate(&id));
        }
        let error = |failure: Failure| {
            let payload = &[failure.into_server_error()];
            ControlFlow::Continue(Some(FromGateway::Error { id: &id, payload }.to_text()))
        };
        if self.is_closing {
            return error(Failure::new(Code::ShuttingDown, "the gateway stops"));
        }
        let max = self.gateway.sockets.max_operations;
        if self.operations.len() >= max {
            let message = format!("a WebSocket has at most {max} operations at one time");
            return error(Failure::new(Code::LimitExceeded, message));
        }
        if let Err(left) = self.gateway.rates.request(self.sender.address, &asker.caller) {
            return error((&left).into());
        }
        match self.gateway.executor.prepare(params, &asker.caller) {
            Ok(prepared) => {
                let asker = asker.clone();
                self.operations.start(id, &self.gateway.executor, prepared, asker);
                CARRY_ON
            }
            Err(answer) => {
                let message = FromGateway::Error { id: &id, payload: &answer.errors };
                ControlFlow::Continue(Some(message.to_text()))
            }
        }
    }
}

/// Sends the close frame, or answers the client's, and waits a moment so that it is read.
async fn say_farewell(
    mut sink: SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
    close: Option<Close>,
) {
    let said = match close {
        Some(Close { code, reason }) => {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            sink.send(Message::Close(Some(frame))).await
        }
        None => sink.close().await,
    };
    if said.is_ok() {
        while let Some(Ok(_)) = stream.next().await {}
    }
}
