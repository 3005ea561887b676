//! Which payments are open, going by the topics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use anyhow::Result;
use comanda_schemas::scan::From;
use comanda_schemas::{
    Event, OrderId, PaymentEvent, PaymentEventType, PaymentOutcome, PaymentReport,
    PaymentReportType, ReadError, Registry, RegistryError, Topic, headers,
};
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use uuid::Uuid;

use crate::commands::dlq::Desk;

/// A payment for somebody to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The report that says so.
    pub report: PaymentReport,
    /// What an operator said of it.
    pub resolved: Option<PaymentReport>,
}

/// What the topics say about the payments of the orders that have reports.
#[derive(Debug, Default)]
pub struct Books {
    reports: BTreeMap<OrderId, Vec<PaymentReport>>,
    results: HashMap<OrderId, Vec<PaymentEvent>>,
}

impl Books {
    /// Reads the topics to their ends, for one order or all of them.
    pub fn read(desk: &Desk, registry: &Registry, only: Option<OrderId>) -> Result<Self> {
        let mut books = Self::default();
        let mut seen: HashSet<Uuid> = HashSet::new();
        let reports = desk.names.name(Topic::PaymentReports);
        desk.walk(&reports, From::Beginning, |record| {
            if only.is_none_or(|only| key(record) == Some(only))
                && let Some(report) = decode::<PaymentReport>(desk, registry, record)?
                && seen.insert(report.event_id)
            {
                books.reports.entry(report.order_id).or_default().push(report);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if books.reports.is_empty() {
            return Ok(books);
        }
        desk.walk(&desk.names.name(Topic::Payments), From::Beginning, |record| {
            if key(record).is_some_and(|key| books.reports.contains_key(&key))
                && let Some(result) = decode::<PaymentEvent>(desk, registry, record)?
            {
                books.results.entry(result.order_id).or_default().push(result);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(books)
    }

    /// Payments that were sent and have no result, oldest first.
    pub fn in_doubt(&self) -> Vec<Open> {
        self.select(|report| {
            report.r#type == PaymentReportType::InDoubt && self.result(report).is_none()
        })
    }

    /// Payments that failed here and that the provider reports as charged, oldest first: money that
    /// somebody has to give back.
    pub fn charged_after_all(&self) -> Vec<Open> {
        use PaymentEventType::{Failed, Refunded, Succeeded, Voided};
        self.select(|report| {
            let is_charge = report.r#type == PaymentReportType::Reported
                && report.outcome == Some(PaymentOutcome::Succeeded);
            let results = self.results.get(&report.order_id).map(Vec::as_slice).unwrap_or_default();
            let is_known = results.iter().any(|result| {
                matches!(result.r#type, Succeeded | Refunded)
                    && (result.version == report.version
                        || result.payment.payment_id == report.payment_id)
            });
            let is_denied = results.iter().any(|result| {
                matches!(result.r#type, Failed | Voided) && result.version >= report.version
            });
            is_charge && is_denied && !is_known
        })
    }

    /// The result of the event that a report is about.
    pub fn result(&self, report: &PaymentReport) -> Option<&PaymentEvent> {
        let results = self.results.get(&report.order_id)?;
        results.iter().find(|result| {
            // A rejected change may have raced for the version of another one.
            let is_its_own = Some(&result.source) == report.source.as_ref();
            result.version == report.version
                && (is_its_own || result.r#type != PaymentEventType::ChangeRejected)
        })
    }

    /// Whether the order was charged for an earlier version than `version`.
    pub fn was_charged_before(&self, order: OrderId, version: i32) -> bool {
        let results = self.results.get(&order).map(Vec::as_slice).unwrap_or_default();
        results
            .iter()
            .any(|result| result.r#type == PaymentEventType::Succeeded && result.version < version)
    }

    /// The reports of an order, in the order of the log.
    pub fn reports(&self, order: OrderId) -> &[PaymentReport] {
        self.reports.get(&order).map(Vec::as_slice).unwrap_or_default()
    }

    fn select(&self, is_open: impl Fn(&PaymentReport) -> bool) -> Vec<Open> {
        let all = self.reports.values().flatten().filter(|report| is_open(report));
        let mut open: Vec<Open> = all
            .map(|report| {
                let resolved = self.reports(report.order_id).iter().rfind(|other| {
                    other.r#type == PaymentReportType::Resolved && other.version == report.version
                });
                Open { report: report.clone(), resolved: resolved.cloned() }
            })
            .collect();
        open.sort_by_key(|open| (open.report.occurred_at, open.report.event_id));
        open
    }
}

fn key(record: &BorrowedMessage<'_>) -> Option<OrderId> {
    std::str::from_utf8(record.key()?).ok()?.parse().ok()
}

/// The event of a record; `None`, with a word on standard error, where it does not decode.
fn decode<E: Event>(
    desk: &Desk,
    registry: &Registry,
    record: &BorrowedMessage<'_>,
) -> Result<Option<E>> {
    let payload = record.payload().unwrap_or_default();
    match desk.runtime.block_on(registry.read(payload)) {
        Ok(event) => Ok(Some(event)),
        Err(ReadError::Registry(error)) if !matches!(error, RegistryError::NotFound { .. }) => {
            Err(error.into())
        }
        Err(error) => {
            let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
            let error = headers::error_chain(&error);
            note!("{topic} {partition}@{offset} is left out: {error}");
            Ok(None)
        }
    }
}

#[cfg(test)]
pub mod tests {
    use comanda_schemas::{
        Contact, Currency, Order, OrderEvent, OrderEventType, Payment, Source, Timestamp,
    };

    use super::*;

    fn order_id() -> OrderId {
        OrderId::derive("c", "k")
    }

    fn cause(version: i32) -> Uuid {
        OrderEvent::derive_id(order_id(), version, OrderEventType::Placed)
    }

    fn source(offset: i64) -> Source {
        Source { topic: "orders".into(), partition: 0, offset }
    }

    fn report(r#type: PaymentReportType, version: i32) -> PaymentReport {
        let is_doubt = r#type == PaymentReportType::InDoubt;
        PaymentReport {
            event_id: PaymentReport::derive_id(r#type, &cause(version).to_string()),
            r#type,
            order_id: order_id(),
            version,
            occurred_at: Timestamp::from_millis(version.into()),
            provider: "stripe".into(),
            payment_id: (!is_doubt).then(|| format!("pi_{version}")),
            outcome: (!is_doubt).then_some(PaymentOutcome::Succeeded),
            amount_minor: None,
            currency: None,
            detail: None,
            attempts: 1,
            source: is_doubt.then(|| source(version.into())),
        }
    }

    fn result(r#type: PaymentEventType, version: i32, offset: i64) -> PaymentEvent {
        let currency = Currency::parse("EUR").unwrap();
        PaymentEvent {
            event_id: PaymentEvent::derive_id(cause(version)),
            r#type,
            order_id: order_id(),
            version,
            occurred_at: Timestamp::from_millis(version.into()),
            order: Order {
                currency,
                total_minor: 100,
                lines: Vec::new(),
                contact: Contact { name: "n".into(), email: "n@example.com".into() },
                payment_method: "pm".into(),
                note: None,
            },
            payment: Payment {
                provider: "stripe".into(),
                payment_id: None,
                amount_minor: 100,
                currency,
                reason: None,
                detail: None,
                attempts: 1,
            },
            source: source(offset),
        }
    }

    fn books(reports: &[PaymentReport], results: &[PaymentEvent]) -> Books {
        Books {
            reports: [(order_id(), reports.to_vec())].into(),
            results: [(order_id(), results.to_vec())].into(),
        }
    }

    #[test]
    fn a_payment_is_in_doubt_until_its_own_result() {
        use PaymentReportType::{InDoubt, Resolved};
        let doubt = report(InDoubt, 2);
        let open = |results: &[PaymentEvent]| {
            books(std::slice::from_ref(&doubt), results).in_doubt().len()
        };
        assert_eq!(open(&[]), 1);
        assert_eq!(open(&[result(PaymentEventType::Failed, 1, 1)]), 1, "of another version");
        let rejected = |offset| result(PaymentEventType::ChangeRejected, 2, offset);
        assert_eq!(open(&[rejected(9)]), 1, "of another event with its version");
        assert_eq!(open(&[rejected(2)]), 0);
        assert_eq!(open(&[result(PaymentEventType::Succeeded, 2, 9)]), 0, "redriven");

        let resolved = books(&[doubt.clone(), report(Resolved, 2)], &[]).in_doubt();
        assert_eq!(resolved[0].resolved.as_ref().unwrap().r#type, Resolved);
    }

    #[test]
    fn a_charge_that_is_reported_and_failed_here_is_to_be_given_back() {
        use PaymentEventType::{Failed, Refunded, Succeeded, Voided};
        let reported = report(PaymentReportType::Reported, 1);
        let found = |results: &[PaymentEvent]| {
            books(std::slice::from_ref(&reported), results).charged_after_all().len()
        };
        assert_eq!(found(&[]), 0, "not known yet");
        assert_eq!(found(&[result(Failed, 1, 1)]), 1);
        assert_eq!(found(&[result(Voided, 2, 1)]), 1);
        assert_eq!(found(&[result(Succeeded, 1, 1)]), 0);
        let mut refund = result(Refunded, 2, 2);
        refund.payment.payment_id = Some("pi_1".into());
        assert_eq!(found(&[result(Failed, 1, 1), refund]), 0);
        let other = PaymentReport { outcome: Some(PaymentOutcome::Failed), ..reported.clone() };
        assert!(books(&[other], &[result(Failed, 1, 1)]).charged_after_all().is_empty());
    }
}
