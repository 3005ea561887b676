//! What a gateway holds for subscriptions on which nothing happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comanda_gateway::metrics::SUBSCRIPTIONS;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::super::case::sum_of;
use super::Gateway;
use super::client::{Connection, excerpt};
use super::request::{Request, Shape};

/// WebSockets that are opened at one time.
const OPENING: usize = 64;
/// How long to wait for subscriptions to be open, and for their update.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the gateway is asked how many are open.
const LOOK: Duration = Duration::from_millis(50);

/// Memory of a gateway, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident, once it listens and before anybody asked for anything.
    pub idle_gateway_rss_bytes: u64,
    /// Resident, for each WebSocket with one idle subscription. The consumer that all share counts
    /// for none of them.
    pub bytes_per_idle_subscription: u64,
    /// Subscriptions it was measured with.
    pub idle_subscriptions: u32,
}

/// Opens so many subscriptions, and proves at the end that each one is there.
pub async fn measure(gateway: &Gateway, subscriptions: u32) -> Result<Memory> {
    let process = gateway.process();
    let idle_gateway_rss_bytes = process.rss_bytes()?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let (slots, mut clients) = (Arc::new(Semaphore::new(OPENING)), JoinSet::new());
    let subscribe = |count: u32, clients: &mut JoinSet<Result<()>>| {
        for _ in 0..count {
            clients.spawn(watch(gateway.graphql, gateway.key.clone(), slots.clone()));
        }
    };
    // The first one starts the consumer.
    subscribe(1, &mut clients);
    wait_for(1, gateway.admin, &http, &mut clients).await?;
    let before = process.rss_bytes()?;
    subscribe(subscriptions, &mut clients);
    wait_for(subscriptions + 1, gateway.admin, &http, &mut clients).await?;
    let held = process.rss_bytes()?.saturating_sub(before);

    let mut request = Request::new(Shape { orders: 1, keyed: true }, &gateway.key);
    let mut connection = Connection::open(gateway.graphql).await?;
    let answer = connection.ask(request.numbered(0)).await?;
    if Request::stored(answer) != 1 {
        bail!("the order was not stored: {}", excerpt(answer));
    }
    let heard = async {
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    heard.with_context(|| format!("an order was not told to all within {PATIENCE:?}"))??;
    let bytes_per_idle_subscription = held / u64::from(subscriptions);
    Ok(Memory {
        idle_gateway_rss_bytes,
        bytes_per_idle_subscription,
        idle_subscriptions: subscriptions,
    })
}

/// Waits until the gateway has so many subscriptions.
async fn wait_for(
    count: u32,
    admin: SocketAddr,
    http: &reqwest::Client,
    clients: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let metrics = http.get(format!("http://{admin}/metrics")).send().await?.text().await?;
        let open = sum_of(&metrics, SUBSCRIPTIONS);
        if open >= f64::from(count) {
            return Ok(());
        }
        if let Some(ended) = clients.try_join_next() {
            ended??;
            bail!("a subscription ended on its own");
        }
        if Instant::now() > until {
            bail!("{open} of {count} subscriptions are open after {PATIENCE:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Subscribes to all orders, and waits for the first update.
async fn watch(addr: SocketAddr, key: String, slots: Arc<Semaphore>) -> Result<()> {
    let slot = slots.acquire_owned().await?;
    let mut request = format!("ws://{addr}/graphql").into_client_request()?;
    let protocol = "graphql-transport-ws".parse()?;
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = connect_async(request).await.context("opening a WebSocket")?;
    let payload = json!({ "authorization": format!("Bearer {key}") });
    say(&mut socket, json!({ "type": "connection_init", "payload": payload })).await?;
    let answer = hear(&mut socket).await?;
    if answer["type"] != "connection_ack" {
        bail!("the gateway says {answer} instead of connection_ack");
    }
    drop(slot);
    let until = Instant::now() + PATIENCE;
    loop {
        let payload = json!({ "query": "subscription { orderUpdates { orderId type } }" });
        say(&mut socket, json!({ "type": "subscribe", "id": "1", "payload": payload })).await?;
        let answer = hear(&mut socket).await?;
        if answer["type"] == "next" {
            return Ok(());
        }
        // Topics that were just made may have no leader yet, and then can't be read.
        let retriable = &answer["payload"][0]["extensions"]["retriable"];
        if *retriable != true || Instant::now() > until {
            bail!("the gateway says {answer} instead of next");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn say(socket: &mut Socket, message: Value) -> Result<()> {
    socket.send(Message::text(message.to_string())).await.context("a WebSocket")
}

/// Waits for a message. Pings are answered meanwhile.
async fn hear(socket: &mut Socket) -> Result<Value> {
    loop {
        let message = socket.next().await.context("the gateway closed a WebSocket")?;
        let Message::Text(text) = message.context("a WebSocket")? else { continue };
        return serde_json::from_str(&text).context("a message of the gateway");
    }
}
