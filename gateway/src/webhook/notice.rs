//! What Stripe's events say of our payments.
//!
//! Source: "Types of events" in Stripe's API reference. Metadata is what the payment processor
//! writes when it charges and refunds.

use comanda_schemas::{
    OrderId, PaymentEvent, PaymentEventType, PaymentOutcome, PaymentReport, PaymentReportType,
    Timestamp,
};
use comanda_store::{AnyEvent, StoredEvent};
use serde::Deserialize;
use serde_json::Value;

/// Longest id or code that is taken over, in bytes.
const MAX_TEXT: usize = 255;
const PROVIDER: &str = "stripe";
/// Types of the events that can be a report.
const TYPES: [&str; 7] = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
];

/// What every event of Stripe's has, those of its second version and pings included.
#[derive(Deserialize)]
struct Envelope {
    id: String,
    r#type: String,
}

/// What the events have that can be a report.
#[derive(Deserialize)]
struct Details {
    /// Seconds of Unix time.
    created: i64,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

/// An event that can be a report.
struct Event {
    id: String,
    r#type: String,
    created: i64,
    object: Value,
}

/// The report that an event amounts to. `Ok(None)` where it is none of ours, or says nothing of how
/// a payment ended; `Err` where it is no event.
pub(super) fn report(body: &[u8]) -> Result<Option<PaymentReport>, serde_json::Error> {
    let Envelope { id, r#type } = serde_json::from_slice(body)?;
    // Thin events (`v2.core.event`) name an object and don't carry it; they and the pings of an
    // event destination have other types than these.
    if !TYPES.contains(&r#type.as_str()) {
        return Ok(None);
    }
    let Details { created, data: Data { object } } = serde_json::from_slice(body)?;
    Ok(Event { id, r#type, created, object }.report())
}

impl Event {
    fn report(self) -> Option<PaymentReport> {
        let object = &self.object;
        let (about, outcome, payment_id) = match self.r#type.as_str() {
            "payment_intent.succeeded" => (object, PaymentOutcome::Succeeded, &object["id"]),
            "payment_intent.payment_failed" | "payment_intent.canceled" => {
                (object, PaymentOutcome::Failed, &object["id"])
            }
            // The charge has the metadata of the order that was charged; which cancellation gave it
            // back is said by the refund. Newer versions of the API don't have it in the charge.
            "charge.refunded" => {
                let refund = &object["refunds"]["data"][0];
                (refund, refunded(refund)?, &object["payment_intent"])
            }
            "refund.created" | "refund.updated" | "refund.failed" => {
                (object, refunded(object)?, &object["payment_intent"])
            }
            _ => return None,
        };
        let metadata = &about["metadata"];
        let order_id: OrderId = metadata["order_id"].as_str()?.parse().ok()?;
        let version: i32 = metadata["version"].as_str()?.parse().ok()?;
        if version < 1 || self.id.is_empty() || self.id.len() > MAX_TEXT {
            return None;
        }
        let error = &about["last_payment_error"];
        let reasons = [
            &error["decline_code"],
            &error["code"],
            &about["cancellation_reason"],
            &about["failure_reason"],
        ];
        Some(PaymentReport {
            event_id: PaymentReport::derive_id(PaymentReportType::Reported, &self.id),
            r#type: PaymentReportType::Reported,
            order_id,
            version,
            occurred_at: Timestamp::from_micros(self.created.checked_mul(1_000_000)?),
            provider: PROVIDER.into(),
            payment_id: text(payment_id),
            outcome: Some(outcome),
            // In units of the provider's own, for some currencies; whoever needs them looks the
            // payment up.
            amount_minor: None,
            currency: None,
            detail: reasons.into_iter().find_map(text),
            attempts: 0,
            source: None,
        })
    }
}

fn refunded(refund: &Value) -> Option<PaymentOutcome> {
    match refund["status"].as_str()? {
        "succeeded" => Some(PaymentOutcome::Succeeded),
        "failed" | "canceled" => Some(PaymentOutcome::Failed),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (!text.is_empty() && text.len() <= MAX_TEXT).then(|| text.to_owned())
}

/// Whether the log has it: the report itself, or the result that it foretells.
pub(super) fn is_known(report: &PaymentReport, facts: &[StoredEvent]) -> bool {
    facts.iter().any(|fact| match &fact.event {
        AnyEvent::Report(known) => known.event_id == report.event_id,
        AnyEvent::Payment(result) => says_the_same(report, result),
        AnyEvent::Order(_) | AnyEvent::Notification(_) => false,
    })
}

fn says_the_same(report: &PaymentReport, result: &PaymentEvent) -> bool {
    let outcome = match result.r#type {
        PaymentEventType::Succeeded | PaymentEventType::Refunded => PaymentOutcome::Succeeded,
        PaymentEventType::Failed => PaymentOutcome::Failed,
        _ => return false,
    };
    result.version == report.version
        && report.outcome == Some(outcome)
        && result.payment.payment_id == report.payment_id
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ORDER: &str = "018f4e9e-4d3c-7c3a-8a2b-0242ac120002";

    fn read(kind: &str, object: Value) -> Option<PaymentReport> {
        let event = json!({ "id": "evt_1", "type": kind, "created": 1_700_000_000,
            "data": { "object": object } });
        report(event.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn each_event_that_ends_a_payment_is_a_report() {
        let metadata = json!({ "order_id": ORDER, "version": "2" });
        let intent = json!({ "id": "pi_1", "metadata": metadata,
            "last_payment_error": { "code": "card_declined", "decline_code": "stolen_card" } });
        let refund = json!({ "id": "re_1", "payment_intent": "pi_1", "status": "succeeded",
            "metadata": metadata });
        let charge = json!({ "id": "ch_1", "payment_intent": "pi_1",
            "refunds": { "data": [refund] } });
        let failed = json!({ "id": "re_1", "payment_intent": "pi_1", "status": "failed",
            "metadata": metadata, "failure_reason": "lost_or_stolen_card" });
        for (kind, object, outcome) in [
            ("payment_intent.succeeded", &intent, PaymentOutcome::Succeeded),
            ("payment_intent.payment_failed", &intent, PaymentOutcome::Failed),
            ("payment_intent.canceled", &intent, PaymentOutcome::Failed),
            ("charge.refunded", &charge, PaymentOutcome::Succeeded),
            ("refund.updated", &refund, PaymentOutcome::Succeeded),
            ("refund.failed", &failed, PaymentOutcome::Failed),
        ] {
            let report = read(kind, object.clone()).unwrap();
            assert_eq!((report.version, report.outcome), (2, Some(outcome)), "{kind}");
            assert_eq!(report.payment_id.as_deref(), Some("pi_1"), "{kind}");
            assert_eq!(report.order_id.to_string(), ORDER);
        }
        let declined = read("payment_intent.payment_failed", intent).unwrap();
        assert_eq!(declined.detail.as_deref(), Some("stolen_card"));
    }

    #[test]
    fn what_is_none_of_ours_is_no_report() {
        let ours = json!({ "id": "pi_1", "metadata": { "order_id": ORDER, "version": "1" } });
        assert!(read("payment_intent.succeeded", ours.clone()).is_some());
        assert!(read("payment_intent.created", ours.clone()).is_none());
        for metadata in [
            json!({}),
            json!({ "order_id": "4711", "version": "1" }),
            json!({ "order_id": ORDER }),
            json!({ "order_id": ORDER, "version": "0" }),
            json!({ "order_id": ORDER, "version": "first" }),
            json!([]),
            json!(null),
        ] {
            let foreign = json!({ "id": "pi_1", "metadata": metadata });
            assert_eq!(read("payment_intent.succeeded", foreign), None);
        }
        assert_eq!(read("charge.refunded", ours.clone()), None, "no word of the refund");
        assert_eq!(read("refund.updated", ours), None, "still on its way");
        assert!(report(b"{}").is_err());
    }

    /// Bodies as "Thin events" in Stripe's documentation has them.
    #[test]
    fn thin_events_and_pings_are_no_reports_and_no_mistakes() {
        let thin = |kind: &str| {
            json!({ "id": "evt_test_65R9", "object": "v2.core.event", "type": kind,
                "livemode": false, "created": "2025-09-17T06:20:52.246Z",
                "related_object": { "id": "pi_1", "type": "payment_intent", "url": "/v1/x" } })
        };
        for kind in ["v2.core.event_destination.ping", "v1.payment_intent.succeeded"] {
            assert!(matches!(report(thin(kind).to_string().as_bytes()), Ok(None)), "{kind}");
        }
        assert!(report(thin("payment_intent.succeeded").to_string().as_bytes()).is_err());
    }
}
