//! `comanda up`: everything in one process.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use comanda_schemas::{Registry, url_without_login};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::Server;
use crate::cli::Role;
use crate::config::Loaded;
use crate::readiness::Readiness;
use crate::roles::Wiring;
use crate::sandbox::Sandbox;
use crate::supervisor::Supervisor;
use crate::{output, signals, telemetry, topics};

/// How often readiness is looked at while starting.
const READY_POLL: Duration = Duration::from_millis(50);

/// All roles, running, with what the sandbox brought along.
pub struct House {
    /// Address of the gateway.
    pub gateway: SocketAddr,
    /// Address of the admin port.
    pub admin: SocketAddr,
    /// What was brought along, and the effective settings.
    pub sandbox: Sandbox,
    /// Client of the registry.
    pub registry: Registry,
}

/// Starts all roles and waits until each is ready; `None` when the shutdown came first.
pub async fn open(
    loaded: &Loaded,
    free_ports: bool,
    supervisor: &mut Supervisor,
    shutdown: &CancellationToken,
) -> Result<Option<House>> {
    let metrics = telemetry::start_metrics()?;
    let mut sandbox = Sandbox::start(loaded, free_ports).await?;
    let settings = sandbox.settings.clone();
    if sandbox.broker.is_none() {
        let outcome = topics::apply(&settings.kafka, &settings.topics).await?;
        for (topic, applied) in outcome.topics {
            info!(%topic, ?applied, "topic");
        }
        for remark in outcome.remarks {
            warn!("{remark}");
        }
    }
    let readiness = Readiness::default();
    let wiring = Wiring::new(settings.clone(), readiness.clone(), shutdown.clone())?;
    wiring.announce(&Role::ALL);
    let admin = Server::bind(settings.admin.listen, readiness.clone(), metrics).await?;
    let admin_addr = admin.addr();
    sandbox.serve("admin", |stop| admin.run_until_stopped(shutdown.clone(), stop));

    wiring.watch_kafka();
    wiring.start(&Role::ALL, supervisor);
    while !readiness.is_ready() {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(READY_POLL) => {}
        }
        if let Some(failure) = supervisor.failure() {
            return Err(failure);
        }
    }
    let Some(gateway) = wiring.gateway() else { bail!("the gateway did not start") };
    let registry = wiring.registry().clone();
    Ok(Some(House { gateway, admin: admin_addr, sandbox, registry }))
}

/// Runs everything until a signal.
pub async fn run(loaded: Loaded) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    // Where starting fails, what runs already must not keep the process alive.
    let _stopping = shutdown.clone().drop_guard();
    let deadline = Duration::from_millis(loaded.settings.shutdown.deadline_ms);
    let mut supervisor = Supervisor::new(shutdown.clone());
    let house = open(&loaded, false, &mut supervisor, &shutdown).await?;
    if let Some(house) = &house {
        output::print(&banner(house))?;
    }
    let stopped = supervisor.wait(deadline).await;
    if let Some(house) = house {
        house.sandbox.close(deadline).await?;
    }
    stopped
}

fn banner(house: &House) -> String {
    let House { gateway, admin, sandbox, .. } = house;
    let settings = &sandbox.settings;
    let kind = match sandbox.broker {
        Some(_) => "on the sandbox: its data lives in memory until it stops",
        None => "on your Kafka",
    };
    let optional = |label: &str, url: Option<&str>, path: &str| {
        url.map(|url| format!("  {label:<10} {}{path}\n", url.trim_end_matches('/')))
            .unwrap_or_default()
    };
    let (key, url) = (&sandbox.api_key, format!("http://{gateway}/graphql"));
    format!(
        "\ncomanda is up, {kind}. Ctrl-C stops it.\n\n\
         \x20 GraphiQL   http://{gateway}/\n\
         \x20 GraphQL    {url}\n\
         \x20 API key    {key}\n\
         {mailbox}{payments}\
         \x20 Registry   {registry}\n\
         \x20 Kafka      {brokers}\n\
         \x20 Metrics    http://{admin}/metrics\n\n\
         Place an order:\n\n{curl}\n\n",
        mailbox = optional("Mailbox", sandbox.mailbox_url.as_deref(), "/"),
        payments = optional("Payments", sandbox.payment_url.as_deref(), "/ledger"),
        registry = url_without_login(&settings.registry.url),
        brokers = settings.kafka.brokers,
        curl = curl(&url, key),
    )
}

/// A line that places an order when pasted into a shell.
fn curl(url: &str, key: &str) -> String {
    let mutation = "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) \
                    { order { id status } receipt { token } errors { code message path } } }";
    let body = serde_json::json!({
        "query": mutation,
        "variables": { "input": {
            "customerId": "table-7",
            "contact": { "name": "Ana Ruiz", "email": "ana@example.com" },
            "currency": "EUR",
            "lines": [
                { "sku": "TAP-03", "name": "Patatas bravas", "quantity": 2, "unitPriceMinor": 650 },
                { "sku": "VIN-11", "name": "Copa de albariño", "quantity": 2, "unitPriceMinor": 480 },
            ],
            "paymentMethod": "pm_card_visa",
        } },
    });
    format!(
        "curl -s {url} -H 'content-type: application/json' -H 'authorization: Bearer {key}' \
         -d '{body}'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_paste_survives_a_shells_single_quotes() {
        let line = curl("http://127.0.0.1:8080/graphql", "demo-1");
        let (_, body) = line.split_once("-d '").unwrap();
        let body = body.strip_suffix('\'').unwrap();
        assert!(!body.contains('\''));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["variables"]["input"]["paymentMethod"], "pm_card_visa");
    }
}
