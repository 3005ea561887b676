use comanda_schemas::{
    Contact, OrderId, OrderLine, Payment, PaymentEvent, PaymentEventType, Source, Timestamp,
};
use comanda_store::fold;

use super::*;
use crate::samples::{self, event};

const BOUNDS: Bounds = Bounds { versions: 100, open: 5 };

/// The events of an order, and what came of them.
#[derive(Default)]
struct Told(Vec<StoredEvent>);

impl Told {
    fn placed() -> Self {
        Self::default().order(OrderEventType::Placed, |_| {})
    }

    fn order(self, r#type: OrderEventType, edit: impl FnOnce(&mut Order)) -> Self {
        let latest = fold(&self.0).map(|view| (view.latest, view.version));
        let (mut order, version) = latest.unwrap_or_else(|| (order(), 0));
        edit(&mut order);
        let (order_id, version) = (OrderId::derive("c", "k"), version + 1);
        let event = OrderEvent {
            event_id: OrderEvent::derive_change_id(order_id, version, r#type, &order, None),
            version,
            occurred_at: Timestamp::from_millis(version.into()),
            order,
            ..event(order_id, r#type)
        };
        self.add("orders", AnyEvent::Order(event))
    }

    fn result(self, r#type: PaymentEventType) -> Self {
        let last = self.0.iter().rev().find_map(|fact| match &fact.event {
            AnyEvent::Order(event) => Some((event.clone(), fact.at.clone())),
            AnyEvent::Payment(_) | AnyEvent::Notification(_) | AnyEvent::Report(_) => None,
        });
        let (cause, at) = last.expect("an order event");
        let event = PaymentEvent {
            event_id: PaymentEvent::derive_id(cause.event_id),
            r#type,
            order_id: cause.order_id,
            version: cause.version,
            occurred_at: cause.occurred_at,
            payment: Payment {
                provider: "stripe".into(),
                payment_id: Some("pi_1".into()),
                amount_minor: cause.order.total_minor,
                currency: cause.order.currency,
                reason: None,
                detail: None,
                attempts: 1,
            },
            order: cause.order,
            source: Source { topic: at.topic, partition: at.partition, offset: at.offset },
        };
        self.add("payments", AnyEvent::Payment(event))
    }

    fn add(mut self, topic: &str, event: AnyEvent) -> Self {
        let (offset, timestamp) = (self.0.len() as i64, event.occurred_at());
        let at = Recorded { topic: topic.into(), partition: 0, offset, timestamp };
        self.0.push(StoredEvent { at, event });
        self
    }

    fn view(&self) -> OrderView {
        fold(&self.0).expect("it was placed")
    }

    fn decide(&self, expected_version: Option<i32>, change: Change) -> Decision {
        let ask = Ask { order_id: None, expected_version, receipt: None, change };
        decide(&self.view(), &self.0, &ask, BOUNDS)
    }

    fn refused(&self, change: Change) -> Vec<(ErrorCode, String)> {
        let Decision::Refuse(errors) = self.decide(None, change) else { return Vec::new() };
        errors.into_iter().map(|e| (e.code, e.path[1..].join("."))).collect()
    }
}

fn order() -> Order {
    Order { note: Some("salt".into()), ..samples::order() }
}

fn note(text: &str) -> Change {
    Change::Update(Edit { note: Some(Some(text.into())), ..Edit::default() })
}

fn lines() -> Change {
    let line = OrderLine { quantity: 3, ..order().lines[0].clone() };
    Change::Update(Edit { lines: Some((vec![line], 300)), ..Edit::default() })
}

fn method() -> Change {
    Change::Update(Edit { payment_method: Some("pm_other".into()), ..Edit::default() })
}

fn retry() -> Change {
    Change::Retry { payment_method: None }
}

fn cancel() -> Change {
    Change::Cancel { reason: None }
}

fn written(decision: Decision) -> Wanted {
    match decision {
        Decision::Write(wanted) => wanted,
        other => panic!("it should be written: {other:?}"),
    }
}

fn done_at(decision: Decision) -> i64 {
    match decision {
        Decision::Done(at) => at.offset,
        other => panic!("it should be done: {other:?}"),
    }
}

#[test]
fn only_what_is_given_changes() {
    let told = Told::placed();
    let edit = Edit {
        contact: Some(Contact { name: "m".into(), email: "m@example.com".into() }),
        note: Some(None),
        ..Edit::default()
    };
    let wanted = written(told.decide(None, Change::Update(edit.clone())));
    let expected = Order { contact: edit.contact.unwrap(), note: None, ..order() };
    assert_eq!((wanted.r#type, wanted.order), (OrderEventType::Updated, expected));
    let wanted = written(told.decide(None, lines()));
    assert_eq!((wanted.order.total_minor, wanted.order.note), (300, order().note));
}

#[test]
fn a_change_goes_on_from_the_one_that_is_still_on_its_way() {
    let told = Told::placed().order(OrderEventType::Updated, |o| o.payment_method = "pm_2".into());
    assert_eq!(written(told.decide(None, note("pepper"))).order.payment_method, "pm_2");
}

#[test]
fn a_change_to_what_is_there_already_is_done() {
    let told = Told::placed();
    assert_eq!(done_at(told.decide(None, note("salt"))), 0);
    let told = told.order(OrderEventType::Updated, |o| o.note = Some("pepper".into()));
    assert_eq!(done_at(told.decide(None, note("pepper"))), 1);
    written(told.decide(None, note("salt")));
}

#[test]
fn a_paid_order_keeps_its_lines_and_payment_method_and_can_be_cancelled() {
    let told = Told::placed().result(PaymentEventType::Succeeded);
    assert_eq!(told.refused(lines()), [(ErrorCode::OrderPaid, "lines".into())]);
    assert_eq!(told.refused(method()), [(ErrorCode::OrderPaid, "paymentMethod".into())]);
    assert_eq!(told.refused(retry()), [(ErrorCode::PaymentNotFailed, "orderId".into())]);
    written(told.decide(None, note("pepper")));
    assert_eq!(written(told.decide(None, cancel())).r#type, OrderEventType::Cancelled);
    let same = Edit { lines: Some((order().lines, 100)), ..Edit::default() };
    assert_eq!(done_at(told.decide(None, Change::Update(same))), 0);
}

#[test]
fn a_change_of_a_paid_order_does_not_go_on_from_one_that_will_be_rejected() {
    let told = Told::placed().result(PaymentEventType::Succeeded);
    let told = told.order(OrderEventType::Updated, |o| o.payment_method = "pm_2".into());
    let wanted = written(told.decide(None, note("pepper")));
    assert_eq!(wanted.order.payment_method, "pm_card_visa");
}

#[test]
fn nothing_changes_a_cancelled_order_done_or_under_way() {
    let on_its_way = Told::placed().order(OrderEventType::Cancelled, |_| {});
    let paid = Told::placed().result(PaymentEventType::Succeeded);
    let refunded = paid.order(OrderEventType::Cancelled, |_| {}).result(PaymentEventType::Refunded);
    for told in [on_its_way, refunded] {
        for change in [note("pepper"), lines(), retry(), cancel()] {
            let cancelled = [(ErrorCode::OrderCancelled, "orderId".into())];
            assert_eq!(told.refused(change), cancelled);
        }
    }
}

#[test]
fn only_a_payment_that_failed_is_tried_again() {
    let pending = Told::placed();
    assert_eq!(pending.refused(retry()), [(ErrorCode::PaymentNotFailed, "orderId".into())]);
    let failed = pending.result(PaymentEventType::Failed);
    assert_eq!(written(failed.decide(None, retry())).order, order());
    let with = Change::Retry { payment_method: Some("pm_2".into()) };
    assert_eq!(written(failed.decide(None, with)).order.payment_method, "pm_2");
    written(failed.decide(None, lines()));
    written(failed.decide(None, cancel()));
}

#[test]
fn a_version_that_was_not_expected_is_a_conflict() {
    let told = Told::placed().order(OrderEventType::Updated, |o| o.note = None);
    for (expected, retriable) in [(1, false), (3, true), (i32::MAX, true)] {
        let Decision::Refuse(errors) = told.decide(Some(expected), note("pepper")) else {
            panic!("{expected} is not the version")
        };
        assert_eq!(errors[0].code, ErrorCode::VersionConflict);
        assert_eq!(errors[0].path, ["input", "expectedVersion"]);
        assert_eq!(errors[0].retriable, retriable, "{expected}");
    }
    written(told.decide(Some(2), note("pepper")));
}

#[test]
fn the_same_request_with_the_same_expected_version_is_one_change() {
    let told = Told::placed().result(PaymentEventType::Failed);
    let retried = told.order(OrderEventType::Updated, |_| {}).result(PaymentEventType::Failed);
    assert_eq!(done_at(retried.decide(Some(1), retry())), 2);
    let other = Change::Retry { payment_method: Some("pm_2".into()) };
    assert!(matches!(retried.decide(Some(1), other), Decision::Refuse(_)));

    let noted = Told::placed().order(OrderEventType::Updated, |o| o.note = Some("pepper".into()));
    let noted = noted.order(OrderEventType::Updated, |o| o.note = None);
    assert_eq!(done_at(noted.decide(Some(1), note("pepper"))), 1);

    let cancelled = Told::placed().order(OrderEventType::Cancelled, |_| {});
    assert_eq!(done_at(cancelled.decide(Some(1), cancel())), 1);
    let why = Change::Cancel { reason: Some("late".into()) };
    assert!(matches!(cancelled.decide(Some(1), why), Decision::Refuse(_)));
}

#[test]
fn an_order_has_only_so_many_versions_and_can_always_be_cancelled() {
    let mut told = Told::placed();
    for n in 1..BOUNDS.versions {
        told = told.order(OrderEventType::Updated, |o| o.note = Some(n.to_string()));
        told = told.result(PaymentEventType::ChangeRejected);
    }
    assert_eq!(told.refused(note("pepper")), [(ErrorCode::TooManyChanges, "orderId".into())]);
    written(told.decide(None, cancel()));
}

#[test]
fn only_so_many_changes_of_an_order_have_no_result_yet() {
    let mut told = Told::placed();
    for n in 0..BOUNDS.open {
        written(told.decide(None, note("pepper")));
        told = told.order(OrderEventType::Updated, |o| o.note = Some(n.to_string()));
    }
    let Decision::Refuse(errors) = told.decide(None, note("pepper")) else {
        panic!("one too many was taken");
    };
    let told_of = errors.iter().map(|error| (error.code, error.retriable)).collect::<Vec<_>>();
    assert_eq!(told_of, [(ErrorCode::TooManyChanges, true)]);
    let last = (BOUNDS.open - 1).to_string();
    assert_eq!(done_at(told.decide(None, note(&last))), BOUNDS.open as i64, "nothing changes");
    written(told.decide(None, cancel()));
    written(told.result(PaymentEventType::Succeeded).decide(None, note("pepper")));
}

/// Events of an order are handled in turn, so one that has a result behind it has none to come.
#[test]
fn a_change_that_became_a_dead_letter_is_not_open() {
    let change = |told: Told, n: usize| {
        told.order(OrderEventType::Updated, |order| order.note = Some(n.to_string()))
    };
    let mut told = (0..BOUNDS.open).fold(Told::placed(), change);
    told = told.result(PaymentEventType::Failed);
    told = (BOUNDS.open..2 * BOUNDS.open - 1).fold(told, change);
    written(told.decide(None, note("pepper")));
    let Decision::Refuse(_) = change(told, 1_000).decide(None, note("pepper")) else {
        panic!("one too many was taken");
    };
}
