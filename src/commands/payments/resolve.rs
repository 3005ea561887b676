//! `comanda payments resolve`.

use anyhow::{Context as _, Result, bail};
use comanda_producer::Producer;
use comanda_schemas::{
    Encoder, PaymentOutcome, PaymentReport, PaymentReportType, Registry, Timestamp, Topic,
    TraceContext,
};

use super::open::{Books, Open};
use crate::cli::stuck::ResolveArgs;
use crate::commands::dlq::Desk;
use crate::output;

/// Writes what the operator says, where the topics have nothing that speaks against it.
pub fn run(desk: &Desk, args: ResolveArgs) -> Result<()> {
    let registry = Registry::new(&desk.settings.registry)?;
    // A result in an open transaction would be overlooked.
    desk.settle(&desk.names.name(Topic::Payments))?;
    let books = Books::read(desk, &registry, Some(args.order))?;
    let report = report(&args, &books)?;
    let (order, version) = (report.order_id, report.version);
    let write = async {
        let id = registry.resolve(&desk.names, Topic::PaymentReports).await?;
        let topic = desk.names.name(Topic::PaymentReports);
        let (options, kafka) = (&desk.settings.producer, &desk.settings.kafka);
        let producer =
            Producer::start(options, kafka, topic, Encoder::new(id), "/comanda/operator")
                .context("starting the producer")?;
        producer.publish(&report, &TraceContext::new_root()).await.with_context(
            || "the report may or may not be stored; the same command again does no harm",
        )
    };
    desk.runtime.block_on(write)?;
    let wait = desk.settings.payment.retry_unresolved_ms.div_ceil(1_000);
    output::print(&format!(
        "order {order} version {version}: the payment processor ends it as told at its next try, \
         within about {wait}s\n"
    ))
}

/// The report to write.
fn report(args: &ResolveArgs, books: &Books) -> Result<PaymentReport> {
    let order = args.order;
    let mut open = books.in_doubt();
    open.retain(|open| args.version.is_none_or(|version| open.report.version == version));
    let Open { report: doubt, .. } = match open.as_slice() {
        [one] => one,
        [] => bail!(nothing_open(args, books)),
        several => {
            let versions: Vec<_> = several.iter().map(|o| o.report.version.to_string()).collect();
            bail!(
                "payments of versions {} of order {order} are open; name one with --version",
                versions.join(", ")
            )
        }
    };
    let outcome = match args.outcome.failed {
        true => PaymentOutcome::Failed,
        false => PaymentOutcome::Succeeded,
    };
    if outcome == PaymentOutcome::Failed && books.was_charged_before(order, doubt.version) {
        bail!(
            "order {order} was charged before version {}, so what is open is a refund: make it at \
             the provider, then resolve it with --succeeded and the payment's id",
            doubt.version
        );
    }
    let payment_id = args.outcome.succeeded.clone();
    let cause = serde_json::to_string(&(order, doubt.version, outcome, &payment_id, &args.detail))?;
    Ok(PaymentReport {
        event_id: PaymentReport::derive_id(PaymentReportType::Resolved, &cause),
        r#type: PaymentReportType::Resolved,
        occurred_at: Timestamp::now(),
        payment_id,
        outcome: Some(outcome),
        detail: args.detail.clone(),
        ..doubt.clone()
    })
}

fn nothing_open(args: &ResolveArgs, books: &Books) -> String {
    let order = args.order;
    let reports = books.reports(order).iter();
    let settled = reports
        .filter(|report| args.version.is_none_or(|version| report.version == version))
        .find_map(|report| books.result(report));
    match settled {
        Some(result) => format!(
            "the payment of order {order} version {} has its result already: {}{}",
            result.version,
            result.r#type.as_str(),
            result.payment.payment_id.as_ref().map_or_else(String::new, |id| format!(", {id}")),
        ),
        None => format!(
            "no such payment of order {order} is in doubt; `comanda payments stuck` lists those \
             that are"
        ),
    }
}
