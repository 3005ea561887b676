//! The gateway as a long-running part.

use std::net::SocketAddr;
use std::sync::Arc;

use comanda_producer::Producer;
use comanda_schemas::{KafkaOptions, PaymentReport, Registry, TopicNames};
use comanda_store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Auth;
use crate::budget::Budget;
use crate::change::{self, Changing};
use crate::config::{bytes, millis};
use crate::documents::Documents;
use crate::execute::Executor;
use crate::http::{Cors, Edge, Gateway, Streams, service};
use crate::place::Placing;
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::rate::Rates;
use crate::schema::{House, Limits};
use crate::updates::{Sources, Updates};
use crate::webhook::Webhook;
use crate::{Audience, Error, Options, log, server, ws};

/// What the gateway stands on.
pub struct Parts {
    /// Stores order events.
    pub producer: Publisher,
    /// Stores what the webhook is told; without it there is none.
    pub reports: Option<Producer<PaymentReport>>,
    /// Orders as they can be read.
    pub store: Store,
    /// Schemas of the events that subscribers are told of.
    pub registry: Registry,
    /// Connection of the consumer behind the subscriptions.
    pub kafka: KafkaOptions,
    /// What the topics are called.
    pub names: TopicNames,
}

/// The gateway, listening but not yet serving.
pub struct Service {
    listener: TcpListener,
    addr: SocketAddr,
    options: Options,
    auth: Auth,
    documents: Documents,
    cors: Arc<Cors>,
    edge: Edge,
    parts: Parts,
}

impl Service {
    /// Checks the options and listens.
    pub async fn build(options: Options, parts: Parts) -> Result<Self, Error> {
        options.validate()?;
        let auth = Auth::open(&options).await?;
        let documents = Documents::new(&options)?;
        let cors = Arc::new(Cors::parse(&options.cors_origins)?);
        let edge = Edge::new(&options, cors.clone())?;
        let failed = |source| Error::Bind { addr: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr, options, auth, documents, cors, edge, parts })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown`, then finishes accepted requests within the time of `drain_ms`.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { listener, options, auth, documents, cors, edge, mut parts, .. } = self;
        let auth = Arc::new(auth);
        let webhook = parts.reports.take().and_then(|reports| {
            Webhook::new(options.webhook.clone(), reports, parts.store.clone())
        });
        let rates = Arc::new(Rates::new(&options));
        let house = house(parts, &options, rates.clone(), shutdown.clone());
        let housekeeping = [
            tokio::spawn(auth.clone().follow(shutdown.clone())),
            tokio::spawn(house.changing.clone().keep_house(shutdown.clone())),
            tokio::spawn(rates.clone().keep_house(shutdown.clone())),
        ];
        let sockets = TaskTracker::new();
        let (anonymous, callers) = options.request_bytes();
        let gateway = Gateway {
            executor: Executor::new(house, documents, &options),
            auth,
            webhook,
            rates,
            cors,
            sockets: ws::Sockets::new(&options, sockets.clone(), shutdown.clone()),
            streams: Streams::new(&options, shutdown.clone()),
            has_page: options.introspection != Audience::Nobody,
            max_body: options.max_body_bytes,
            max_anonymous_body: options.max_anonymous_body(),
            request_bytes: Budget::new("request_bytes", anonymous, callers),
            body_timeout: millis(options.body_timeout_ms),
            has_access_log: options.access_log,
        };
        let limits = server::Limits {
            connections: options.max_connections as usize,
            connections_per_address: options.max_connections_per_address as usize,
            head_timeout: millis(options.head_timeout_ms),
            stall_timeout: millis(options.body_timeout_ms),
            compress_min: options.compress_min_bytes,
            drain: millis(options.drain_ms),
        };
        let service = service(Arc::new(gateway));
        server::serve(listener, Arc::new(edge), service, limits, sockets, shutdown).await;
        housekeeping.iter().for_each(JoinHandle::abort);
        Ok(())
    }
}

/// What stands behind the schema. It begins to read the orders topic.
pub(crate) fn house(
    parts: Parts,
    options: &Options,
    rates: Arc<Rates>,
    shutdown: CancellationToken,
) -> House {
    let Parts { producer, store, registry, kafka, names, .. } = parts;
    let progress = Progress::new(store.clone());
    let log = log::Parts { kafka: kafka.clone(), names: names.clone(), store: store.clone() };
    let recent = (options.max_recent_placements as usize, millis(options.recent_placement_ms));
    let (receipt_wait, max_bytes) =
        (millis(options.receipt_wait_ms), bytes(options.max_recent_bytes));
    let placing = Placing::start(producer, registry.clone(), log, (recent.0, max_bytes), recent.1);
    let bounds = change::Bounds {
        versions: i32::try_from(options.max_order_versions).unwrap_or(i32::MAX),
        open: options.max_open_changes as usize,
    };
    let changing =
        Changing::new(&placing, store.clone(), progress.clone(), recent, receipt_wait, bounds);
    let sources = Sources {
        kafka,
        names: names.clone(),
        registry,
        store: store.clone(),
        progress: progress.clone(),
    };
    let queue = options.subscriber_queue as usize;
    let updates = Updates::new(sources, queue, receipt_wait, shutdown);
    let limits = limits(options);
    House { limits, names, store, progress, placing, changing, updates, rates }
}

/// The limits that the schema itself knows.
pub(crate) fn limits(options: &Options) -> Limits {
    Limits {
        max_depth: options.max_depth as usize,
        max_complexity: options.max_complexity as usize,
        max_batch: options.max_batch as usize,
        max_lines: options.max_lines as usize,
        receipt_wait: millis(options.receipt_wait_ms),
    }
}
