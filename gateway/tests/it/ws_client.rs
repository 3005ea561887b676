//! A client of `graphql-transport-ws` that says exactly what it is told to.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::house::PATIENCE;

pub struct WsClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl WsClient {
    /// Opens a socket with further headers.
    pub async fn open(addr: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Self> {
        let mut request = format!("ws://{addr}/graphql").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        let (socket, _) = connect_async(request).await?;
        Ok(Self { socket })
    }

    /// Opens a socket that speaks the protocol, not yet acknowledged.
    pub async fn speaking(addr: SocketAddr) -> Result<Self> {
        Self::open(addr, &[("sec-websocket-protocol", "graphql-transport-ws")]).await
    }

    /// Opens a socket as the owner of `key`.
    pub async fn of(addr: SocketAddr, key: &str) -> Result<Self> {
        let mut client = Self::speaking(addr).await?;
        let payload = json!({ "Authorization": format!("Bearer {key}") });
        client.say(json!({ "type": "connection_init", "payload": payload })).await?;
        assert_eq!(client.hear().await?, json!({ "type": "connection_ack" }));
        Ok(client)
    }

    pub async fn say(&mut self, message: Value) -> Result<()> {
        self.say_raw(Message::text(message.to_string())).await
    }

    pub async fn say_raw(&mut self, message: Message) -> Result<()> {
        Ok(self.socket.send(message).await?)
    }

    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) -> Result<()> {
        let payload = json!({ "query": query, "variables": variables });
        self.say(json!({ "type": "subscribe", "id": id, "payload": payload })).await
    }

    /// The next message.
    pub async fn hear(&mut self) -> Result<Value> {
        let message = async {
            loop {
                match self.next().await? {
                    Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                    Message::Close(frame) => bail!("closed: {frame:?}"),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, message).await.context("nothing came")?
    }

    /// The data of the next message, which has to be one of the operation `id`.
    pub async fn data(&mut self, id: &str) -> Result<Value> {
        let message = self.hear().await?;
        let is_next = message["type"] == "next" && message["id"] == id;
        if !is_next || !message["payload"]["errors"].is_null() {
            bail!("{message}");
        }
        Ok(message["payload"]["data"].clone())
    }

    /// The code that the gateway closes with.
    pub async fn closed(&mut self) -> Result<u16> {
        let code = async {
            loop {
                if let Message::Close(frame) = self.next().await? {
                    return Ok(frame.context("no code")?.code.into());
                }
            }
        };
        timeout(PATIENCE, code).await.context("it is not closed")?
    }

    async fn next(&mut self) -> Result<Message> {
        Ok(self.socket.next().await.context("the connection ended")??)
    }
}
