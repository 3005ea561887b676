//! What happened to an order, one entry an event.

use comanda_schemas::{
    NotificationEvent, NotificationEventType, OrderEvent, PaymentEvent, PaymentReport, Timestamp,
};

use uuid::Uuid;

use crate::facts::Facts;
use crate::{AnyEvent, NotificationView, Recorded, StoredEvent, TimelineEntry, TimelineKind};

/// The entries of all `facts`, oldest first; what happened at the same instant stands in the
/// order of cause and effect.
pub(crate) fn timeline(facts: &Facts<'_>) -> Vec<TimelineEntry> {
    let version = |payment| facts.version_of_payment(payment);
    facts.in_time().into_iter().map(|fact| of_fact(fact, version)).collect()
}

/// The entry of an event; `version` tells which one a payment event is about.
pub(crate) fn of_fact(
    StoredEvent { at, event }: &StoredEvent,
    version: impl Fn(Uuid) -> Option<i32>,
) -> TimelineEntry {
    match event {
        AnyEvent::Order(event) => of_order(at, event),
        AnyEvent::Payment(event) => of_payment(at, event),
        AnyEvent::Report(event) => of_report(at, event),
        AnyEvent::Notification(event) => {
            of_notification(at, event, version(event.payment_event_id))
        }
    }
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
    event_id: Uuid,
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
fn without_addresses(text: &str) -> String {
    let words = text.split(' ').map(|word| if word.contains('@') { "[address]" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// A message as readers see it.
pub(crate) fn notification_view(event: &NotificationEvent) -> NotificationView {
    NotificationView {
        status: event.r#type,
        channel: event.channel.clone(),
        template: event.template.clone(),
        provider: event.provider.clone(),
        message_id: event.message_id.clone(),
        detail: event.detail.as_deref().map(without_addresses),
        at: event.occurred_at,
    }
}
