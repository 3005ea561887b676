//! `comanda sandbox …`: one part of the sandbox alone.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use comanda_sandbox::{Broker, mailbox, payment, registry};

use crate::cli::{ListenArgs, SandboxPart};
use crate::config::Loaded;
use crate::sandbox::taken;
use crate::signals;

/// Runs one part until a signal; prints where it is.
pub async fn run(loaded: Loaded, part: &SandboxPart) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    let settings = loaded.settings;
    let at = |args: &ListenArgs, configured: SocketAddr| args.listen.unwrap_or(configured);
    match part {
        SandboxPart::Broker => {
            let topics = settings.topics.names().all();
            let broker = Broker::start(&topics, settings.topics.partitions)
                .context("starting the sandbox broker")?;
            say!("Kafka      {}", broker.bootstrap_servers());
            shutdown.cancelled().await;
        }
        SandboxPart::Registry(args) => {
            let addr = at(args, settings.sandbox.registry_listen);
            let service = registry::Service::bind(addr)
                .await
                .with_context(|| taken("schema registry", addr, "sandbox.registry_listen"))?;
            say!("Registry   {}", service.url());
            service.run_until_stopped(shutdown).await;
        }
        SandboxPart::Payment(args) => {
            let addr = at(args, settings.sandbox.payment_listen);
            let service = payment::Service::bind(addr, settings.sandbox.payment.clone())
                .await
                .with_context(|| taken("payment provider", addr, "sandbox.payment_listen"))?;
            say!("Payments   {}", service.url());
            service.run_until_stopped(shutdown).await;
        }
        SandboxPart::Mailbox(args) => {
            let addr = at(args, settings.sandbox.mailbox_listen);
            let service = mailbox::Service::bind(addr)
                .await
                .with_context(|| taken("mailbox", addr, "sandbox.mailbox_listen"))?;
            say!("Mailbox    {}", service.url());
            service.run_until_stopped(shutdown).await;
        }
    }
    Ok(())
}
