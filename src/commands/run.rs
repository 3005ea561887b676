//! `comanda run`, `gateway`, `payment`, `notifier`, `projector`: roles for production.

use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admin::{Readiness, Server};
use crate::cli::Role;
use crate::config::Loaded;
use crate::roles::{Supervisor, Wiring};
use crate::{signals, telemetry};

/// Runs `roles` until a signal.
pub async fn run(loaded: Loaded, roles: &[Role]) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    // Where starting fails, what runs already must not keep the process alive.
    let _stopping = shutdown.clone().drop_guard();
    let metrics = telemetry::start_metrics()?;
    let settings = loaded.settings;
    let deadline = Duration::from_millis(settings.shutdown.deadline_ms);
    let readiness = Readiness::default();
    let mut supervisor = Supervisor::new(shutdown.clone());

    // First, so that /readyz can tell what the others wait for.
    let admin = Server::bind(settings.admin.listen, readiness.clone(), metrics).await?;
    info!(addr = %admin.addr(), "admin port listens");
    let stop = CancellationToken::new();
    let mut last = Supervisor::new(stop.clone());
    last.run("admin", admin.run_until_stopped(shutdown.clone(), stop.clone()));

    let wiring = Wiring::new(settings, readiness, shutdown)?;
    wiring.announce(roles);
    wiring.watch_kafka();
    let mut started = Vec::new();
    for role in Role::ALL.into_iter().filter(|r| roles.contains(r)) {
        wiring.start(role, &mut supervisor).await?;
        started.push(role);
    }
    info!(roles = ?started, "started");
    let stopped = supervisor.wait(deadline).await;
    // Until now it tells what the others are doing.
    stop.cancel();
    last.wait(deadline).await?;
    stopped
}
