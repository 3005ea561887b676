//! The parts that `up` and `demo` bring along for whatever the settings leave at its default.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_gateway as gateway;
use comanda_processors::notifier::Provider;
use comanda_sandbox::{Broker, mailbox, payment, registry};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::config::{Loaded, Settings};
use crate::supervisor::Supervisor;

/// Session time-out on the sandbox broker. It forgets the offsets that transactions commit, so a
/// processor that loses its group, on a laptop that slept, would start from the oldest record.
const SESSION_TIMEOUT_MS: u64 = 300_000;

/// What was brought along; it lives as long as this.
pub struct Sandbox {
    /// The settings with the addresses of what was brought along.
    pub settings: Settings,
    /// An operator's key of the gateway.
    pub api_key: String,
    /// The in-memory broker, where there is no other.
    pub broker: Option<Broker>,
    /// The payment provider.
    pub payment: Option<payment::Handle>,
    /// The mailbox.
    pub mailbox: Option<mailbox::Handle>,
    /// URL of the mailbox's page.
    pub mailbox_url: Option<String>,
    /// URL of the payment provider.
    pub payment_url: Option<String>,
    /// The services, stopped after the roles that use them.
    services: Supervisor,
    stop: CancellationToken,
    /// Folder of the order store, deleted in the end.
    _store: Option<TempDir>,
}

impl Sandbox {
    /// Starts what is needed. `free_ports` moves every address that nobody chose to a free port.
    pub async fn start(loaded: &Loaded, free_ports: bool) -> Result<Self> {
        let stop = CancellationToken::new();
        let mut services = Supervisor::new(stop.clone());
        let mut settings = loaded.settings.clone();
        let listen = |key: &str, addr: SocketAddr| {
            let move_it = free_ports && loaded.is_default(key);
            if move_it { SocketAddr::new(addr.ip(), 0) } else { addr }
        };
        settings.gateway.listen = listen("gateway.listen", settings.gateway.listen);
        settings.admin.listen = listen("admin.listen", settings.admin.listen);

        let own_kafka = loaded.is_default("kafka.brokers");
        let own_registry = loaded.is_default("registry.url");
        if own_registry && !own_kafka {
            bail!("--brokers needs --registry: the schema ids must live as long as the topics");
        }
        let mut broker = None;
        if own_kafka {
            let topics = settings.topics.names().all();
            let started = Broker::start(&topics, settings.topics.partitions)
                .context("starting the sandbox broker")?;
            settings.kafka.brokers = started.bootstrap_servers().to_owned();
            if loaded.is_default("engine.session_timeout_ms") {
                settings.engine.session_timeout_ms = SESSION_TIMEOUT_MS;
            }
            broker = Some(started);
        }
        if own_registry {
            let addr = listen("sandbox.registry_listen", settings.sandbox.registry_listen);
            let service = registry::Service::bind(addr)
                .await
                .with_context(|| taken("schema registry", addr, "sandbox.registry_listen"))?;
            settings.registry.url = service.url();
            settings.registry.auto_register = true;
            let stop = stop.clone();
            services.run("sandbox registry", async move {
                service.run_until_stopped(stop).await;
                Ok(())
            });
        }
        let (mut payment_handle, mut payment_url) = (None, None);
        if loaded.is_default("payment.provider_url") {
            let addr = listen("sandbox.payment_listen", settings.sandbox.payment_listen);
            let service = payment::Service::bind(addr, settings.sandbox.payment.clone())
                .await
                .with_context(|| taken("payment provider", addr, "sandbox.payment_listen"))?;
            settings.payment.provider_url = service.url();
            if loaded.is_default("payment.give_up_after_ms") {
                settings.payment.give_up_after_ms = 0;
            }
            payment_handle = Some(service.handle());
            payment_url = Some(service.url());
            let stop = stop.clone();
            services.run("sandbox payment provider", async move {
                service.run_until_stopped(stop).await;
                Ok(())
            });
        }
        let (mut mailbox_handle, mut mailbox_url) = (None, None);
        let own_mailbox = settings.notifier.provider == Provider::Sandbox;
        if own_mailbox && loaded.is_default("notifier.provider_url") {
            let addr = listen("sandbox.mailbox_listen", settings.sandbox.mailbox_listen);
            let service = mailbox::Service::bind(addr)
                .await
                .with_context(|| taken("mailbox", addr, "sandbox.mailbox_listen"))?;
            settings.notifier.provider_url = service.url();
            mailbox_handle = Some(service.handle());
            mailbox_url = Some(service.url());
            let stop = stop.clone();
            services.run("sandbox mailbox", async move {
                service.run_until_stopped(stop).await;
                Ok(())
            });
        }
        let mut store = None;
        if loaded.is_default("store.url") {
            let folder = tempfile::Builder::new()
                .prefix("comanda-")
                .tempdir()
                .context("making a folder for the order store")?;
            settings.store.url = format!("sqlite://{}", folder.path().join("orders.db").display());
            store = Some(folder);
        }
        let api_key = match settings.sandbox.api_key.as_str() {
            "" => format!("demo-{}", uuid::Uuid::new_v4().simple()),
            key => key.to_owned(),
        };
        settings.gateway.api_keys.push(gateway::ApiKey::operator("sandbox", &api_key));
        Ok(Self {
            settings,
            api_key,
            broker,
            payment: payment_handle,
            mailbox: mailbox_handle,
            mailbox_url,
            payment_url,
            services,
            stop,
            _store: store,
        })
    }
}

impl Sandbox {
    /// Adds a service that, too, stops after the roles.
    pub fn serve<F>(&mut self, name: &'static str, service: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.services.run(name, service(self.stop.clone()));
    }

    /// Stops the services, up to `deadline`; the roles have stopped before.
    pub async fn close(self, deadline: Duration) -> Result<()> {
        self.stop.cancel();
        self.services.wait(deadline).await
    }
}

/// What to say when an address can't be had.
pub fn taken(what: &str, addr: SocketAddr, key: &str) -> String {
    format!(
        "the {what} can't listen on {addr}; is another comanda running? \
         --set {key}=:0 picks a free port"
    )
}
