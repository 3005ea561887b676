//! Several writers of one PostgreSQL.

use comanda_schemas::{OrderEventType, PaymentEventType};
use comanda_store::{Applied, Filter, OrderStatus, Page, Position, Recorded, Store};

use crate::TestStore;
use crate::harness::postgres;
use crate::samples::{Log, asked, result, seconds};

/// Orders with the given state, as lists find them.
async fn listed(store: &Store, status: OrderStatus) -> usize {
    let filter = Filter { statuses: vec![status], ..Filter::default() };
    let page = Page::Forward { first: 1_000, after: None };
    store.orders(&filter, page).await.unwrap().orders.len()
}

/// A projector has the orders topic's partition and another the payments topic's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_of_one_order_that_are_applied_at_once_are_both_in_its_row() {
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    let [first, second] = [test.store.clone(), Store::open(&test.options).await.unwrap()];
    // Small batches are those of whose orders each is locked, a large one locks all.
    for (round, size) in [1; 60].into_iter().chain([7; 20]).chain([1_200; 2]).enumerate() {
        let (mut orders, mut payments) = (Log::default(), Log::default());
        for n in 0..size {
            let placed = asked(&format!("{round}-{n}"), 1, OrderEventType::Placed);
            payments.payment(result(&placed, PaymentEventType::Succeeded));
            orders.order(placed);
        }
        // In opposite orders, so that whoever locks as they come would wait in a circle.
        payments.records.reverse();
        let (orders, payments) = (orders.records, payments.records);
        let (a, b) = (first.clone(), second.clone());
        let a = tokio::spawn(async move { a.apply(&orders).await });
        let b = tokio::spawn(async move { b.apply(&payments).await });
        a.await.unwrap().unwrap();
        b.await.unwrap().unwrap();
        assert_eq!(listed(&first, OrderStatus::Pending).await, 0, "round {round}: a lost update");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_of_the_same_orders_leave_what_one_would() {
    let Some(server) = postgres::shared().await else { return };
    let (test, alone) = (TestStore::postgres(server).await, TestStore::sqlite().await);
    let mut log = Log::default();
    for version in 1..=6 {
        for key in 0..20 {
            let event = asked(&format!("k-{key}"), version, OrderEventType::Updated);
            let outcome = match (version + key) % 4 {
                0 => PaymentEventType::Succeeded,
                1 => PaymentEventType::ChangeRejected,
                _ => PaymentEventType::Failed,
            };
            log.payment(result(&event, outcome)).order(event);
        }
    }
    alone.store.apply(&log.records).await.unwrap();

    let mut writers = Vec::new();
    for writer in 0..6 {
        let (options, mut records) = (test.options.clone(), log.records.clone());
        // Each begins elsewhere, and applies everything.
        records.rotate_left(writer * 40);
        writers.push(tokio::spawn(async move {
            let store = Store::open(&options).await.unwrap();
            for batch in records.chunks(9) {
                store.apply(batch).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let page = Page::Forward { first: 1_000, after: None };
    for status in OrderStatus::ALL {
        let filter = Filter { statuses: vec![*status], ..Filter::default() };
        let listing = test.store.orders(&filter, page).await.unwrap();
        assert_eq!(listing, alone.store.orders(&filter, page).await.unwrap(), "{status:?}");
    }
    assert_eq!(test.store.positions().await.unwrap(), alone.store.positions().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn positions_that_many_write_only_move_forward() {
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    let record = |partition, offset| {
        let (topic, timestamp) = ("orders".to_owned(), seconds(1));
        Applied { at: Recorded { topic, partition, offset, timestamp }, event: None }
    };
    let mut writers = Vec::new();
    for writer in 0..4 {
        let store = Store::open(&test.options).await.unwrap();
        writers.push(tokio::spawn(async move {
            for offset in 0..50 {
                let batch = [record(writer % 2, offset), record((writer + 1) % 2, offset)];
                store.apply(&batch).await.unwrap();
                let positions = store.positions().await.unwrap();
                assert!(positions.iter().all(|p| p.next_offset > offset), "{positions:?}");
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let position = |partition| Position { topic: "orders".into(), partition, next_offset: 50 };
    assert_eq!(test.store.positions().await.unwrap(), [position(0), position(1)]);
}

/// A batch of half a million values: more than one statement may have.
#[tokio::test]
async fn a_batch_has_no_limit_of_values() {
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    let mut log = Log::default();
    for n in 0..20_000 {
        log.order(asked(&format!("k-{n}"), 1, OrderEventType::Placed));
    }
    test.store.apply(&log.records).await.unwrap();
    let passed: i64 =
        test.store.positions().await.unwrap().iter().map(|position| position.next_offset).sum();
    assert_eq!(passed, 20_000);
}
