//! The gateway as a long-running part.

use std::net::SocketAddr;
use std::sync::Arc;

use comanda_producer::Producer;
use comanda_schemas::{KafkaOptions, Registry, TopicNames};
use comanda_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Keys;
use crate::config::millis;
use crate::execute::Executor;
use crate::http::{Gateway, routes};
use crate::place::Placing;
use crate::progress::Progress;
use crate::schema::{self, House, Limits};
use crate::updates::{Sources, Updates};
use crate::{Error, Options, log, server, ws};

/// What the gateway stands on.
pub struct Parts {
    /// Stores order events.
    pub producer: Producer,
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
    keys: Keys,
    parts: Parts,
}

impl Service {
    /// Checks the options and listens.
    pub async fn build(options: Options, parts: Parts) -> Result<Self, Error> {
        options.validate()?;
        let keys = Keys::parse(&options.api_keys)?;
        let failed = |source| Error::Bind { addr: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr, options, keys, parts })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown`, then finishes accepted requests within the time of `drain_ms`.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { listener, options, keys, parts, .. } = self;
        let Parts { producer, store, registry, kafka, names } = parts;
        let progress = Progress::new(store.clone());
        let log = log::Parts { kafka: kafka.clone(), names: names.clone(), store: store.clone() };
        let placing = Placing::start(
            producer,
            registry.clone(),
            log,
            options.max_recent_placements as usize,
            millis(options.recent_placement_ms),
        );
        let housekeeping = placing.clone().keep_house(progress.clone(), shutdown.clone());
        let housekeeping = tokio::spawn(housekeeping);
        let receipt_wait = millis(options.receipt_wait_ms);
        let sources = Sources {
            kafka,
            names: names.clone(),
            registry,
            store: store.clone(),
            progress: progress.clone(),
        };
        let queue = options.subscriber_queue as usize;
        let updates = Updates::new(sources, queue, receipt_wait, shutdown.clone());
        let limits = Limits {
            max_depth: options.max_depth as usize,
            max_complexity: options.max_complexity as usize,
            max_batch: options.max_batch as usize,
            max_lines: options.max_lines as usize,
            receipt_wait,
        };
        let schema = schema::build(House { limits, names, store, progress, placing, updates });
        let sockets = TaskTracker::new();
        let gateway = Gateway {
            executor: Executor::new(
                schema,
                options.max_tokens as usize,
                limits.max_depth,
                limits.max_complexity,
            ),
            keys: Arc::new(keys),
            sockets: ws::Sockets::new(&options, sockets.clone(), shutdown.clone()),
            max_body: options.max_body_bytes,
            body_timeout: millis(options.body_timeout_ms),
        };
        let limits = server::Limits {
            connections: options.max_connections as usize,
            head_timeout: millis(options.head_timeout_ms),
            drain: millis(options.drain_ms),
        };
        server::serve(listener, routes(Arc::new(gateway)), limits, sockets, shutdown).await;
        housekeeping.abort();
        Ok(())
    }
}
