//! What a gateway holds for subscriptions on which nothing happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comanda_gateway::metrics::SUBSCRIPTIONS;
use comanda_producer::Producer;
use comanda_schemas::{OrderEvent, TraceContext};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::super::case::sum_of;
use super::super::load::Orders;
use super::super::meter::Process;
use super::Gateway;
use super::case::{IDLE_CUSTOMER, idle_key};

/// WebSockets that are opened at one time.
const OPENING: usize = 64;
/// How long to wait for subscriptions to be open, and for their update.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the gateway is asked how many are open.
const LOOK: Duration = Duration::from_millis(50);
/// Events that concern none of the idle subscriptions.
const FOREIGN: u64 = 10_000;
/// Of these, so many are on their way at one time, so that the operator's queue
/// (`gateway.subscriber_queue`) has room.
const SENDING: u64 = 100;
/// Events that are sent one by one, to see how soon each is told.
const SINGLE: usize = 21;

/// What idle subscriptions cost a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// Resident, in bytes, once it listens and before anybody asked for anything.
    pub idle_gateway_rss_bytes: u64,
    /// Resident, in bytes, for each WebSocket with one idle subscription. The consumer that all
    /// share counts for none of them.
    pub bytes_per_idle_subscription: u64,
    /// Subscriptions it was measured with.
    pub idle_subscriptions: u32,
    /// CPU of the gateway for an event that one operator is told and nobody else, in microseconds,
    /// without the idle subscriptions.
    pub cpu_us_per_event_alone: f64,
    /// The same with them.
    pub cpu_us_per_foreign_event: f64,
    /// Median of the time from sending an event to its being told to the operator, with them, in
    /// milliseconds.
    pub update_ms: f64,
    /// How long it took until an event for all of them was told to the last, in milliseconds.
    pub told_all_ms: f64,
}

/// Opens so many subscriptions of one customer, and proves at the end that each one is there.
pub async fn measure(
    gateway: &Gateway,
    events: Producer<OrderEvent>,
    subscriptions: u32,
) -> Result<Memory> {
    let process = gateway.process();
    let idle_gateway_rss_bytes = process.rss_bytes()?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let (told, updates) = mpsc::unbounded_channel();
    // The first one starts the consumer.
    let operator = watch(gateway.graphql, gateway.key.clone(), Arc::new(Semaphore::new(1)));
    let mut operator = operator.await?;
    let (mut clients, slots) = (JoinSet::new(), Arc::new(Semaphore::new(OPENING)));
    wait_for(1, gateway.admin, &http, &mut clients).await?;
    tokio::spawn(async move {
        while let Ok(update) = hear(&mut operator).await {
            if told.send(update).is_err() {
                return;
            }
        }
    });
    let mut events = Events { events, orders: Orders::new(), next: 0, updates };
    // What only the first events cost does not count.
    events.foreign(&process).await?;
    let cpu_us_per_event_alone = events.foreign(&process).await?;

    let before = process.rss_bytes()?;
    for _ in 0..subscriptions {
        let socket = watch(gateway.graphql, idle_key(&gateway.key), slots.clone());
        clients.spawn(async move { told_once(&mut socket.await?).await });
    }
    wait_for(subscriptions + 1, gateway.admin, &http, &mut clients).await?;
    let held = process.rss_bytes()?.saturating_sub(before);

    let cpu_us_per_foreign_event = events.foreign(&process).await?;
    let mut took = Vec::new();
    for _ in 0..SINGLE {
        took.push(events.single(None).await?);
    }
    took.sort();
    if let Some(ended) = clients.try_join_next() {
        ended??;
        bail!("a subscription was told of another customer's order");
    }
    let sent = Instant::now();
    events.single(Some(IDLE_CUSTOMER)).await?;
    let heard = async {
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    heard.with_context(|| format!("an order was not told to all within {PATIENCE:?}"))??;
    Ok(Memory {
        idle_gateway_rss_bytes,
        bytes_per_idle_subscription: held / u64::from(subscriptions),
        idle_subscriptions: subscriptions,
        cpu_us_per_event_alone,
        cpu_us_per_foreign_event,
        update_ms: took[SINGLE / 2].as_secs_f64() * 1e3,
        told_all_ms: sent.elapsed().as_secs_f64() * 1e3,
    })
}

/// Events, past the gateway to the broker, and an operator's subscription that hears of each.
struct Events {
    events: Producer<OrderEvent>,
    orders: Orders,
    next: u64,
    updates: mpsc::UnboundedReceiver<Value>,
}

impl Events {
    /// What an event costs the gateway, in microseconds of CPU, until the operator knows of it.
    async fn foreign(&mut self, process: &Process) -> Result<f64> {
        let before = process.cpu_seconds()?;
        for _ in 0..FOREIGN / SENDING {
            let numbers = self.next..self.next + SENDING;
            self.next += SENDING;
            let events: Vec<_> = numbers.map(|n| self.orders.event(n)).collect();
            try_join_all(events.iter().map(|event| store(&self.events, event))).await?;
            for _ in 0..SENDING {
                self.told().await?;
            }
        }
        Ok((process.cpu_seconds()? - before) * 1e6 / FOREIGN as f64)
    }

    /// Sends one event, of the customer's order where one is given, and waits until it is told.
    async fn single(&mut self, customer: Option<&str>) -> Result<Duration> {
        let mut event = self.orders.event(self.next);
        self.next += 1;
        if let Some(customer) = customer {
            customer.clone_into(&mut event.customer_id);
        }
        let sent = Instant::now();
        store(&self.events, &event).await?;
        self.told().await?;
        Ok(sent.elapsed())
    }

    async fn told(&mut self) -> Result<()> {
        let told = tokio::time::timeout(PATIENCE, self.updates.recv()).await;
        let update = told.context("the operator is not told")?.context("the operator's socket")?;
        if update["type"] != "next" {
            bail!("the gateway says {update} instead of next");
        }
        Ok(())
    }
}

async fn store(events: &Producer<OrderEvent>, event: &OrderEvent) -> Result<()> {
    let stored = events.publish(event, &TraceContext::new_root()).await;
    stored.map(drop).context("storing an event")
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

/// Subscribes to all orders that the owner of the key may see.
async fn watch(addr: SocketAddr, key: String, slots: Arc<Semaphore>) -> Result<Socket> {
    let _slot = slots.acquire_owned().await?;
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
    subscribe(&mut socket).await?;
    Ok(socket)
}

async fn subscribe(socket: &mut Socket) -> Result<()> {
    let payload = json!({ "query": "subscription { orderUpdates { orderId type } }" });
    say(socket, json!({ "type": "subscribe", "id": "1", "payload": payload })).await
}

/// Waits for the first update.
async fn told_once(socket: &mut Socket) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = hear(socket).await?;
        if answer["type"] == "next" {
            return Ok(());
        }
        // Topics that were just made may have no leader yet, and then can't be read.
        let retriable = &answer["payload"][0]["extensions"]["retriable"];
        if *retriable != true || Instant::now() > until {
            bail!("the gateway says {answer} instead of next");
        }
        tokio::time::sleep(LOOK).await;
        subscribe(socket).await?;
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
