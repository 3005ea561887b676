//! `comanda audit`.

use anyhow::{Context, Result, bail};
use comanda_schemas::scan::From;
use comanda_schemas::{Registry, Timestamp};

use crate::audit::{Audit, Follower, Report, Update};
use crate::cli::AuditArgs;
use crate::config::Loaded;
use crate::{output, points, progress, signals};

/// Reads all topics to their ends and prints the verdict; an error when a promise does not hold.
pub async fn run(loaded: Loaded, args: AuditArgs) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    let settings = loaded.settings;
    let registry = Registry::new(&settings.registry)?;
    let from = match &args.since {
        Some(since) => points::parse(since, Timestamp::now())?,
        None => From::Beginning,
    };
    let names = settings.topics.names();
    let mut follower = Follower::open(&settings.kafka, &names, &registry, from).await?;
    let progress = progress::Counter::new("records read");
    let (mut audit, mut left) = (Audit::default(), follower.topics());
    while left > 0 {
        let update = tokio::select! {
            () = shutdown.cancelled() => bail!("interrupted before the topics were read"),
            update = follower.next() => update.context("the readers ended")?,
        };
        match update {
            Update::Seen(fact, at) => {
                progress.add(1);
                audit.add(fact, at);
            }
            Update::CaughtUp => left -= 1,
            Update::Failed(error) => return Err(error),
        }
    }
    progress.finish();
    let report = audit.report(None);
    output::print(&verdict(&report))?;
    if args.json {
        say!("{}", serde_json::to_string(&report)?);
    }
    if !report.is_clean() {
        bail!(
            "the promises do not hold; order events younger than a few seconds may still be on \
             their way: audit again to tell"
        );
    }
    Ok(())
}

/// The report for people.
pub fn verdict(report: &Report) -> String {
    let rows = [
        ("order events", report.order_events),
        ("results", report.results),
        ("notifications", report.notifications),
        ("lost", report.lost),
        ("duplicated", report.duplicated),
        ("out of order", report.out_of_order),
        ("unnotified", report.unnotified),
        ("dead letters", report.dead_letters),
        ("unreadable", report.unreadable),
    ];
    rows.iter().map(|(name, count)| format!("{name:<16}{count:>10}\n")).collect()
}
