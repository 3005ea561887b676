//! `comanda run`, `gateway`, `payment`, `notifier`, `projector`: roles for production.

use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admin::Server;
use crate::cli::Role;
use crate::config::Loaded;
use crate::readiness::Readiness;
use crate::roles::Wiring;
use crate::supervisor::Supervisor;
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

    let wiring = Wiring::new(settings.clone(), readiness.clone(), shutdown.clone())?;
    wiring.announce(roles);
    // First, so that /readyz can tell what the others wait for.
    let admin = Server::bind(settings.admin.listen, readiness, metrics).await?;
    info!(addr = %admin.addr(), "admin port listens");
    let stop = CancellationToken::new();
    let mut last = Supervisor::new(stop.clone());
    last.run("admin", admin.run_until_stopped(shutdown.clone(), stop.clone()));

    wiring.watch_kafka();
    wiring.start(roles, &mut supervisor);
    let stopped = supervisor.wait(deadline).await;
    // Until now it tells what the others are doing.
    stop.cancel();
    last.wait(deadline).await?;
    stopped
}
