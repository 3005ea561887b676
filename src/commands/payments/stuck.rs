//! `comanda payments stuck`.

use anyhow::Result;
use comanda_schemas::{Registry, Timestamp};
use serde_json::{Value, json};

use super::open::{Books, Open};
use crate::cli::stuck::StuckArgs;
use crate::commands::dlq::{Desk, printable, span};
use crate::output;
use crate::watchdog::earlier;

/// Characters of a detail in a line.
const DETAIL_CHARS: usize = 60;

/// Prints the payments, and on standard error how many there are.
pub fn run(desk: &Desk, args: &StuckArgs) -> Result<()> {
    let registry = Registry::new(&desk.settings.registry)?;
    let books = Books::read(desk, &registry, None)?;
    let now = Timestamp::now();
    let limit = earlier(now, args.older_than.unwrap_or_default());
    let old = |open: &Open| open.report.occurred_at <= limit;
    let (mut doubts, mut charged) = (books.in_doubt(), books.charged_after_all());
    doubts.retain(old);
    charged.retain(old);
    let all = doubts.iter().map(|open| ("IN_DOUBT", open));
    for (kind, open) in all.chain(charged.iter().map(|open| ("CHARGED_THOUGH_FAILED", open))) {
        let line = match args.json {
            true => as_json(kind, open).to_string(),
            false => as_text(kind, open, now),
        };
        if !output::line(line)? {
            return Ok(());
        }
    }
    note!("{} in doubt, {} charged though failed", doubts.len(), charged.len());
    Ok(())
}

fn as_text(kind: &str, Open { report, resolved }: &Open, now: Timestamp) -> String {
    let text = |text: &Option<String>| {
        text.as_deref().map_or_else(|| "-".into(), |t| printable(t.as_bytes(), DETAIL_CHARS))
    };
    let mut line = format!(
        "{}  v{:<3} {:>4}  {kind:<21}  {:<8}  {}  attempts {}  {}",
        report.order_id,
        report.version,
        span(now.since(report.occurred_at)),
        printable(report.provider.as_bytes(), 40),
        text(&report.payment_id),
        report.attempts,
        text(&report.detail),
    );
    if let Some(outcome) = resolved.as_ref().and_then(|resolved| resolved.outcome) {
        line.push_str(&format!("  (resolved as {}, not carried out yet)", outcome.as_str()));
    }
    line
}

fn as_json(kind: &str, Open { report, resolved }: &Open) -> Value {
    json!({
        "kind": kind,
        "order_id": report.order_id,
        "version": report.version,
        "since": report.occurred_at.to_rfc3339(),
        "provider": report.provider,
        "payment_id": report.payment_id,
        "amount_minor": report.amount_minor,
        "currency": report.currency,
        "detail": report.detail,
        "attempts": report.attempts,
        "source": report.source,
        "resolved_as": resolved.as_ref().and_then(|r| r.outcome).map(|outcome| outcome.as_str()),
    })
}
