use super::*;

fn at(topic: &str, offset: i64) -> Source {
    Source { topic: topic.into(), partition: 0, offset }
}

fn id(n: u32) -> OrderId {
    OrderId::derive("audit", &n.to_string())
}

/// Orders 0, 1, 2 at offsets 0, 1, 2, each with its result and notification.
fn clean() -> Vec<Fact> {
    (0..3)
        .flat_map(|n| {
            [
                Fact::Order { at: at("orders", n.into()), order_id: Some(id(n)) },
                result(n.into(), n.into(), n),
                Fact::Notification {
                    of: at("payments", n.into()),
                    order_id: id(n),
                    kind: NotificationEventType::Sent,
                },
            ]
        })
        .collect()
}

fn result(at_offset: i64, of_offset: i64, order: u32) -> Fact {
    Fact::Result {
        at: at("payments", at_offset),
        of: at("orders", of_offset),
        order_id: id(order),
        kind: PaymentEventType::Succeeded,
        redriven: false,
    }
}

fn report(facts: Vec<Fact>) -> Report {
    let mut audit = Audit::default();
    for fact in facts {
        audit.add(fact, Instant::now());
    }
    audit.report(None)
}

#[test]
fn a_clean_log_is_clean() {
    let report = report(clean());
    assert!(report.is_clean());
    assert_eq!((report.order_events, report.results, report.notifications), (3, 3, 3));
    assert_eq!(report.by_type["SUCCEEDED"], 3);
}

#[test]
fn a_missing_result_is_lost_unless_its_record_is_a_dead_letter() {
    let mut facts = clean();
    facts.retain(|f| !matches!(f, Fact::Result { order_id, .. } if *order_id == id(1)));
    let lost = report(facts.clone());
    assert_eq!((lost.lost, lost.is_clean()), (1, false));
    facts.push(Fact::DeadLetter { of: at("orders", 1) });
    let dead = report(facts);
    assert_eq!((dead.lost, dead.dead_letters, dead.is_clean()), (0, 1, true));
}

#[test]
fn a_second_result_and_a_second_notification_are_doubled() {
    let mut facts = clean();
    facts.push(result(7, 1, 1));
    let doubled = report(facts.clone());
    assert_eq!((doubled.duplicated, doubled.unnotified), (1, 1));
    let again = facts.iter().find(|f| matches!(f, Fact::Notification { .. })).cloned();
    facts.extend(again);
    assert_eq!(report(facts).duplicated, 2);
}

#[test]
fn a_redriven_order_event_needs_a_result_of_its_own() {
    let dead = Fact::Order { at: at("orders", 3), order_id: Some(id(3)) };
    let redriven = Fact::Order { at: at("orders", 4), order_id: Some(id(3)) };
    let mut facts = clean();
    facts.extend([dead, Fact::DeadLetter { of: at("orders", 3) }, redriven]);
    let waiting = report(facts.clone());
    assert_eq!((waiting.order_events, waiting.lost, waiting.dead_letters), (5, 1, 1));
    let told = Fact::Notification {
        of: at("payments", 3),
        order_id: id(3),
        kind: NotificationEventType::Sent,
    };
    facts.extend([result(3, 4, 3), told]);
    let handled = report(facts);
    assert!(handled.is_clean(), "{handled:?}");
    assert_eq!((handled.results, handled.dead_letters), (4, 1));
}

#[test]
fn a_redriven_result_is_no_second_one_but_has_to_be_told() {
    let mut facts = vec![
        Fact::Order { at: at("orders", 0), order_id: Some(id(0)) },
        Fact::Order { at: at("orders", 1), order_id: Some(id(0)) },
        result(0, 0, 0),
        result(1, 1, 0),
        Fact::DeadLetter { of: at("payments", 0) },
    ];
    let told = |offset| Fact::Notification {
        of: at("payments", offset),
        order_id: id(0),
        kind: NotificationEventType::Sent,
    };
    facts.push(told(1));
    let Fact::Result { at: redriven, of, order_id, kind, .. } = result(2, 0, 0) else {
        unreachable!("a result")
    };
    facts.push(Fact::Result { at: redriven, of, order_id, kind, redriven: true });
    let waiting = report(facts.clone());
    assert_eq!((waiting.unnotified, waiting.duplicated, waiting.out_of_order), (1, 0, 0));
    facts.push(told(2));
    let handled = report(facts);
    assert!(handled.is_clean(), "{handled:?}");
    assert_eq!((handled.results, handled.notifications), (2, 2));
    assert_eq!(handled.by_type["SUCCEEDED"], 2);
}

#[test]
fn a_missing_notification_is_told() {
    let mut facts = clean();
    facts.retain(|f| !matches!(f, Fact::Notification { .. }));
    assert_eq!(report(facts).unnotified, 3);
}

#[test]
fn results_of_one_order_must_keep_its_order() {
    let order = |offset| Fact::Order { at: at("orders", offset), order_id: Some(id(0)) };
    let facts = vec![order(0), order(1), result(0, 1, 0), result(1, 0, 0)];
    assert_eq!(report(facts).out_of_order, 1);
    let facts = vec![order(0), order(1), result(0, 0, 0), result(1, 1, 0)];
    assert_eq!(report(facts).out_of_order, 0);
}

#[test]
fn only_the_wanted_orders_count() {
    let mut audit = Audit::default();
    clean().into_iter().for_each(|fact| audit.add(fact, Instant::now()));
    let only = HashSet::from([id(2), id(9)]);
    let report = audit.report(Some(&only));
    assert_eq!((report.order_events, report.results, report.notifications), (1, 1, 1));
}

#[test]
fn a_result_of_an_order_event_before_the_audit_is_left_out() {
    let report = report(vec![result(0, 5, 5)]);
    assert_eq!(report, Report::default());
}
