use comanda_schemas::{
    NotificationEventType, OrderEvent, OrderEventType::*, PaymentEvent, PaymentEventType,
    PaymentEventType::*,
};
use comanda_store::{OrderStatus, OrderView, PaymentStatus, TimelineKind, fold};
use proptest::prelude::*;

use crate::samples::{Log, asked, doubt, logs, order, order_id, result, seconds, told};

fn folded(log: &Log) -> OrderView {
    fold(&log.facts()).expect("an order event is among them")
}

fn kinds(view: &OrderView) -> Vec<TimelineKind> {
    view.timeline.iter().map(|entry| entry.kind).collect()
}

#[test]
fn an_order_without_a_result_is_pending() {
    let view = folded(Log::default().order(asked("k", 1, Placed)));
    assert_eq!(view.id, order_id("k"));
    assert_eq!((view.version, view.status), (1, OrderStatus::Pending));
    assert_eq!((view.placed_at, view.updated_at), (seconds(10), seconds(10)));
    assert_eq!(view.payment.status, PaymentStatus::Pending);
    assert_eq!(view.payment.amount_minor, 100);
    assert_eq!((view.payment.provider, view.payment.at), (None, None));
    assert_eq!(view.order, order(100));
    assert_eq!((view.receipt.topic.as_str(), view.receipt.offset), ("orders", 0));
}

#[test]
fn an_order_that_was_just_placed_is_what_its_event_folds_to() {
    let mut placed = asked("k", 1, Placed);
    placed.reason = Some("said ana@example.com".into());
    placed.order.note = Some("no onions".into());
    let mut log = Log::default();
    let facts = log.order(placed.clone()).facts();
    let [fact] = facts.as_slice() else { panic!("there is one") };
    assert_eq!(Some(OrderView::placed(placed, fact.at.clone())), fold(&facts));
}

#[test]
fn results_without_their_order_are_not_shown_yet() {
    let placed = asked("k", 1, Placed);
    let paid = result(&placed, Succeeded);
    let mut log = Log::default();
    log.payment(paid.clone()).notification(told(&paid, NotificationEventType::Sent));
    assert_eq!(fold(&log.facts()), None);
    assert_eq!(folded(log.order(placed)).status, OrderStatus::Paid);
}

#[test]
fn each_result_of_the_latest_version_has_its_status() {
    for (outcome, order, payment) in [
        (Succeeded, OrderStatus::Paid, PaymentStatus::Succeeded),
        (Failed, OrderStatus::PaymentFailed, PaymentStatus::Failed),
        (Refunded, OrderStatus::Refunded, PaymentStatus::Refunded),
        (Voided, OrderStatus::Cancelled, PaymentStatus::Voided),
        (PaymentEventType::Unknown, OrderStatus::Pending, PaymentStatus::Unknown),
    ] {
        let placed = asked("k", 1, Placed);
        let view = folded(Log::default().payment(result(&placed, outcome)).order(placed));
        assert_eq!((view.status, view.payment.status), (order, payment), "{outcome:?}");
        assert_eq!(view.payment.payment_id.as_deref(), Some("pi_1"));
        assert_eq!(view.payment.at, Some(seconds(11)));
        assert_eq!(view.updated_at, seconds(11));
    }
}

#[test]
fn a_payment_is_unknown_from_the_report_of_a_doubt_to_its_result() {
    let placed = asked("k", 1, Placed);
    let view = folded(Log::default().report(doubt(&placed)).order(placed.clone()));
    assert_eq!((view.status, view.payment.status), (OrderStatus::Pending, PaymentStatus::Unknown));
    assert_eq!((view.payment.provider.as_deref(), view.payment.attempts), (Some("stripe"), 3));
    assert_eq!((view.payment.detail.as_deref(), view.payment.amount_minor), (Some("timeout"), 100));
    assert_eq!(view.waiting_since, Some(seconds(10)));
    assert_eq!(kinds(&view), [TimelineKind::OrderPlaced, TimelineKind::PaymentInDoubt]);

    let paid = result(&placed, Succeeded);
    let view = folded(Log::default().payment(paid).report(doubt(&placed)).order(placed));
    assert_eq!((view.status, view.payment.status), (OrderStatus::Paid, PaymentStatus::Succeeded));
    assert_eq!((view.payment.detail, view.waiting_since), (None, None));
}

#[test]
fn a_refund_in_doubt_leaves_the_order_paid_and_its_payment_unknown() {
    let (placed, cancelled) = (asked("k", 1, Placed), asked("k", 2, Cancelled));
    let mut log = Log::default();
    log.order(placed.clone()).payment(result(&placed, Succeeded)).order(cancelled.clone());
    let view = folded(log.report(doubt(&cancelled)));
    assert_eq!((view.status, view.payment.status), (OrderStatus::Paid, PaymentStatus::Unknown));
    assert_eq!(
        (view.payment.payment_id.as_deref(), view.waiting_since),
        (Some("pi_1"), Some(seconds(20)))
    );
}

#[test]
fn an_event_that_later_ones_have_left_behind_does_not_wait() {
    let (dead, updated) = (asked("k", 1, Placed), asked("k", 2, Updated));
    let mut log = Log::default();
    log.order(dead.clone()).report(doubt(&dead)).order(updated.clone());
    let view = folded(&log);
    assert_eq!(
        (view.payment.status, view.waiting_since),
        (PaymentStatus::Unknown, Some(seconds(10)))
    );
    let view = folded(log.payment(result(&updated, Failed)));
    assert_eq!((view.payment.status, view.waiting_since), (PaymentStatus::Failed, None));
}

#[test]
fn a_failed_order_that_is_changed_is_pending_again_and_then_what_the_change_led_to() {
    let (placed, updated) = (asked("k", 1, Placed), asked("k", 2, Updated));
    let mut log = Log::default();
    log.order(placed.clone()).payment(result(&placed, Failed)).order(updated.clone());
    let view = folded(&log);
    assert_eq!((view.status, view.version), (OrderStatus::Pending, 2));
    assert_eq!((view.order.total_minor, view.payment.amount_minor), (200, 200));

    let view = folded(log.payment(result(&updated, Succeeded)));
    assert_eq!((view.status, view.payment.amount_minor), (OrderStatus::Paid, 200));
    assert_eq!(view.receipt.offset, 0);
    assert_eq!(view.placed_at, seconds(10));
}

#[test]
fn a_change_after_the_charge_leaves_the_order_as_charged() {
    let (placed, updated) = (asked("k", 1, Placed), asked("k", 2, Updated));
    let mut log = Log::default();
    log.order(placed.clone()).order(updated.clone()).payment(result(&placed, Succeeded));
    for _ in 0..2 {
        let view = folded(&log);
        assert_eq!((view.status, view.version), (OrderStatus::Paid, 2));
        assert_eq!((view.order.total_minor, view.payment.amount_minor), (100, 100));
        log.payment(result(&updated, ChangeRejected));
    }
}

#[test]
fn a_cancellation_after_the_charge_refunds_what_was_charged() {
    let (placed, cancelled) = (asked("k", 1, Placed), asked("k", 2, Cancelled));
    let mut log = Log::default();
    log.order(placed.clone()).payment(result(&placed, Succeeded)).order(cancelled.clone());
    assert_eq!(folded(&log).status, OrderStatus::Paid);
    let view = folded(log.payment(result(&cancelled, Refunded)));
    assert_eq!(
        (view.status, view.payment.status),
        (OrderStatus::Refunded, PaymentStatus::Refunded)
    );
    assert_eq!((view.order.total_minor, view.version), (100, 2));
}

#[test]
fn a_rejected_change_does_not_bring_a_cancelled_order_back() {
    let (placed, cancelled) = (asked("k", 1, Placed), asked("k", 2, Cancelled));
    let late = asked("k", 3, Updated);
    let mut log = Log::default();
    log.order(placed).order(cancelled.clone()).payment(result(&cancelled, Voided));
    log.order(late.clone()).payment(result(&late, ChangeRejected));
    let view = folded(&log);
    assert_eq!((view.status, view.version), (OrderStatus::Cancelled, 3));
    assert_eq!(view.order.total_minor, 200);
}

#[test]
fn the_first_record_of_an_event_counts() {
    let placed = asked("k", 1, Placed);
    let other = OrderEvent { customer_id: "c-2".into(), order: order(999), ..placed.clone() };
    let view = folded(Log::default().order(placed).order(other));
    assert_eq!((view.customer_id.as_str(), view.order.total_minor), ("c-1", 100));
    assert_eq!((view.receipt.offset, view.timeline.len()), (0, 1));
}

#[test]
fn the_timeline_tells_everything_with_its_cause() {
    let placed = asked("k", 1, Placed);
    let failed = result(&placed, Failed);
    let cancelled =
        OrderEvent { reason: Some("ask ana@example.com why".into()), ..asked("k", 2, Cancelled) };
    let voided = result(&cancelled, Voided);
    let mut unsent = told(&voided, NotificationEventType::Failed);
    unsent.detail = Some("mailbox <ana@example.com> is full".into());
    let mut log = Log::default();
    log.notification(unsent).payment(voided).order(cancelled).order(placed);
    log.notification(told(&failed, NotificationEventType::Sent)).payment(failed);
    let view = folded(&log);

    use TimelineKind::*;
    let expected = [
        (OrderPlaced, Some(1), 10, None),
        (PaymentFailed, Some(1), 11, Some("DECLINED: card_declined")),
        (NotificationSent, Some(1), 12, Some("outcome")),
        (OrderCancelled, Some(2), 20, Some("ask [address] why")),
        (PaymentVoided, Some(2), 21, None),
        (NotificationFailed, Some(2), 22, Some("mailbox [address] is full")),
    ];
    for (entry, (kind, version, at, detail)) in view.timeline.iter().zip(expected) {
        assert_eq!((entry.kind, entry.version, entry.at), (kind, version, seconds(at)));
        assert_eq!(entry.detail.as_deref(), detail);
    }
    assert_eq!(kinds(&view), expected.map(|(kind, ..)| kind));
    assert_eq!(view.notifications.len(), 2);
    assert_eq!(view.notifications[1].detail.as_deref(), Some("mailbox [address] is full"));
    assert_eq!(view.notifications[0].status, NotificationEventType::Sent);
}

#[test]
fn what_happens_at_one_instant_is_told_in_the_order_of_cause_and_effect() {
    let placed = asked("k", 1, Placed);
    let paid = PaymentEvent { occurred_at: placed.occurred_at, ..result(&placed, Succeeded) };
    let mut sent = told(&paid, NotificationEventType::Sent);
    sent.occurred_at = placed.occurred_at;
    let view = folded(Log::default().notification(sent).payment(paid).order(placed));
    use TimelineKind::*;
    assert_eq!(kinds(&view), [OrderPlaced, PaymentSucceeded, NotificationSent]);
}

proptest! {
    #[test]
    fn neither_sequence_nor_repetition_of_the_events_matters(
        (log, shuffled) in logs().prop_flat_map(|log| {
            let facts: Vec<_> =
                log.facts().into_iter().filter(|f| f.event.order_id() == order_id("k-1")).collect();
            let twice = [facts.clone(), facts.clone()].concat();
            (Just(facts), Just(twice).prop_shuffle())
        }),
    ) {
        prop_assert_eq!(fold(&shuffled), fold(&log));
    }
}
