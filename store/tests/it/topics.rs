//! Which topics the store was written from.

use comanda_schemas::OrderEventType::Placed;

use crate::TestStore;
use crate::samples::{Log, asked, order_id};

#[tokio::test]
async fn a_topic_keeps_its_first_id_until_it_is_forgotten() {
    for test in TestStore::each().await {
        let [first, second] = ["0a", "0b"].map(|end| format!("{end:0>32}").parse().unwrap());
        let mut log = Log::default();
        log.order(asked("k-1", 1, Placed));
        test.store.apply(&log.records).await.unwrap();
        let topic = log.records[0].at.topic.clone();
        assert!(test.store.topic_ids().await.unwrap().is_empty());
        test.store.adopt_topic(&topic, first).await.unwrap();
        test.store.adopt_topic(&topic, second).await.unwrap();
        test.store.adopt_topic("another", second).await.unwrap();
        let ids = test.store.topic_ids().await.unwrap();
        assert_eq!((ids[&topic], ids["another"]), (first, second));

        test.store.forget_topic(&topic).await.unwrap();
        assert_eq!(test.store.topic_ids().await.unwrap().len(), 1);
        assert_eq!(test.store.positions().await.unwrap(), []);
        assert!(test.store.order(order_id("k-1")).await.unwrap().is_some(), "what was read stays");
        test.store.adopt_topic(&topic, second).await.unwrap();
        test.store.apply(&log.records).await.unwrap();
        assert_eq!(test.store.positions().await.unwrap().len(), 1);
    }
}
