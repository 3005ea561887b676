//! From settings to running roles.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use comanda_gateway as gateway;
use comanda_processors::provider::Presence;
use comanda_processors::{engine, notifier, payment, projector};
use comanda_producer::Producer;
use comanda_schemas::{Encoder, Event, PaymentReport, Registry, Topic, TopicNames, headers};
use comanda_store::Store;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::Role;
use crate::config::Settings;
use crate::readiness::Readiness;
use crate::supervisor::{Crew, Misconfigured, Supervisor, Verdict};
use crate::{kafka_watch, store, watchdog};

/// Wait between two tries to reach the registry.
const REGISTRY_RETRY: Duration = Duration::from_secs(2);
/// Time before a role that another process has shut out takes its place again. Sooner, two
/// processes that share a name would only shut each other out.
const FENCED_PAUSE: Duration = Duration::from_secs(300);

/// What the roles of one process share; each is opened on first use. Cheap to clone.
#[derive(Clone)]
pub struct Wiring {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    names: TopicNames,
    registry: Registry,
    readiness: Readiness,
    /// Ends the process, and with it what outlives a run of a role.
    shutdown: CancellationToken,
    store: Mutex<Option<Store>>,
    /// What the watch over Kafka has seen.
    topics: watch::Sender<kafka_watch::Topics>,
    /// Where the gateway listens, from its first start on.
    gateway: watch::Sender<Option<SocketAddr>>,
}

impl Wiring {
    /// Wiring of the roles that `settings` describe.
    pub fn new(
        settings: Settings,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let registry = Registry::new(&settings.registry)?;
        let shared = Shared {
            names: settings.topics.names(),
            settings,
            registry,
            readiness,
            shutdown,
            store: Mutex::default(),
            topics: watch::Sender::default(),
            gateway: watch::Sender::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The registry client that the roles use.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Where the gateway listens, once it does.
    pub fn gateway(&self) -> Option<SocketAddr> {
        *self.shared.gateway.borrow()
    }

    /// Has `/readyz` know whether Kafka answers.
    pub fn watch_kafka(&self) {
        let Shared { settings, names, readiness, shutdown, .. } = &*self.shared;
        let (kafka, seen) = (settings.kafka.clone(), self.shared.topics.clone());
        kafka_watch::start(kafka, names.all(), readiness, seen, shutdown.clone());
    }

    /// Has `/readyz` know of roles before they are started.
    pub fn announce(&self, roles: &[Role]) {
        for role in roles {
            self.shared.readiness.not_ready(role.as_str(), "is not started yet");
        }
    }

    /// Starts roles under `supervisor`, which starts them again where they end.
    pub fn start(&self, roles: &[Role], supervisor: &mut Supervisor) {
        for role in Role::ALL.into_iter().filter(|role| roles.contains(role)) {
            let (name, readiness) = (role.as_str(), &self.shared.readiness);
            let shared = self.shared.clone();
            supervisor.run_role(name, readiness, judge, move |stop| {
                let shared = shared.clone();
                async move { Run { shared, stop }.until_made_anew(role).await }
            });
        }
    }
}

/// What follows from the failure of a role.
fn judge(failure: &anyhow::Error) -> Verdict {
    match failure.chain().find_map(|cause| cause.downcast_ref::<engine::Error>()) {
        // Each start would make dead letters of good records.
        Some(engine::Error::TooManyDeadLetters { .. }) => Verdict::StayDown,
        Some(engine::Error::Fenced { .. }) => Verdict::RestartAfter(FENCED_PAUSE),
        Some(_) | None => Verdict::Restart,
    }
}

/// One run of a role, from its start to its end.
#[derive(Clone)]
struct Run {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Run {
    /// Runs `role` until it is stopped, or a topic is another than before: whatever it knows of
    /// offsets then means nothing.
    async fn until_made_anew(self, role: Role) -> Result<()> {
        let mut topics = self.shared.topics.subscribe();
        let before = topics.borrow().made_anew;
        let stop = self.stop.clone();
        let run = self.role(role);
        tokio::pin!(run);
        tokio::select! {
            ended = &mut run => return ended,
            // The sender lives as long as the role's wiring.
            _ = topics.wait_for(|topics| topics.made_anew != before) => {}
        }
        stop.cancel();
        run.await?;
        Err(anyhow!(
            "a topic was deleted and made anew, so that what was read of it does not count"
        ))
    }

    /// Runs `role` until it is stopped.
    async fn role(self, role: Role) -> Result<()> {
        match role {
            Role::Gateway => self.gateway().await,
            Role::Projector => self.projector().await,
            Role::Payment => {
                let mut crew = Crew::new(self.stop.clone());
                let reports = payment::Reports::to_follow();
                let repeats = payment::Repeats::to_follow();
                let settings = self.shared.settings.payment.clone();
                let processor = payment::Payment::new(settings).context(Misconfigured)?;
                self.tell_of("payment_provider", processor.presence());
                let processor = processor.heeding(reports.clone()).repeating(repeats.clone());
                self.follow(Topic::PaymentReports, &mut crew, move |topic| reports.follow(topic));
                self.follow(Topic::Payments, &mut crew, move |topic| repeats.follow(topic));
                self.engine("payment", processor, crew).await
            }
            Role::Notifier => {
                let settings = self.shared.settings.notifier.clone();
                let processor = notifier::Notifier::new(settings).context(Misconfigured)?;
                self.tell_of("mail_provider", processor.presence());
                let crew = Crew::new(self.stop.clone());
                self.engine("notifier", processor, crew).await
            }
        }
    }

    async fn gateway(self) -> Result<()> {
        let Some(encoder) = self.encoder("gateway").await? else { return Ok(()) };
        let read = [Topic::Payments, Topic::Notifications, Topic::PaymentReports];
        if !self.resolve("gateway", &read).await? {
            return Ok(());
        }
        let Some(store) = self.store("gateway").await? else { return Ok(()) };
        let Shared { settings, names, registry, readiness, gateway: listens_at, .. } =
            &*self.shared;
        let producer: Producer = Producer::start(
            &settings.producer,
            &settings.kafka,
            names.name(Topic::Orders),
            encoder,
            "/comanda/gateway",
        )
        .context("starting the producer")
        .context(Misconfigured)?;
        let reports = match settings.gateway.webhook.is_on() {
            true => self.reports_producer().await?,
            false => None,
        };
        let parts = gateway::Parts {
            producer: producer.clone().into(),
            reports,
            store,
            registry: registry.clone(),
            kafka: settings.kafka.clone(),
            names: names.clone(),
        };
        let mut options = settings.gateway.clone();
        // Once clients know its address it stays the same, though the settings may say port 0.
        options.listen = listens_at.borrow().unwrap_or(options.listen);
        let service = gateway::Service::build(options, parts).await.context(Misconfigured)?;
        let addr = service.addr();
        info!(%addr, "gateway listens");
        listens_at.send_replace(Some(addr));
        readiness.add("gateway", || Ok(()));
        let served = service.run_until_stopped(self.stop.clone()).await;
        producer.drain(Duration::from_millis(settings.shutdown.deadline_ms)).await;
        Ok(served?)
    }

    /// Stores what the webhook is told; `None` when it was stopped before.
    async fn reports_producer(&self) -> Result<Option<Producer<PaymentReport>>> {
        let Some(encoder) = self.encoder("gateway").await? else { return Ok(None) };
        let Shared { settings, names, .. } = &*self.shared;
        let topic = names.name(Topic::PaymentReports);
        Producer::start(&settings.producer, &settings.kafka, topic, encoder, "/comanda/gateway")
            .map(Some)
            .context("starting the producer of payment reports")
            .context(Misconfigured)
    }

    async fn engine<P: engine::Processor>(
        self,
        name: &'static str,
        processor: P,
        mut crew: Crew,
    ) -> Result<()> {
        let Some(results) = self.encoder(name).await? else { return Ok(()) };
        let Some(notes) = self.encoder(name).await? else { return Ok(()) };
        if !self.resolve(name, &[P::STAGE.input()]).await? {
            return Ok(());
        }
        let Shared { settings, names, registry, readiness, .. } = &*self.shared;
        let engine = engine::Engine::new(
            settings.engine.clone(),
            settings.kafka.clone(),
            names,
            registry.clone(),
            (results, notes),
            processor,
        )?;
        let handle = engine.handle();
        let (input, topics) = (names.name(P::STAGE.input()), self.shared.topics.subscribe());
        readiness.add(name, move || {
            topics.borrow().have_leaders([&input])?;
            let waiting = handle.waiting_partitions();
            if !waiting.is_empty() {
                let waiting: Vec<i32> = waiting.into_keys().collect();
                return Err(format!(
                    "partitions {waiting:?} of topic {input} can't be started: their leader or the \
                     group's coordinator does not answer"
                ));
            }
            handle.is_ready().then_some(()).ok_or_else(|| match handle.standstill() {
                Some(standstill) => standstill.reason,
                None => "has not joined its group, or can't commit".to_owned(),
            })
        });
        let stop = self.stop.clone();
        crew.add(async move { Ok(engine.run_until_stopped(stop).await?) });
        crew.run().await
    }

    /// Has `/readyz` tell of a provider that is away. What waits for it does so for a known reason, so
    /// the role stays ready.
    fn tell_of(&self, what: &'static str, presence: Presence) {
        self.shared.readiness.tell(what, move || match presence.absence() {
            None => json!("answers"),
            Some(away) => json!({ "away_since": away.since.to_rfc3339(), "reason": away.reason }),
        });
    }

    /// Lets the payment processor know what a topic says besides its input.
    fn follow(
        &self,
        topic: Topic,
        crew: &mut Crew,
        read: impl FnOnce(&payment::Followed) + Send + 'static,
    ) {
        let followed = payment::Followed {
            kafka: self.shared.settings.kafka.clone(),
            topic: self.shared.names.name(topic),
            registry: self.shared.registry.clone(),
            runtime: tokio::runtime::Handle::current(),
            shutdown: self.stop.clone(),
        };
        crew.add_blocking(move || {
            read(&followed);
            Ok(())
        });
    }

    async fn projector(self) -> Result<()> {
        if !self.resolve("projector", &Topic::ALL).await? {
            return Ok(());
        }
        let Some(store) = self.store("projector").await? else { return Ok(()) };
        let Shared { settings, names, registry, readiness, .. } = &*self.shared;
        watchdog::watch(settings.watchdog.clone(), store.clone(), readiness, self.stop.clone());
        let service = projector::Service::new(
            settings.projector.clone(),
            settings.kafka.clone(),
            names.clone(),
            registry.clone(),
            store,
        );
        let handle = service.handle();
        let topics = self.shared.topics.subscribe();
        let read = Topic::ALL.map(|topic| names.name(topic));
        readiness.add("projector", move || {
            topics.borrow().have_leaders(&read)?;
            handle.check()
        });
        Ok(service.run_until_stopped(self.stop.clone()).await?)
    }

    /// The order store, opened once and closed with the process; `None` when it was stopped
    /// before.
    async fn store(&self, part: &'static str) -> Result<Option<Store>> {
        let Shared { settings, readiness, shutdown, .. } = &*self.shared;
        readiness.not_ready(part, "waits for the order store");
        let mut store = self.shared.store.lock().await;
        if let Some(store) = &*store {
            return Ok(Some(store.clone()));
        }
        let opened = store::open(&settings.store, part, &self.stop).await;
        let Some(opened) = opened.context(Misconfigured)? else { return Ok(None) };
        let topics = self.shared.topics.subscribe();
        store::watch(opened.clone(), topics, readiness, shutdown.clone());
        *store = Some(opened.clone());
        Ok(Some(opened))
    }

    /// The encoder of `E`, as soon as the registry tells the schema's id; `None` when it was
    /// stopped before.
    async fn encoder<E: Event>(&self, part: &'static str) -> Result<Option<Encoder<E>>> {
        Ok(self.schema_id(part, E::TOPIC).await?.map(Encoder::new))
    }

    /// Makes the schemas of what a part reads known, so that an outage of the registry later does
    /// not stop it; `false` when it was stopped before.
    async fn resolve(&self, part: &'static str, topics: &[Topic]) -> Result<bool> {
        for topic in topics {
            if self.schema_id(part, *topic).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn schema_id(&self, part: &'static str, topic: Topic) -> Result<Option<u32>> {
        let Shared { names, registry, readiness, .. } = &*self.shared;
        readiness.not_ready(part, "waits for the schema registry");
        loop {
            match registry.resolve(names, topic).await {
                Ok(id) => return Ok(Some(id)),
                Err(error) if error.is_retriable() => {
                    let error = headers::error_chain(&error);
                    warn!(part, error, "the schema registry does not help, trying again");
                    readiness.not_ready(part, format!("waits for the schema registry: {error}"));
                }
                Err(error) => {
                    return Err(anyhow!(error)).context(
                        "resolving a schema; `comanda schemas register` registers them all",
                    );
                }
            }
            let pause = tokio::time::sleep(REGISTRY_RETRY);
            if self.stop.run_until_cancelled(pause).await.is_none() {
                return Ok(None);
            }
        }
    }
}
