//! One WebSocket, from its opening to its end.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use warp::ws::{Message, WebSocket};

use super::operation::Operations;
use super::protocol::{Close, FromClient, FromGateway};
use crate::auth::{self, Caller};
use crate::failure::{Code, Failure};
use crate::http::{Gateway, trace};
use crate::metrics::{Held, WEBSOCKETS};
use crate::params::{Params, problem};
use crate::schema::Asker;

/// How long the client may take to answer a close frame.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection and what runs on it.
pub(crate) struct Connection {
    gateway: Arc<Gateway>,
    headers: HeaderMap,
    /// Once the connection is acknowledged.
    asker: Option<Asker>,
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
        headers: HeaderMap,
        gateway: Arc<Gateway>,
        is_ours: bool,
    ) {
        let (mut sink, mut stream) = socket.split();
        let close = if is_ours {
            let (outgoing, queue) = mpsc::channel(gateway.sockets.queue);
            let mut connection = Self {
                gateway,
                headers,
                asker: None,
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
        mut queue: mpsc::Receiver<super::operation::Outgoing>,
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
                        Ok(message) => match self.receive(&message) {
                            ControlFlow::Break(close) => return Some(close),
                            ControlFlow::Continue(reply) => reply.map(Message::text),
                        },
                    }
                }
                Some(outgoing) = queue.recv() => self.operations.take(outgoing).map(Message::text),
                () = self.operations.reap() => None,
                () = sleep_until(init_until), if self.asker.is_none() => {
                    return Some(Close::init_timeout());
                }
                _ = ping.tick() => {
                    if heard.elapsed() > sockets.ping * 2 {
                        return None;
                    }
                    Some(Message::ping(""))
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

    fn receive(&mut self, message: &Message) -> Step {
        if message.is_ping() || message.is_pong() {
            return CARRY_ON;
        }
        let Ok(text) = message.to_str() else {
            return ControlFlow::Break(Close::bad_message("it is not text"));
        };
        match serde_json::from_str(text) {
            Err(error) => {
                let problem = problem(&error, "a message of graphql-transport-ws");
                ControlFlow::Break(Close::bad_message(&problem))
            }
            Ok(FromClient::Ping { payload }) => {
                ControlFlow::Continue(Some(FromGateway::Pong { payload }.to_text()))
            }
            Ok(FromClient::Pong {}) => CARRY_ON,
            Ok(FromClient::ConnectionInit { payload }) => self.init(&payload.unwrap_or_default()),
            Ok(FromClient::Subscribe { id, payload }) => self.subscribe(id, payload),
            Ok(FromClient::Complete { id }) => {
                self.operations.stop(&id);
                CARRY_ON
            }
        }
    }

    fn init(&mut self, payload: &Map<String, Value>) -> Step {
        if self.asker.is_some() {
            return ControlFlow::Break(Close::too_many_inits());
        }
        let Ok(caller) = self.caller(payload) else {
            return ControlFlow::Break(Close::forbidden());
        };
        self.asker = Some(Asker { caller, trace: trace(&self.headers) });
        ControlFlow::Continue(Some(FromGateway::ConnectionAck.to_text()))
    }

    /// Who it is, by the payload, or else by the headers that asked for the WebSocket.
    fn caller(&self, payload: &Map<String, Value>) -> Result<Caller, Failure> {
        let wrong = || Failure::new(Code::Unauthenticated, "the payload has no valid API key");
        let field = |name: &str| payload.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let key = if let Some((_, value)) = field("authorization") {
            value.as_str().and_then(auth::bearer)
        } else if let Some((_, value)) = field("apiKey").or_else(|| field(auth::KEY_HEADER)) {
            value.as_str()
        } else {
            return self.gateway.keys.caller(&self.headers);
        };
        self.gateway.keys.principal(key.ok_or_else(wrong)?).map(Some)
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
        Some(Close { code, reason }) => sink.send(Message::close_with(code, reason)).await,
        None => sink.close().await,
    };
    if said.is_ok() {
        while let Some(Ok(_)) = stream.next().await {}
    }
}
