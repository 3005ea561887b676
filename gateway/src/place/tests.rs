use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use comanda_producer as producer;
use comanda_schemas::TraceContext;
use comanda_store::{AnyEvent, Applied};
use tempfile::TempDir;

use super::*;
use crate::samples::{order, parts};
use crate::{Parts, log};

/// Writes to no Kafka. What the customer `gone` orders fails.
struct Bench {
    placing: Arc<Placing>,
    store: Store,
    written: Arc<AtomicI64>,
    _folder: TempDir,
}

impl Bench {
    /// Remembers `max` placements.
    async fn new(max: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let written = Arc::<AtomicI64>::default();
        let next = written.clone();
        let write = move |event: &OrderEvent| match event.customer_id.as_str() {
            "gone" => Err(producer::Error::Overloaded { records: 1, bytes: 1 }),
            "lost" => Err(producer::Error::OutcomeUnknown(None)),
            _ => Ok(producer::Receipt {
                topic: "orders".into(),
                partition: 0,
                offset: next.fetch_add(1, Ordering::Relaxed),
                timestamp: event.occurred_at,
            }),
        };
        let parts = parts(&folder, Publisher::Instead(Arc::new(write))).await;
        let Parts { producer, store, registry, kafka, names, .. } = parts;
        let log = log::Parts { kafka, names, store: store.clone() };
        let placing =
            Placing::start(producer, registry, log, (max, 1 << 20), Duration::from_secs(60));
        Self { placing, store, written, _folder: folder }
    }

    /// Offsets, or why there is none.
    async fn place_all(&self, wanted: &[PlaceOrder]) -> Vec<Result<i64, String>> {
        let traced = wanted.iter().map(|one| (one.clone(), TraceContext::new_root())).collect();
        let placed = self.placing.place_all(traced).await;
        assert_eq!(placed.len(), wanted.len());
        let told = placed.into_iter().zip(wanted).map(|(placed, wanted)| match placed {
            Ok(placed) => {
                let receipt = placed.receipt.clone();
                let order = placed.view();
                assert_eq!(order.customer_id, wanted.customer_id);
                assert_eq!(order.receipt, *receipt);
                Ok(receipt.offset)
            }
            Err(Refused::Conflict) => Err("conflict".into()),
            Err(Refused::Failed(failure)) => Err(failure.code.as_str().into()),
        });
        told.collect()
    }

    fn written(&self) -> i64 {
        self.written.load(Ordering::Relaxed)
    }
}

fn wanted(customer: &str, key: Option<&str>) -> PlaceOrder {
    let (customer_id, idempotency_key) = (customer.to_owned(), key.map(str::to_owned));
    PlaceOrder { customer_id, idempotency_key, order: order() }
}

fn another(customer: &str, key: &str) -> PlaceOrder {
    let mut wanted = wanted(customer, Some(key));
    wanted.order.note = Some("another".into());
    wanted
}

fn refused(code: &str) -> Result<i64, String> {
    Err(code.into())
}

#[tokio::test]
async fn each_order_of_a_batch_ends_as_it_would_alone() {
    let bench = Bench::new(100).await;
    bench.placing.place(wanted("c", Some("old")), TraceContext::new_root()).await.unwrap();
    let batch = [
        wanted("c", Some("a")),
        wanted("c", Some("old")),
        another("c", "old"),
        wanted("c", None),
        wanted("gone", Some("a")),
        wanted("lost", None),
        wanted("c", Some("a")),
        another("c", "a"),
        wanted("d", Some("a")),
        wanted("c", None),
    ];
    let told = bench.place_all(&batch).await;
    let lost = refused("OUTCOME_UNKNOWN");
    let (conflict, full) = (refused("conflict"), refused("OVERLOADED"));
    let expected =
        [Ok(1), Ok(0), conflict.clone(), Ok(2), full, lost, Ok(1), conflict, Ok(3), Ok(4)];
    assert_eq!(told, expected);
    assert_eq!(bench.written(), 5);
    let again = bench.place_all(&batch[..2]).await;
    assert_eq!((again, bench.written()), (vec![Ok(1), Ok(0)], 5));
}

#[tokio::test]
async fn what_the_order_store_knows_is_not_placed_again_in_a_batch() {
    let bench = Bench::new(100).await;
    let known = wanted("c", Some("known"));
    let event = event(known.order_id(), known.clone());
    let timestamp = event.occurred_at;
    let at = Recorded { topic: "orders".into(), partition: 3, offset: 41, timestamp };
    bench.store.apply(&[Applied { at, event: Some(AnyEvent::Order(event)) }]).await.unwrap();
    let batch = [wanted("c", Some("new")), known, another("c", "known"), wanted("c", Some("b"))];
    let told = bench.place_all(&batch).await;
    assert_eq!(told, [Ok(0), Ok(41), refused("conflict"), Ok(1)]);
    assert_eq!(bench.written(), 2);
}

#[tokio::test]
async fn a_batch_is_placed_where_nothing_more_can_be_remembered() {
    let bench = Bench::new(2).await;
    let keys = ["a", "b", "c", "d"].map(|key| wanted("c", Some(key)));
    assert_eq!(bench.place_all(&keys).await.iter().filter(|told| told.is_ok()).count(), 4);
    assert_eq!(bench.written(), 4);
    assert!(bench.place_all(&[]).await.is_empty());
}

#[tokio::test]
async fn a_batch_goes_on_when_its_client_is_gone() {
    let bench = Bench::new(100).await;
    let batch = [wanted("c", Some("a")), wanted("c", Some("b"))];
    let traced = batch.iter().map(|one| (one.clone(), TraceContext::new_root())).collect();
    let mut placing = Box::pin(bench.placing.place_all(traced));
    assert!(futures_util::poll!(&mut placing).is_pending(), "the store is asked first");
    drop(placing);
    assert!(bench.place_all(&batch).await.iter().all(Result::is_ok));
    assert_eq!(bench.written(), 2);
}
