use comanda_schemas::{OrderEventType, PaymentEventType};
use comanda_store::{Position, StoredEvent};
use proptest::prelude::*;

use crate::samples::{Log, asked, order_id, result, seconds};
use crate::{TestStore, block_on};

/// `after`, moved behind `event`.
fn advance(after: &mut Vec<Position>, event: &StoredEvent) {
    let next_offset = event.at.offset + 1;
    let known =
        after.iter_mut().find(|p| (&p.topic, p.partition) == (&event.at.topic, event.at.partition));
    match known {
        Some(position) => {
            assert!(position.next_offset <= event.at.offset, "offsets go up within a partition");
            position.next_offset = next_offset;
        }
        None => {
            let (topic, partition) = (event.at.topic.clone(), event.at.partition);
            after.push(Position { topic, partition, next_offset });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// The records' clocks go back and forth.
    #[test]
    fn going_on_after_each_answer_shows_every_event_once(
        times in prop::collection::vec(0..20i64, 1..20),
        limit in 1..5u32,
        one_order: bool,
    ) {
        block_on(async {
            let mut log = Log::default();
            for (n, time) in times.iter().enumerate() {
                let placed = asked(&format!("k-{}", n % 3), n as i32, OrderEventType::Placed);
                let paid = result(&placed, PaymentEventType::Succeeded);
                log.order(placed).payment(paid);
                for record in log.records.iter_mut().rev().take(2) {
                    record.at.timestamp = seconds(*time);
                }
            }
            for test in TestStore::each().await {
                test.store.apply(&log.records).await.unwrap();
                let order = one_order.then(|| order_id("k-0"));
                let mut missing = log.facts();
                missing.retain(|e| order.is_none_or(|order| e.event.order_id() == order));

                let mut after = Vec::new();
                loop {
                    let events = test.store.events_after(order, &after, limit).await.unwrap();
                    assert!(events.len() <= limit as usize);
                    if events.is_empty() {
                        break;
                    }
                    for event in events {
                        advance(&mut after, &event);
                        let at = missing.iter().position(|m| *m == event);
                        missing.swap_remove(at.expect("an event that was not shown before"));
                    }
                }
                assert_eq!(missing, []);
            }
        });
    }
}

#[tokio::test]
async fn events_come_by_time_then_topic() {
    for test in TestStore::each().await {
        let (a, b) =
            (asked("k", 1, OrderEventType::Placed), asked("k", 2, OrderEventType::Updated));
        let mut log = Log::default();
        log.order(a.clone()).order(b.clone()).payment(result(&a, PaymentEventType::Failed));
        for (record, time) in log.records.iter_mut().zip([1, 2, 2]) {
            record.at.timestamp = seconds(time);
        }
        test.store.apply(&log.records).await.unwrap();
        let from_start = test.store.events_after(None, &[], 10).await.unwrap();
        assert_eq!(from_start, log.facts());

        let partition = log.records[0].at.partition;
        let after = Position { topic: "orders".into(), partition, next_offset: 1 };
        for order in [None, Some(a.order_id)] {
            let rest =
                test.store.events_after(order, std::slice::from_ref(&after), 10).await.unwrap();
            assert_eq!(rest, log.facts()[1..]);
        }
        assert_eq!(test.store.events_after(Some(order_id("x")), &[], 10).await.unwrap(), []);
    }
}
