use std::collections::BTreeMap;

use comanda_schemas::{NotificationEventType, OrderEvent, OrderEventType, PaymentEventType};
use comanda_store::{
    Applied, Error, Filter, Listing, MAX_PAGE, OrderStatus, OrderView, Page, Position, Recorded,
    Scope, Store, fingerprint, fold,
};
use proptest::prelude::*;

use crate::samples::{Log, asked, logs, order, order_id, result, seconds, told};
use crate::{TestStore, block_on};

const ALL: Page = Page::Forward { first: 100, after: None };

/// Everything that a reader can see.
async fn contents(store: &Store) -> (Listing, Vec<Option<OrderView>>, Vec<Position>) {
    let listing = store.orders(&Filter::default(), ALL).await.unwrap();
    let mut orders = Vec::new();
    for key in ["k-1", "k-2", "k-3"] {
        orders.push(store.order(order_id(key)).await.unwrap());
    }
    (listing, orders, store.positions().await.unwrap())
}

fn positions(records: &[Applied]) -> Vec<Position> {
    let mut next: BTreeMap<(String, i32), i64> = BTreeMap::new();
    for Applied { at, .. } in records {
        let position = next.entry((at.topic.clone(), at.partition)).or_default();
        *position = at.offset.saturating_add(1).max(*position);
    }
    let position = |((topic, partition), next_offset)| Position { topic, partition, next_offset };
    next.into_iter().map(position).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_same_records_in_any_sequence_and_any_batches_give_the_same_store(
        (log, shuffled) in logs().prop_flat_map(|log| {
            let twice = [log.records.clone(), log.records.clone()].concat();
            (Just(log), Just(twice).prop_shuffle())
        }),
        batch in 1..8usize,
    ) {
        let mut seen = block_on(async {
            let mut seen = Vec::new();
            for test in TestStore::each().await {
                test.store.apply(&log.records).await.unwrap();
                seen.push(contents(&test.store).await);
            }
            for test in TestStore::each().await {
                for batch in shuffled.chunks(batch) {
                    test.store.apply(batch).await.unwrap();
                }
                seen.push(contents(&test.store).await);
            }
            seen
        });
        let once = seen.pop().unwrap();
        for other in seen {
            prop_assert_eq!(&other, &once);
        }

        let (listing, orders, seen) = once;
        prop_assert_eq!(seen, positions(&log.records));
        prop_assert_eq!(listing.orders.len(), orders.iter().flatten().count());
        for (order, key) in orders.into_iter().zip(["k-1", "k-2", "k-3"]) {
            let facts: Vec<_> =
                log.facts().into_iter().filter(|f| f.event.order_id() == order_id(key)).collect();
            prop_assert_eq!(order, fold(&facts));
        }
    }
}

#[tokio::test]
async fn a_batch_larger_than_one_statement_is_applied_whole() {
    for test in TestStore::each().await {
        let mut log = Log::default();
        for n in 0..1_300 {
            log.order(asked(&format!("k-{n}"), 1, OrderEventType::Placed));
        }
        test.store.apply(&log.records).await.unwrap();
        let page = Page::Forward { first: 2_000, after: None };
        let listing = test.store.orders(&Filter::default(), page).await.unwrap();
        assert_eq!(listing.orders.len(), MAX_PAGE as usize);
        assert!(listing.has_next);
        assert_eq!(test.store.positions().await.unwrap(), positions(&log.records));
    }
}

#[tokio::test]
async fn a_batch_that_fails_leaves_nothing_behind() {
    for test in TestStore::each().await {
        let mut log = Log::default();
        log.order(asked("k", 1, OrderEventType::Placed));
        test.execute("ALTER TABLE applied_offsets RENAME TO gone").await;
        assert!(matches!(test.store.apply(&log.records).await, Err(Error::Query { .. })));
        test.execute("ALTER TABLE gone RENAME TO applied_offsets").await;
        assert_eq!(test.store.order(order_id("k")).await.unwrap(), None);
        assert_eq!(test.store.event_page(Scope::All, &[], 10).await.unwrap().events, []);

        test.store.apply(&log.records).await.unwrap();
        assert!(test.store.order(order_id("k")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_record_without_an_event_only_moves_the_position() {
    for test in TestStore::each().await {
        let at = |offset| Recorded {
            topic: "orders".into(),
            partition: 3,
            offset,
            timestamp: seconds(1),
        };
        test.store.apply(&[Applied { at: at(41), event: None }]).await.unwrap();
        test.store.apply(&[Applied { at: at(7), event: None }]).await.unwrap();
        let position = Position { topic: "orders".into(), partition: 3, next_offset: 42 };
        assert_eq!(test.store.positions().await.unwrap(), [position]);
        assert!(test.store.passed("orders", 3, 41).await.unwrap());
        assert!(!test.store.passed("orders", 3, 42).await.unwrap());
        assert!(!test.store.passed("orders", 4, 0).await.unwrap());
        assert!(!test.store.passed("payments", 3, 0).await.unwrap());
    }
}

#[tokio::test]
async fn a_placement_is_that_of_the_first_request() {
    for test in TestStore::each().await {
        let placed = asked("k", 1, OrderEventType::Placed);
        assert_eq!(test.store.placement(placed.order_id).await.unwrap(), None);
        let raced = OrderEvent { order: order(999), ..placed.clone() };
        let mut log = Log::default();
        log.order(placed.clone()).order(raced).order(asked("k", 2, OrderEventType::Updated));
        for record in &log.records {
            test.store.apply(std::slice::from_ref(record)).await.unwrap();
        }
        let placement = test.store.placement(placed.order_id).await.unwrap().unwrap();
        assert_eq!(placement.receipt, log.records[0].at);
        assert_eq!(placement.fingerprint, fingerprint("c-1", &placed.order));
        let partition = log.records[0].at.partition;
        assert!(test.store.passed("orders", partition, 2).await.unwrap());
    }
}

#[tokio::test]
async fn an_order_is_its_customers_alone() {
    for test in TestStore::each().await {
        let placed = asked("k", 1, OrderEventType::Placed);
        let mut log = Log::default();
        test.store.apply(&log.order(placed.clone()).records).await.unwrap();
        let is_of = async |id, customer| test.store.is_order_of(id, customer).await.unwrap();
        assert!(is_of(placed.order_id, "c-1").await);
        assert!(!is_of(placed.order_id, "c-2").await);
        assert!(!is_of(order_id("other"), "c-1").await);
    }
}

#[tokio::test]
async fn a_store_that_is_opened_again_has_what_it_had() {
    for test in TestStore::each().await {
        let placed = asked("k-1", 1, OrderEventType::Placed);
        let paid = result(&placed, PaymentEventType::Succeeded);
        let mut log = Log::default();
        log.order(placed)
            .payment(paid.clone())
            .notification(told(&paid, NotificationEventType::Sent));
        test.store.apply(&log.records).await.unwrap();
        let before = contents(&test.store).await;
        assert_eq!(before.1[0].as_ref().unwrap().status, OrderStatus::Paid);
        test.store.close().await;
        let again = Store::open(&test.options).await.unwrap();
        assert_eq!(contents(&again).await, before);
    }
}

#[tokio::test]
async fn any_text_that_an_event_can_hold_is_stored_and_found() {
    for test in TestStore::each().await {
        let customers = ["c\0", "c\\0", "c\\", "c", "ç\u{fffd}'\""];
        let mut log = Log::default();
        for (n, customer) in customers.iter().enumerate() {
            let mut placed = asked(&format!("k-{n}"), 1, OrderEventType::Placed);
            placed.customer_id = (*customer).into();
            placed.order.note = Some("no\0onions".into());
            log.order(placed);
        }
        test.store.apply(&log.records).await.unwrap();
        for (n, customer) in customers.iter().enumerate() {
            let filter = Filter { customer_id: Some((*customer).into()), ..Filter::default() };
            let listing = test.store.orders(&filter, ALL).await.unwrap();
            let [found] = listing.orders.as_slice() else { panic!("{customer:?}: {listing:?}") };
            assert_eq!(found.id, order_id(&format!("k-{n}")), "{customer:?}");
            assert_eq!(found.customer_id, *customer);
            let contents = test.store.contents(&[found.content]).await.unwrap();
            assert_eq!(contents[&found.content].note.as_deref(), Some("no\0onions"));
            let events = test.store.event_page(Scope::Customer(customer), &[], 10).await.unwrap();
            assert_eq!(events.events.len(), 1, "{customer:?}");
        }
    }
}

/// PostgreSQL has no room for such a customer in an index; SQLite takes everything.
#[tokio::test]
async fn what_can_never_be_stored_is_told_from_what_fails() {
    for test in TestStore::each().await {
        let mut large = asked("k-1", 1, OrderEventType::Placed);
        // PostgreSQL compresses what repeats itself.
        large.customer_id = (0..2_000).map(|n| format!("{:x}", n * 7_919 % 4_093)).collect();
        let mut log = Log::default();
        let refused = test.store.apply(&log.order(large).records).await;
        let is_postgres = !test.options.url.starts_with("sqlite:");
        assert_eq!(refused.as_ref().is_err_and(Error::is_refusal), is_postgres, "{refused:?}");
        test.execute("ALTER TABLE applied_offsets RENAME TO gone").await;
        let mut log = Log::default();
        log.order(asked("k-2", 1, OrderEventType::Placed));
        let failed = test.store.apply(&log.records).await.unwrap_err();
        assert!(!failed.is_refusal(), "{failed:?}");
    }
}
