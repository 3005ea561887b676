//! Orders that wait for too long.

use comanda_schemas::{OrderEventType::*, PaymentEventType::*};
use comanda_store::{PaymentStatus, Waiting};

use crate::TestStore;
use crate::samples::{Log, asked, doubt, order_id, result, seconds};

#[tokio::test]
async fn orders_that_wait_are_counted_and_listed_until_their_result_comes() {
    for test in TestStore::each().await {
        let [old, doubted, paid] = ["k-1", "k-2", "k-3"].map(|key| asked(key, 1, Placed));
        let doubted = comanda_schemas::OrderEvent { occurred_at: seconds(12), ..doubted };
        let mut log = Log::default();
        log.order(doubted.clone()).report(doubt(&doubted)).order(old.clone());
        log.order(paid.clone()).payment(result(&paid, Succeeded));
        test.store.apply(&log.records).await.unwrap();

        let count = async |before| test.store.count_waiting(seconds(before)).await.unwrap();
        assert_eq!(count(10).await, Waiting { orders: 0, since: None });
        assert_eq!(count(11).await, Waiting { orders: 1, since: Some(seconds(10)) });
        assert_eq!(count(60).await, Waiting { orders: 2, since: Some(seconds(10)) });

        let list = async |after, limit| {
            let found = test.store.waiting(seconds(60), after, limit).await.unwrap();
            found.into_iter().map(|view| (view.id, view.payment.status)).collect::<Vec<_>>()
        };
        let first = (order_id("k-1"), PaymentStatus::Pending);
        let second = (order_id("k-2"), PaymentStatus::Unknown);
        assert_eq!(list(None, 10).await, [first, second]);
        assert_eq!(list(None, 1).await, [first]);
        assert_eq!(list(Some((seconds(10), first.0)), 10).await, [second]);
        assert_eq!(list(Some((seconds(12), second.0)), 10).await, []);

        let mut results = Log::default();
        results.payment(result(&old, Failed)).payment(result(&doubted, Succeeded));
        test.store.apply(&results.records).await.unwrap();
        assert_eq!(count(60).await, Waiting::default());
        assert_eq!(list(None, 10).await, []);
    }
}
