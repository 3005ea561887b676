//! From settings to running roles, and their supervision.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use comanda_gateway as gateway;
use comanda_processors::{engine, notifier, payment, projector};
use comanda_producer::Producer;
use comanda_schemas::{Encoder, Event, Registry, Topic, TopicNames, headers};
use comanda_store::Store;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admin::Readiness;
use crate::cli::Role;
use crate::config::Settings;

/// Wait between two tries to reach the registry at start.
const REGISTRY_RETRY: Duration = Duration::from_secs(2);
/// How often the gateway's broker is asked whether it is there, and for how long.
const BROKER_CHECK: Duration = Duration::from_secs(2);

/// The roles of this process and whatever runs beside them. Dropping it stops all at once.
pub struct Supervisor {
    parts: JoinSet<(&'static str, Result<()>)>,
    shutdown: CancellationToken,
}

impl Supervisor {
    /// Nothing runs yet; `shutdown` stops whatever will.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { parts: JoinSet::new(), shutdown }
    }

    /// Runs a part. Its end before the shutdown is a failure of the process.
    pub fn run<F>(&mut self, name: &'static str, part: F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.parts.spawn(async move { (name, part.await) });
    }

    /// The failure of a part that has ended already, if any.
    pub fn failure(&mut self) -> Option<anyhow::Error> {
        self.parts.try_join_next().map(early)
    }

    /// Waits for the shutdown, then for all parts to end, up to `deadline`. A part that ends on
    /// its own stops the others and is the error.
    pub async fn wait(mut self, deadline: Duration) -> Result<()> {
        let mut outcome = Ok(());
        tokio::select! {
            // First, because parts that stop when asked can end in the same moment.
            biased;
            () = self.shutdown.cancelled() => {}
            Some(ended) = self.parts.join_next() => {
                outcome = Err(early(ended));
                self.shutdown.cancel();
            }
        }
        let stopped = async {
            while let Some(ended) = self.parts.join_next().await {
                match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((name, Err(failure))) => {
                        error!(
                            part = name,
                            error = format!("{failure:#}"),
                            "stopped with an error"
                        );
                        if outcome.is_ok() {
                            outcome = Err(failure.context(name));
                        }
                    }
                    Err(failure) => error!(%failure, "a part panicked while stopping"),
                }
            }
        };
        if tokio::time::timeout(deadline, stopped).await.is_err() {
            warn!(?deadline, "what had not stopped by the deadline was cut off");
        }
        outcome
    }
}

fn early(ended: Result<(&'static str, Result<()>), tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow!("{name} ended without being asked"),
        Ok((name, Err(failure))) => failure.context(format!("{name} failed")),
        Err(failure) => anyhow!(failure).context("a part panicked"),
    }
}

/// What the roles of one process share; each is opened on first use.
pub struct Wiring {
    settings: Settings,
    names: TopicNames,
    registry: Registry,
    readiness: Readiness,
    shutdown: CancellationToken,
    store: OnceCell<Store>,
}

impl Wiring {
    /// Wiring of the roles that `settings` describe.
    pub fn new(
        settings: Settings,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let registry = Registry::new(&settings.registry)?;
        let names = settings.topics.names();
        Ok(Self { settings, names, registry, readiness, shutdown, store: OnceCell::new() })
    }

    /// The registry client that the roles use.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Starts `role` under `supervisor`; the gateway's address where it is the gateway.
    ///
    /// `None` as well when the shutdown came first.
    pub async fn start(
        &self,
        role: Role,
        supervisor: &mut Supervisor,
    ) -> Result<Option<SocketAddr>> {
        match role {
            Role::Gateway => return self.start_gateway(supervisor).await,
            Role::Projector => self.start_projector(supervisor).await?,
            Role::Payment => {
                let processor = payment::Payment::new(self.settings.payment.clone())?;
                self.start_engine("payment", processor, supervisor).await?;
            }
            Role::Notifier => {
                let processor = notifier::Notifier::new(self.settings.notifier.clone())?;
                self.start_engine("notifier", processor, supervisor).await?;
            }
        }
        Ok(None)
    }

    async fn start_gateway(&self, supervisor: &mut Supervisor) -> Result<Option<SocketAddr>> {
        let Some(encoder) = self.encoder("gateway").await? else { return Ok(None) };
        let settings = &self.settings;
        let producer: Producer = Producer::start(
            &settings.producer,
            &settings.kafka,
            self.names.name(Topic::Orders),
            encoder,
            "/comanda/gateway",
        )
        .context("starting the producer")?;
        let parts = gateway::Parts {
            producer: producer.clone(),
            store: self.store().await?,
            registry: self.registry.clone(),
            kafka: settings.kafka.clone(),
            names: self.names.clone(),
        };
        let service = gateway::Service::build(settings.gateway.clone(), parts).await?;
        let addr = service.addr();
        info!(%addr, "gateway listens");
        let connected = self.watch_broker(producer.clone());
        self.readiness.add("gateway", move || {
            connected.load(Ordering::Acquire).then_some(()).ok_or_else(|| {
                "the broker does not answer, or the orders topic does not exist".to_owned()
            })
        });
        let shutdown = self.shutdown.clone();
        let drain = Duration::from_millis(settings.shutdown.deadline_ms);
        supervisor.run("gateway", async move {
            let served = service.run_until_stopped(shutdown).await;
            producer.drain(drain).await;
            Ok(served?)
        });
        Ok(Some(addr))
    }

    /// Asks the broker again and again, off the async workers; whether it answered last.
    fn watch_broker(&self, producer: Producer) -> Arc<AtomicBool> {
        let connected = Arc::new(AtomicBool::new(false));
        let (state, shutdown) = (connected.clone(), self.shutdown.clone());
        let brokers = self.settings.kafka.brokers.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(BROKER_CHECK);
            let mut last = None;
            while !shutdown.is_cancelled() {
                tick.tick().await;
                let producer = producer.clone();
                let asked = tokio::task::spawn_blocking(move || producer.check(BROKER_CHECK)).await;
                let failure = match asked {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(error) => Some(error.to_string()),
                };
                state.store(failure.is_none(), Ordering::Release);
                if last != Some(failure.is_none()) {
                    last = Some(failure.is_none());
                    match failure {
                        None => info!(brokers, "the gateway's broker answers"),
                        Some(error) => {
                            warn!(brokers, error, "the gateway's broker does not answer");
                        }
                    }
                }
            }
        });
        connected
    }

    async fn start_engine<P: engine::Processor>(
        &self,
        name: &'static str,
        processor: P,
        supervisor: &mut Supervisor,
    ) -> Result<()> {
        let Some(encoder) = self.encoder(name).await? else { return Ok(()) };
        let engine = engine::Engine::new(
            self.settings.engine.clone(),
            self.settings.kafka.clone(),
            &self.names,
            self.registry.clone(),
            encoder,
            processor,
        )?;
        let handle = engine.handle();
        self.readiness.add(name, move || {
            handle.is_ready().then_some(()).ok_or_else(|| "has not joined its group".to_owned())
        });
        let shutdown = self.shutdown.clone();
        supervisor.run(name, async move { Ok(engine.run_until_stopped(shutdown).await?) });
        Ok(())
    }

    async fn start_projector(&self, supervisor: &mut Supervisor) -> Result<()> {
        let service = projector::Service::new(
            self.settings.projector.clone(),
            self.settings.kafka.clone(),
            self.names.clone(),
            self.registry.clone(),
            self.store().await?,
        );
        let handle = service.handle();
        self.readiness.add("projector", move || {
            handle.caught_up().then_some(()).ok_or_else(|| "has not caught up".to_owned())
        });
        let shutdown = self.shutdown.clone();
        supervisor.run("projector", async move { Ok(service.run_until_stopped(shutdown).await?) });
        Ok(())
    }

    /// The order store, opened once; closed with the process.
    pub async fn store(&self) -> Result<Store> {
        let open = || async {
            Store::open(&self.settings.store)
                .await
                .with_context(|| format!("opening the order store {}", self.settings.store.url))
        };
        self.store.get_or_try_init(open).await.cloned()
    }

    /// The encoder of `E`, as soon as the registry tells the schema's id; `None` when the
    /// shutdown came first.
    async fn encoder<E: Event>(&self, part: &'static str) -> Result<Option<Encoder<E>>> {
        self.readiness.add(part, || Err("waits for the schema registry".to_owned()));
        loop {
            match self.registry.resolve(&self.names, E::TOPIC).await {
                Ok(id) => return Ok(Some(Encoder::new(id))),
                Err(error) if error.is_retriable() => {
                    warn!(part, error = headers::error_chain(&error), "trying again");
                }
                Err(error) => {
                    return Err(anyhow!(error)).context(
                        "resolving a schema; `comanda schemas register` registers them all",
                    );
                }
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(REGISTRY_RETRY) => {}
            }
        }
    }
}
