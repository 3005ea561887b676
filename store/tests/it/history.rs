//! Pages of what happened.

use comanda_schemas::{OrderEvent, OrderEventType, OrderId, PaymentEventType};
use comanda_store::{EventSummary, Position, Scope, StoredEvent};
use proptest::prelude::*;

use crate::samples::{Log, asked, result, seconds};
use crate::{TestStore, block_on};

/// Two orders of each of three customers, and what came of them; the records' clocks differ.
fn log(times: &[i64]) -> Log {
    let mut log = Log::default();
    for (n, time) in times.iter().enumerate() {
        let placed = OrderEvent {
            customer_id: format!("c-{}", n % 3),
            ..asked(&format!("k-{}", n % 6), n as i32, OrderEventType::Updated)
        };
        log.order(placed.clone()).payment(result(&placed, PaymentEventType::Failed));
        for record in log.records.iter_mut().rev().take(2) {
            record.at.timestamp = seconds(*time);
        }
    }
    log
}

fn is_in(scope: Scope<'_>, fact: &StoredEvent) -> bool {
    let id = fact.event.order_id();
    let key = |n: usize| OrderId::derive("c-1", &format!("k-{n}"));
    match scope {
        Scope::All => true,
        Scope::Order(order) => id == order,
        Scope::Customer(customer) => {
            let n: usize = customer.trim_start_matches("c-").parse().unwrap();
            id == key(n) || id == key(n + 3)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn pages_give_each_event_of_their_scope_once_and_pass_the_others(
        times in prop::collection::vec(0..20i64, 1..16),
        limit in 1..5u32,
        scope in prop::sample::select(vec![
            Scope::All,
            Scope::Order(OrderId::derive("c-1", "k-1")),
            Scope::Customer("c-0"),
        ]),
    ) {
        block_on(async {
            for test in TestStore::each().await {
                let log = log(&times);
                test.store.apply(&log.records).await.unwrap();
                let mut missing: Vec<EventSummary> = log.facts().into_iter()
                    .filter(|fact| is_in(scope, fact)).map(EventSummary::from).collect();
                let mut after: Vec<Position> = Vec::new();
                loop {
                    let page = test.store.event_page(scope, &after, limit).await.unwrap();
                    assert!(page.events.len() <= limit as usize);
                    for event in page.events {
                        let at = missing.iter().position(|m| *m == event);
                        missing.swap_remove(at.expect("an event that was not given before"));
                    }
                    after = page.next;
                    if page.is_last {
                        break;
                    }
                }
                assert_eq!(missing, []);
                assert_eq!(after, test.store.positions().await.unwrap());
            }
        });
    }
}

#[tokio::test]
async fn an_event_before_its_order_becomes_the_customers_with_the_order() {
    for test in TestStore::each().await {
        let placed = asked("k", 1, OrderEventType::Placed);
        let mut log = Log::default();
        log.order(placed.clone()).payment(result(&placed, PaymentEventType::Succeeded));
        let [order, payment] = log.records.as_slice() else { panic!("there are two") };
        let given = async || {
            let page = test.store.event_page(Scope::Customer("c-1"), &[], 10).await.unwrap();
            page.events.into_iter().map(|event| event.at).collect::<Vec<_>>()
        };
        test.store.apply(std::slice::from_ref(payment)).await.unwrap();
        assert_eq!(given().await, []);
        assert_eq!(test.store.customer_of(placed.order_id).await.unwrap(), None);
        test.store.apply(std::slice::from_ref(order)).await.unwrap();
        assert_eq!(given().await, [order.at.clone(), payment.at.clone()]);
        let owner = test.store.customer_of(placed.order_id).await.unwrap();
        assert_eq!(owner.as_deref(), Some("c-1"));
    }
}
