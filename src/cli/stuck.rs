//! `comanda orders …`, `comanda payments …`

use std::time::Duration;

use clap::{Args, Subcommand};
use comanda_schemas::OrderId;

use crate::points;

/// `orders …`
#[derive(Debug, Subcommand)]
pub enum OrdersAction {
    /// One line an order that waits for the result of an event, from the order store, longest first
    Stuck(StuckArgs),
}

/// `payments …`
#[derive(Debug, Subcommand)]
pub enum PaymentsAction {
    /// One line a payment that was sent and has no outcome, or that the provider reports as charged
    /// though it failed here; from the topics
    Stuck(StuckArgs),
    /// Say how a payment whose outcome is open ended, after a look at the provider's dashboard; the
    /// payment processor ends the order so
    Resolve(ResolveArgs),
}

/// `… stuck`
#[derive(Debug, Args)]
pub struct StuckArgs {
    /// Only what waits for longer, e.g. 90s, 15m, 2h, 1d; 0s for all. For orders
    /// watchdog.deadline_ms if not given, for payments 0s
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<Duration>,
    /// One JSON object each
    #[arg(long)]
    pub json: bool,
}

/// `payments resolve …`
#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// The order
    #[arg(value_name = "ORDER")]
    pub order: OrderId,
    /// Version of the order whose payment it is; needed where several are open
    #[arg(long, value_name = "N")]
    pub version: Option<i32>,
    /// How it ended
    #[command(flatten)]
    pub outcome: OutcomeArgs,
    /// Why, in a few words: stands in the payment event, so nothing personal
    #[arg(long, value_name = "TEXT", value_parser = detail)]
    pub detail: Option<String>,
}

/// How a payment ended.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct OutcomeArgs {
    /// The provider did it: charged, or for a cancellation gave back; the provider's id of the payment
    #[arg(long, value_name = "PAYMENT_ID", value_parser = payment_id)]
    pub succeeded: Option<String>,
    /// The provider did not and will not charge; takes --detail
    #[arg(long, requires = "detail")]
    pub failed: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    points::age(text).ok_or_else(|| "an age is e.g. 90s, 15m, 2h or 1d".to_owned())
}

/// Longest detail, in characters.
const MAX_DETAIL: usize = 200;

fn detail(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_DETAIL {
        return Err(format!("1 to {MAX_DETAIL} characters"));
    }
    if text.contains('@') || text.chars().any(char::is_control) {
        return Err("no addresses and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn payment_id(text: &str) -> Result<String, String> {
    let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match (1..=255).contains(&text.len()) && text.chars().all(is_id) {
        true => Ok(text.to_owned()),
        false => Err("the provider's id, e.g. pi_3NxK: letters, digits, _ and -".to_owned()),
    }
}
