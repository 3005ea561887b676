//! What the gateway is compared with: encode, produce, wait for the acknowledgement, and nothing
//! else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_schemas::{ClientLog, Encoder, Event, OrderEvent, Topic, TraceContext, headers};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinSet;

use super::super::latency::{Latency, Pace};
use super::super::load::Orders;
use super::super::meter::Process;
use super::case::{Parts, Produced};
use super::tickets::Tickets;

/// The client, with the settings of the gateway's.
struct Client {
    producer: FutureProducer<ClientLog>,
    topic: String,
    encoder: Encoder<OrderEvent>,
    orders: Orders,
}

/// So many tasks send one order after the other, each once the one before is acknowledged.
pub async fn run(parts: &Parts, tasks: u32, pace: Option<Pace>) -> Result<Produced> {
    let Parts { settings, names, seconds, registry, stop } = parts;
    let id = registry.resolve(&settings.topics.names(), Topic::Orders).await?;
    let config = settings.producer.client_config(&settings.kafka);
    let client = Arc::new(Client {
        producer: FutureProducer::from_config_and_context(&config, ClientLog)
            .context("the producer")?,
        topic: names.name(Topic::Orders),
        encoder: Encoder::new(id),
        orders: Orders::new(),
    });
    let tickets = Tickets::new(pace, stop);
    let mut senders = JoinSet::new();
    for _ in 0..tasks {
        senders.spawn(send_all(client.clone(), tickets.clone()));
    }
    let this = Process::this();
    let measured = tokio::select! {
        measured = tickets.follow(&this, *seconds) => measured?,
        Some(ended) = senders.join_next() => {
            ended??;
            bail!("a sender ended before it was measured");
        }
    };
    tickets.end();
    let mut all = Vec::new();
    while let Some(took) = senders.join_next().await {
        all.extend(took??);
    }
    Ok(Produced { measured, latency: Latency::of(all)?, orders: tickets.done() })
}

async fn send_all(client: Arc<Client>, tickets: Arc<Tickets>) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while let Some(ticket) = tickets.take(1).await {
        client.send(ticket.number).await?;
        took.extend(tickets.stored(ticket, 1));
    }
    Ok(took)
}

impl Client {
    async fn send(&self, number: u64) -> Result<()> {
        let event = self.orders.event(number);
        let (key, value) = (event.order_id.to_string(), self.encoder.encode(&event)?);
        let trace = TraceContext::new_root();
        let record = FutureRecord::to(&self.topic)
            .key(&key)
            .payload(&value)
            .timestamp(event.occurred_at().as_millis())
            .headers(headers::event_headers(&event, "/comanda/gateway", &trace));
        let report = self.producer.send_result(record).map_err(|(error, _)| error);
        match report.context("sending an order")?.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error).context("storing an order"),
            Err(_) => bail!("an order has no delivery report"),
        }
    }
}
