//! `comanda orders stuck`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use comanda_schemas::{Timestamp, url_without_login};
use comanda_store::{MAX_PAGE, Options, OrderState, Store};
use serde_json::json;

use super::dlq::{printable, span};
use crate::cli::stuck::{OrdersAction, StuckArgs};
use crate::config::Loaded;
use crate::output;
use crate::watchdog::earlier;

/// Runs the command.
pub async fn run(loaded: Loaded, action: OrdersAction) -> Result<()> {
    match action {
        OrdersAction::Stuck(args) => stuck(loaded, args).await,
    }
}

async fn stuck(loaded: Loaded, args: StuckArgs) -> Result<()> {
    let settings = loaded.settings;
    let url = url_without_login(&settings.store.url);
    // Whoever looks does not change the tables.
    let options = Options { auto_migrate: false, ..settings.store };
    let store = Store::open(&options).await.with_context(|| format!("order store {url}"))?;
    let now = Timestamp::now();
    let deadline = Duration::from_millis(settings.watchdog.deadline_ms);
    let age = args.older_than.unwrap_or(deadline);
    let limit = earlier(now, age);
    let (mut after, mut count) = (None, 0u64);
    loop {
        let page = store.waiting(limit, after, MAX_PAGE).await?;
        let Some(last) = page.last().and_then(|order| Some((order.waiting_since?, order.id)))
        else {
            break;
        };
        after = Some(last);
        count += page.len() as u64;
        let lines: Vec<String> = page.iter().map(|order| line(order, args.json, now)).collect();
        if !output::line(lines.join("\n"))? {
            return Ok(());
        }
    }
    let orders = if count == 1 { "order waits" } else { "orders wait" };
    note!("{count} {orders} for a result for longer than {}", span(age));
    Ok(())
}

fn line(order: &OrderState, as_json: bool, now: Timestamp) -> String {
    let (status, payment) = (order.status.as_str(), order.payment.status.as_str());
    match as_json {
        true => json!({
            "order_id": order.id,
            "customer_id": order.customer_id,
            "status": status,
            "payment_status": payment,
            "version": order.version,
            "since": order.waiting_since.map(Timestamp::to_rfc3339),
        })
        .to_string(),
        false => format!(
            "{}  {:<14}  {payment:<9}  v{:<3} {:>4}  {}",
            order.id,
            status,
            order.version,
            order.waiting_since.map_or_else(String::new, |since| span(now.since(since))),
            printable(order.customer_id.as_bytes(), 60),
        ),
    }
}
