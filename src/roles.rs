//! From settings to running roles, and their supervision.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use comanda_gateway as gateway;
use comanda_processors::{engine, notifier, payment, projector};
use comanda_producer::Producer;
use comanda_schemas::{
    ClientLog, Encoder, Event, PaymentReport, Registry, Topic, TopicNames, headers,
};
use comanda_store::Store;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admin::Readiness;
use crate::cli::Role;
use crate::config::Settings;
use crate::{store, watchdog};

/// Wait between two tries to reach the registry at start.
const REGISTRY_RETRY: Duration = Duration::from_secs(2);
/// How often Kafka is asked whether it is there, and for how long.
const KAFKA_CHECK: Duration = Duration::from_secs(2);

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

    /// Waits for a part to end before the shutdown, which is a failure.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.parts.join_next().await {
            Some(ended) => early(ended),
            None => std::future::pending().await,
        }
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

    /// Has `/readyz` know of roles before they are started, one after another.
    pub fn announce(&self, roles: &[Role]) {
        for role in roles {
            let part = match role {
                Role::Gateway => "gateway",
                Role::Payment => "payment",
                Role::Notifier => "notifier",
                Role::Projector => "projector",
            };
            self.readiness.add(part, || Err("is not started yet".to_owned()));
        }
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
                let reports = payment::Reports::to_follow();
                let repeats = payment::Repeats::to_follow();
                let processor = payment::Payment::new(self.settings.payment.clone())?;
                let processor = processor.heeding(reports.clone()).repeating(repeats.clone());
                self.follow(Topic::PaymentReports, supervisor, move |topic| reports.follow(topic));
                self.follow(Topic::Payments, supervisor, move |topic| repeats.follow(topic));
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
        if !self
            .resolve("gateway", &[Topic::Payments, Topic::Notifications, Topic::PaymentReports])
            .await?
        {
            return Ok(None);
        }
        let Some(store) = self.store("gateway").await? else { return Ok(None) };
        let settings = &self.settings;
        let producer: Producer = Producer::start(
            &settings.producer,
            &settings.kafka,
            self.names.name(Topic::Orders),
            encoder,
            "/comanda/gateway",
        )
        .context("starting the producer")?;
        let reports = match settings.gateway.webhook.is_on() {
            true => self.reports_producer().await?,
            false => None,
        };
        let parts = gateway::Parts {
            producer: producer.clone().into(),
            reports,
            store,
            registry: self.registry.clone(),
            kafka: settings.kafka.clone(),
            names: self.names.clone(),
        };
        let service = gateway::Service::build(settings.gateway.clone(), parts).await?;
        let addr = service.addr();
        info!(%addr, "gateway listens");
        self.readiness.add("gateway", || Ok(()));
        let shutdown = self.shutdown.clone();
        let drain = Duration::from_millis(settings.shutdown.deadline_ms);
        supervisor.run("gateway", async move {
            let served = service.run_until_stopped(shutdown).await;
            producer.drain(drain).await;
            Ok(served?)
        });
        Ok(Some(addr))
    }

    /// Stores what the webhook is told; `None` when the shutdown came first.
    async fn reports_producer(&self) -> Result<Option<Producer<PaymentReport>>> {
        let Some(encoder) = self.encoder("gateway").await? else { return Ok(None) };
        let (settings, topic) = (&self.settings, self.names.name(Topic::PaymentReports));
        Producer::start(&settings.producer, &settings.kafka, topic, encoder, "/comanda/gateway")
            .map(Some)
            .context("starting the producer of payment reports")
    }

    async fn start_engine<P: engine::Processor>(
        &self,
        name: &'static str,
        processor: P,
        supervisor: &mut Supervisor,
    ) -> Result<()> {
        let Some(results) = self.encoder(name).await? else { return Ok(()) };
        let Some(notes) = self.encoder(name).await? else { return Ok(()) };
        if !self.resolve(name, &[P::STAGE.input()]).await? {
            return Ok(());
        }
        let engine = engine::Engine::new(
            self.settings.engine.clone(),
            self.settings.kafka.clone(),
            &self.names,
            self.registry.clone(),
            (results, notes),
            processor,
        )?;
        let handle = engine.handle();
        self.readiness.add(name, move || {
            handle.is_ready().then_some(()).ok_or_else(|| match handle.standstill() {
                Some(standstill) => standstill.reason,
                None => "has not joined its group, or can't commit".to_owned(),
            })
        });
        let shutdown = self.shutdown.clone();
        supervisor.run(name, async move { Ok(engine.run_until_stopped(shutdown).await?) });
        Ok(())
    }

    /// Lets the payment processor know what a topic says besides its input.
    fn follow(
        &self,
        topic: Topic,
        supervisor: &mut Supervisor,
        read: impl FnOnce(&payment::Followed) + Send + 'static,
    ) {
        let followed = payment::Followed {
            kafka: self.settings.kafka.clone(),
            topic: self.names.name(topic),
            registry: self.registry.clone(),
            runtime: tokio::runtime::Handle::current(),
            shutdown: self.shutdown.clone(),
        };
        let reading = move || read(&followed);
        supervisor.run(topic.as_str(), async { Ok(tokio::task::spawn_blocking(reading).await?) });
    }

    async fn start_projector(&self, supervisor: &mut Supervisor) -> Result<()> {
        if !self.resolve("projector", &Topic::ALL).await? {
            return Ok(());
        }
        let Some(store) = self.store("projector").await? else { return Ok(()) };
        let options = self.settings.watchdog.clone();
        watchdog::watch(options, store.clone(), &self.readiness, self.shutdown.clone());
        let service = projector::Service::new(
            self.settings.projector.clone(),
            self.settings.kafka.clone(),
            self.names.clone(),
            self.registry.clone(),
            store,
        );
        let handle = service.handle();
        self.readiness.add("projector", move || {
            handle.caught_up().then_some(()).ok_or_else(|| "has not caught up".to_owned())
        });
        let shutdown = self.shutdown.clone();
        supervisor.run("projector", async move { Ok(service.run_until_stopped(shutdown).await?) });
        Ok(())
    }

    /// The order store, opened once and closed with the process; `None` when the shutdown came
    /// first.
    async fn store(&self, part: &'static str) -> Result<Option<Store>> {
        if let Some(store) = self.store.get() {
            return Ok(Some(store.clone()));
        }
        let options = &self.settings.store;
        let Some(opened) = store::open(options, part, &self.readiness, &self.shutdown).await?
        else {
            return Ok(None);
        };
        store::watch(opened.clone(), &self.readiness, self.shutdown.clone());
        // The roles start one after another.
        let _ = self.store.set(opened.clone());
        Ok(Some(opened))
    }

    /// The encoder of `E`, as soon as the registry tells the schema's id; `None` when the
    /// shutdown came first.
    async fn encoder<E: Event>(&self, part: &'static str) -> Result<Option<Encoder<E>>> {
        Ok(self.schema_id(part, E::TOPIC).await?.map(Encoder::new))
    }

    /// Makes the schemas of what a part reads known, so that an outage of the registry later does
    /// not stop it; `false` when the shutdown came first.
    async fn resolve(&self, part: &'static str, topics: &[Topic]) -> Result<bool> {
        for topic in topics {
            if self.schema_id(part, *topic).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn schema_id(&self, part: &'static str, topic: Topic) -> Result<Option<u32>> {
        self.readiness.add(part, || Err("waits for the schema registry".to_owned()));
        loop {
            match self.registry.resolve(&self.names, topic).await {
                Ok(id) => return Ok(Some(id)),
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

    /// Asks Kafka again and again whether it is there, on a thread of its own, and lets
    /// `/readyz` know.
    pub fn watch_kafka(&self) {
        let answers = Arc::new(AtomicBool::new(false));
        let state = answers.clone();
        self.readiness.add("kafka", move || {
            let answers = state.load(Ordering::Acquire);
            answers.then_some(()).ok_or_else(|| "does not answer, or lacks a topic".to_owned())
        });
        let (kafka, shutdown) = (self.settings.kafka.clone(), self.shutdown.clone());
        let names = self.names.all();
        tokio::task::spawn_blocking(move || {
            let client: BaseConsumer<ClientLog> =
                match kafka.client_config("health").create_with_context(ClientLog) {
                    Ok(client) => client,
                    Err(error) => return error!(%error, "no client to watch Kafka with"),
                };
            let mut last = None;
            while !shutdown.is_cancelled() {
                let asked = Instant::now();
                let failure = match client.fetch_metadata(None, KAFKA_CHECK) {
                    Err(error) => Some(error.to_string()),
                    Ok(metadata) => {
                        let present = |name: &&String| {
                            metadata.topics().iter().any(|topic| topic.name() == name.as_str())
                        };
                        let missing = names.iter().find(|name| !present(name));
                        missing.map(|name| format!("there is no topic {name}"))
                    }
                };
                answers.store(failure.is_none(), Ordering::Release);
                if last.replace(failure.is_none()) != Some(failure.is_none()) {
                    match failure {
                        None => info!(brokers = kafka.brokers, "Kafka answers"),
                        Some(error) => warn!(brokers = kafka.brokers, error, "Kafka is not ready"),
                    }
                }
                while !shutdown.is_cancelled() && asked.elapsed() < KAFKA_CHECK {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
    }
}
