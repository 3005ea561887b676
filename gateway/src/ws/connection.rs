//! One WebSocket, from its opening to its end.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt, poll};
use http::HeaderMap;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use super::intake::Intake;
use super::operation::{Operations, Outgoing};
use super::protocol::{Close, FromClient, FromGateway};
use crate::auth::{Credential, Grant};
use crate::budget::{Client, Hold};
use crate::failure::{Code, Failure};
use crate::http::{Gateway, Sender};
use crate::metrics::{Held, WEBSOCKETS};
use crate::params::Params;
use crate::rate::Prepaid;
use crate::schema::{Asker, Reading};

/// An open WebSocket.
pub(super) type WebSocket = WebSocketStream<Intake<TokioIo<Upgraded>>>;

/// How long the client may take to answer a close frame.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a client that sent what is not taken has to be silent before it is hung up on.
const QUIET: Duration = Duration::from_millis(200);
/// Longest frame that is sent, in bytes. The library keeps room for the longest one for good.
const MAX_FRAME: usize = 16 << 10;

/// A connection and what runs on it.
pub(crate) struct Connection {
    gateway: Arc<Gateway>,
    sender: Sender,
    /// Those that asked for the WebSocket, as long as they may have to say who it is. They hold
    /// all that hyper read with them.
    headers: HeaderMap,
    /// Its place among the WebSockets of its client.
    place: Hold,
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

/// A message that was received; `None` at the end of all.
type Received = Option<Result<Message, tungstenite::Error>>;

const CARRY_ON: Step = ControlFlow::Continue(None);

impl Connection {
    /// Serves a socket until either side ends it.
    pub async fn serve(
        mut socket: WebSocket,
        sender: Sender,
        headers: HeaderMap,
        gateway: Arc<Gateway>,
        place: Hold,
        is_ours: bool,
    ) {
        let close = if is_ours {
            let (outgoing, queue) = mpsc::channel(gateway.sockets.queue);
            let mut connection = Self {
                gateway,
                sender,
                headers,
                place,
                asker: None,
                end: std::future::pending().boxed(),
                operations: Operations::new(outgoing),
                is_closing: false,
                _held: Held::new(WEBSOCKETS),
            };
            connection.run(&mut socket, queue).await
        } else {
            Some(Close::other_protocol())
        };
        // Whoever does not answer is hung up on.
        let _ = timeout(FAREWELL, say_farewell(socket, close)).await;
    }

    /// `None` where the client is gone.
    async fn run(
        &mut self,
        socket: &mut WebSocket,
        mut queue: mpsc::Receiver<Box<Outgoing>>,
    ) -> Option<Close> {
        let gateway = self.gateway.clone();
        let sockets = &gateway.sockets;
        let opened = Instant::now();
        let (init_until, stranger_until) =
            (opened + sockets.init_timeout, opened + sockets.stranger_timeout);
        let mut ping = interval(sockets.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = opened;
        let mut ahead: Option<Received> = None;
        loop {
            if self.is_closing && !self.operations.has_requests() {
                return Some(Close::going_away());
            }
            let reply = tokio::select! {
                received = next(socket, &mut ahead) => {
                    heard = Instant::now();
                    match received? {
                        Err(_) => return Some(socket.get_ref().close()),
                        Ok(message) if message.is_close() => return None,
                        Ok(message) => {
                            let step = self.receive(&message, socket).await;
                            ahead = let_go(message, socket).await;
                            match step {
                                ControlFlow::Break(close) => return Some(close),
                                ControlFlow::Continue(reply) => reply.map(Message::text),
                            }
                        }
                    }
                }
                Some(outgoing) = queue.recv() => self.operations.take(*outgoing).map(Message::text),
                () = self.operations.reap() => None,
                () = sleep_until(init_until), if self.asker.is_none() => {
                    return Some(Close::init_timeout());
                }
                () = sleep_until(stranger_until), if self.is_of_a_stranger() => {
                    return Some(Close::unauthorized());
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
            if let Some(message) = reply
                && !matches!(timeout(sockets.ping * 2, send(socket, message)).await, Ok(Ok(())))
            {
                return None;
            }
        }
    }

    fn is_of_a_stranger(&self) -> bool {
        self.asker.as_ref().is_none_or(|asker| asker.caller.is_none())
    }

    async fn receive(&mut self, message: &Message, socket: &mut WebSocket) -> Step {
        if message.is_ping() || message.is_pong() {
            return CARRY_ON;
        }
        let Message::Text(text) = message else {
            return ControlFlow::Break(Close::bad_message("it is not text"));
        };
        let received = match FromClient::read(text.as_str()) {
            Ok(received) => received,
            Err(close) => return ControlFlow::Break(close),
        };
        let is_ping = match &received {
            FromClient::Ping { .. } | FromClient::Pong => true,
            FromClient::Complete { id } => !self.operations.has(id),
            FromClient::ConnectionInit { .. } | FromClient::Subscribe { .. } => false,
        };
        if is_ping && let Err(close) = socket.get_mut().take_ping() {
            return ControlFlow::Break(close);
        }
        match received {
            FromClient::Ping { payload } => {
                ControlFlow::Continue(Some(FromGateway::Pong { payload }.to_text()))
            }
            FromClient::Pong => CARRY_ON,
            FromClient::ConnectionInit { payload } => Box::pin(self.init(&payload, socket)).await,
            FromClient::Subscribe { id, payload } => Box::pin(self.subscribe(id, payload)).await,
            FromClient::Complete { id } => {
                self.operations.stop(&id);
                CARRY_ON
            }
        }
    }

    async fn init(&mut self, payload: &Map<String, Value>, socket: &mut WebSocket) -> Step {
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
        if let Some(principal) = &caller {
            let client = Client::Caller(principal.clone());
            let max_message = self.gateway.sockets.max_message;
            let (place, intake) = (&mut self.place, socket.get_mut());
            let moved =
                place.move_to(client.clone()).and_then(|()| intake.belongs_to(client, max_message));
            if moved.is_err() {
                return ControlFlow::Break(Close::try_again_later());
            }
        }
        self.end = self.gateway.end_of(grant);
        let (trace, prepaid) = (self.sender.trace, Prepaid::default());
        self.asker = Some(Asker { caller, trace, prepaid, reading: Reading::default() });
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

    async fn subscribe(&mut self, id: String, payload: &RawValue) -> Step {
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
        let params = match Params::read(payload.get().as_bytes()) {
            Ok(params) => params,
            Err(problem) => return ControlFlow::Break(Close::bad_message(&problem)),
        };
        match self.gateway.executor.prepare(params, &asker.caller).await {
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

/// The next message, which may have been received already.
async fn next(socket: &mut WebSocket, ahead: &mut Option<Received>) -> Received {
    match ahead.take() {
        Some(received) => received,
        None => socket.next().await,
    }
}

/// Drops a message, and gives back what may have been received meanwhile. The library goes on
/// reading into the memory of a message that nobody holds, and so keeps the room of the longest for
/// good; it is made to ask for other memory first.
async fn let_go(message: Message, socket: &mut WebSocket) -> Option<Received> {
    if message.len() <= MAX_FRAME {
        return None;
    }
    match poll!(socket.next()) {
        Poll::Ready(received) => Some(received),
        Poll::Pending => None,
    }
}

/// Sends a message, in several frames where it is long.
async fn send(socket: &mut WebSocket, message: Message) -> Result<(), tungstenite::Error> {
    match message {
        Message::Text(text) if text.len() > MAX_FRAME => {
            let mut rest = Bytes::from(text);
            let mut opcode = OpCode::Data(Data::Text);
            while !rest.is_empty() {
                let part = rest.split_to(rest.len().min(MAX_FRAME));
                let frame = Frame::message(part, opcode, rest.is_empty());
                socket.send(Message::Frame(frame)).await?;
                opcode = OpCode::Data(Data::Continue);
            }
            Ok(())
        }
        message => socket.send(message).await,
    }
}

/// Sends the close frame, or answers the client's, and waits a moment so that it is read.
async fn say_farewell(mut socket: WebSocket, close: Option<Close>) {
    let said = match close {
        Some(Close { code, reason }) => {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            socket.send(Message::Close(Some(frame))).await
        }
        None => SinkExt::close(&mut socket).await,
    };
    if said.is_err() {
        return;
    }
    if socket.get_ref().has_refused() {
        let mut bytes = Box::new([0; 1 << 10]);
        while let Ok(Ok(1..)) = timeout(QUIET, socket.get_mut().read(&mut *bytes)).await {}
    } else {
        while let Some(Ok(_)) = socket.next().await {}
    }
}
