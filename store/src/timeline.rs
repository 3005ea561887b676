//! What happened to an order, one entry an event.

use comanda_schemas::{
    NotificationEvent, NotificationEventType, OrderEvent, PaymentEvent, PaymentReport, Timestamp,
};

use crate::fold::Facts;
use crate::{Recorded, TimelineEntry, TimelineKind};

/// The entries of all `facts`, oldest first; what happened at the same instant stands in the
/// order of cause and effect.
pub(crate) fn timeline(facts: &Facts<'_>) -> Vec<TimelineEntry> {
    let orders = facts.orders.iter().map(|(at, event)| of_order(at, event));
    let reports = facts.reports.iter().map(|(at, event)| of_report(at, event));
    let payments = facts.payments.iter().map(|(at, event)| of_payment(at, event));
    let notifications = facts.notifications.iter().map(|(at, event)| {
        let told = facts.payments.iter().find(|(_, p)| p.event_id == event.payment_event_id);
        of_notification(at, event, told.map(|(_, payment)| payment.version))
    });
    let mut entries: Vec<_> = orders.chain(reports).chain(payments).chain(notifications).collect();
    // Stable: causes were put before effects, and each topic's events in a fixed order.
    entries.sort_by_key(|entry| entry.at);
    entries
}

/// The entry of an order event.
pub(crate) fn of_order(recorded: &Recorded, event: &OrderEvent) -> TimelineEntry {
    let kind = event.r#type.into();
    let at = event.occurred_at;
    entry(event.event_id, kind, Some(event.version), at, event.reason.as_deref(), recorded)
}

fn of_payment(recorded: &Recorded, event: &PaymentEvent) -> TimelineEntry {
    let kind = event.r#type.into();
    let detail = match (event.payment.reason, event.payment.detail.as_deref()) {
        (Some(reason), Some(words)) => Some(format!("{}: {words}", reason.as_str())),
        (Some(reason), None) => Some(reason.as_str().to_owned()),
        (None, words) => words.map(str::to_owned),
    };
    let at = event.occurred_at;
    entry(event.event_id, kind, Some(event.version), at, detail.as_deref(), recorded)
}

fn of_report(recorded: &Recorded, event: &PaymentReport) -> TimelineEntry {
    let detail = match (event.outcome, event.detail.as_deref()) {
        (Some(outcome), Some(words)) => Some(format!("{}: {words}", outcome.as_str())),
        (Some(outcome), None) => Some(outcome.as_str().to_owned()),
        (None, words) => words.map(str::to_owned),
    };
    let (kind, at) = (event.r#type.into(), event.occurred_at);
    entry(event.event_id, kind, Some(event.version), at, detail.as_deref(), recorded)
}

fn of_notification(
    recorded: &Recorded,
    event: &NotificationEvent,
    version: Option<i32>,
) -> TimelineEntry {
    let detail = match event.r#type {
        NotificationEventType::Sent => Some(event.template.as_str()),
        NotificationEventType::Failed | NotificationEventType::Unknown => event.detail.as_deref(),
    };
    let kind = event.r#type.into();
    entry(event.event_id, kind, version, event.occurred_at, detail, recorded)
}

fn entry(
    event_id: uuid::Uuid,
    kind: TimelineKind,
    version: Option<i32>,
    at: Timestamp,
    detail: Option<&str>,
    recorded: &Recorded,
) -> TimelineEntry {
    let detail = detail.map(without_addresses);
    TimelineEntry { event_id, kind, version, at, detail, recorded: recorded.clone() }
}

/// `text` without anything that could be an e-mail address: mail providers like to repeat it.
pub(crate) fn without_addresses(text: &str) -> String {
    let words = text.split(' ').map(|word| if word.contains('@') { "[address]" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
