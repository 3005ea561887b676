//! One case, in a process of its own: the bare client, or a gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use comanda_gateway::{self as gateway, ApiKey, Publisher};
use comanda_producer::{Producer, Receipt};
use comanda_schemas::{Encoder, OrderEvent, Registry, Topic, TopicNames};
use comanda_store::Store;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::super::case::stop_with_parent;
use super::super::latency::{Latency, Pace};
use super::super::meter::Measured;
use super::super::process::say;
use super::produce;
use crate::admin::Server;
use crate::config::{Loaded, Settings};
use crate::readiness::Readiness;
use crate::{signals, telemetry};

/// How long a placement is remembered. In production the projector lets the gateway forget what it
/// has stored, a moment after it was placed; none runs here, so that its work is not measured.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Port 0 of this machine.
const FREE_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// The customer whose subscriptions are idle.
pub const IDLE_CUSTOMER: &str = "idle";

/// The key of [`IDLE_CUSTOMER`] where the operator's is `key`.
pub fn idle_key(key: &str) -> String {
    format!("{key}-idle")
}

/// What a process is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The bare client.
    Produce {
        /// Tasks that send, each waiting for its acknowledgement.
        tasks: u32,
        /// Where orders come at a pace.
        pace: Option<Pace>,
    },
    /// A gateway, as production has it.
    Serve {
        /// The API key of an operator; a customer has [`idle_key`] of it.
        key: String,
        /// File of the order store; nothing is written to it.
        store: PathBuf,
        /// Whether orders go to Kafka; otherwise they are as good as stored at once.
        publishes: bool,
        /// Connections that it takes.
        max_connections: u32,
    },
}

/// A case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// What to be.
    pub role: Role,
    /// Its topics.
    pub names: TopicNames,
    /// How long to measure, where it measures itself.
    pub seconds: u64,
}

/// What a case says on its standard output, one line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The gateway listens.
    Listens {
        /// GraphQL.
        graphql: SocketAddr,
        /// Metrics.
        admin: SocketAddr,
    },
    /// The bare client is done.
    Produced(Produced),
}

/// What the bare client did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Produced {
    /// What it cost, without its beginning and end.
    pub measured: Measured,
    /// From when an order was due to its acknowledgement.
    pub latency: Latency,
    /// Orders that are stored, all of them.
    pub orders: u64,
}

/// What every case needs.
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// The topics of the case.
    pub names: TopicNames,
    /// How long to measure.
    pub seconds: u64,
    /// Knows the schemas.
    pub registry: Registry,
    /// Stops the work.
    pub stop: CancellationToken,
}

/// Runs the case that `spec` describes, until it is done or the process that started it is gone.
pub async fn run(loaded: Loaded, spec: &str) -> Result<()> {
    let stop = signals::shutdown_token()?;
    stop_with_parent(stop.clone());
    let spec: Spec = serde_json::from_str(spec).context("this command is for `bench` alone")?;
    let Spec { role, names, seconds } = spec;
    let settings = loaded.settings;
    let registry = Registry::new(&settings.registry)?;
    let parts = Parts { settings, names, seconds, registry, stop };
    match role {
        Role::Produce { tasks, pace } => {
            say(&Line::Produced(produce::run(&parts, tasks, pace).await?))
        }
        Role::Serve { key, store, publishes, max_connections } => {
            serve(parts, key, store, publishes, max_connections).await
        }
    }
}

async fn serve(
    parts: Parts,
    key: String,
    store: PathBuf,
    publishes: bool,
    max_connections: u32,
) -> Result<()> {
    let Parts { settings, names, registry, stop, .. } = parts;
    // As in production: metrics are part of what the gateway costs.
    let metrics = telemetry::start_metrics()?;
    // Under the usual names: the topics of a run come and go, the registry keeps its subjects.
    let usual = settings.topics.names();
    let id = registry.resolve(&usual, Topic::Orders).await?;
    for topic in [Topic::Payments, Topic::Notifications, Topic::PaymentReports] {
        registry.resolve(&usual, topic).await?;
    }
    let (encoder, topic) = (Encoder::new(id), names.name(Topic::Orders));
    let publisher = if publishes {
        let Settings { producer, kafka, .. } = &settings;
        Producer::start(producer, kafka, topic, encoder, "/comanda/gateway")?.into()
    } else {
        nowhere(topic)
    };
    let url = format!("sqlite://{}", store.display());
    let store = Store::open(&comanda_store::Options { url, ..settings.store }).await?;
    let options = gateway::Options {
        listen: FREE_PORT,
        api_keys: vec![
            ApiKey::operator("bench", &key),
            ApiKey::customer("idle", &idle_key(&key), IDLE_CUSTOMER),
        ],
        // All clients are at one address, and nearly all are one customer.
        max_connections_per_address: 0,
        max_anonymous_websockets_per_address: 0,
        max_websockets_per_customer: 0,
        customer_rate: 0,
        customer_in_flight: 0,
        customer_reads: 0,
        address_rate: 0,
        max_connections,
        recent_placement_ms: REMEMBERED.as_millis() as u64,
        ..settings.gateway
    };
    let parts = gateway::Parts {
        producer: publisher,
        reports: None,
        store,
        registry,
        kafka: settings.kafka,
        names,
    };
    let service = gateway::Service::build(options, parts).await?;
    let admin = Server::bind(FREE_PORT, Readiness::default(), metrics).await?;
    say(&Line::Listens { graphql: service.addr(), admin: admin.addr() })?;
    tokio::spawn(admin.run_until_stopped(stop.clone(), stop.clone()));
    Ok(service.run_until_stopped(stop).await?)
}

/// Takes every order for stored, and forgets it.
fn nowhere(topic: String) -> Publisher {
    let next = AtomicI64::new(0);
    Publisher::Instead(Arc::new(move |event: &OrderEvent| {
        let (topic, offset) = (topic.clone(), next.fetch_add(1, Ordering::Relaxed));
        Ok(Receipt { topic, partition: 0, offset, timestamp: event.occurred_at })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_survives_the_way_to_its_process() {
        let names = TopicNames {
            prefix: "p.".into(),
            orders: "o".into(),
            payments: "p".into(),
            notifications: "n".into(),
            payment_reports: "r".into(),
        };
        let pace = Some(Pace::new(1_000.0, 3));
        let spec = Spec { role: Role::Produce { tasks: 7, pace }, names, seconds: 4 };
        let text = serde_json::to_string(&spec).unwrap();
        let read: Spec = serde_json::from_str(&text).unwrap();
        assert!(matches!(read.role, Role::Produce { tasks: 7, pace: read } if read == pace));
        assert_eq!((read.names.name(Topic::Orders).as_str(), read.seconds), ("p.o", 4));
    }
}
