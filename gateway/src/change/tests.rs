use comanda_schemas::OrderEventType;
use comanda_store::Applied;
use tempfile::TempDir;

use super::*;
use crate::publisher::Publisher;
use crate::samples::{event, parts};
use crate::{Parts, log};

/// Longer than any test may take: what waits for the store never comes to an end.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// Changes orders that are written to no Kafka, and that the store never sees.
struct Bench {
    changing: Changing,
    store: Store,
    _folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |event: &OrderEvent| {
            Ok(producer::Receipt {
                topic: "orders".into(),
                partition: 0,
                offset: 1_000 + i64::from(event.version),
                timestamp: event.occurred_at,
            })
        };
        let parts = parts(&folder, Publisher::Instead(Arc::new(write))).await;
        let Parts { producer, store, registry, kafka, names, .. } = parts;
        let log = log::Parts { kafka, names, store: store.clone() };
        let placing = Placing::start(producer, registry, log, (100, 1 << 20), FOR_EVER);
        let progress = Progress::new(store.clone());
        let (memory, bounds) = ((100, FOR_EVER), Bounds { versions: 100, open: 5 });
        let changing = Changing::new(&placing, store.clone(), progress, memory, FOR_EVER, bounds);
        Self { changing, store, _folder: folder }
    }

    /// Has the store see an order of the customer `c`.
    async fn stored(&self) -> OrderId {
        let id = OrderId::derive("c", "k");
        let timestamp = Timestamp::now();
        let at = Recorded { topic: "orders".into(), partition: 0, offset: 0, timestamp };
        let event = Some(AnyEvent::Order(event(id, OrderEventType::Placed)));
        self.store.apply(&[Applied { at, event }]).await.unwrap();
        id
    }

    async fn ask(&self, customer: &str, id: OrderId, change: Change) -> Result<Changed, Refused> {
        let ask = Ask { order_id: Some(id), expected_version: None, receipt: None, change };
        let principal = Principal::Customer(customer.into());
        self.changing.change(&principal, ask, TraceContext::new_root()).await
    }
}

fn changes() -> [Change; 3] {
    let edit = crate::input::Edit { note: Some(Some("no onions".into())), ..Default::default() };
    [Change::Update(edit), Change::Cancel { reason: None }, Change::Retry { payment_method: None }]
}

/// Neither the owner's change, which never ends here, nor the store is waited for.
#[tokio::test]
async fn a_stranger_waits_for_nothing_and_learns_nothing() {
    let bench = Bench::new().await;
    let stored = bench.stored().await;
    let (held, behind) = (bench.changing.turns.of(stored), bench.changing.turns.of(stored));
    let _turn = held.lock_owned().await;
    drop(behind);
    // Placed a moment ago, and the store has not seen it.
    let wanted = crate::input::PlaceOrder {
        customer_id: "c".into(),
        idempotency_key: Some("recent".into()),
        order: crate::samples::order(),
    };
    let recent = wanted.order_id();
    bench.changing.placing.place(wanted, TraceContext::new_root()).await.unwrap();
    let unknown = OrderId::derive("c", "none");
    for id in [stored, recent, unknown] {
        for change in changes() {
            let told = bench.ask("bob", id, change).await;
            let Err(Refused::Wrong(errors, None)) = told else { panic!("{told:?}") };
            let Err(Refused::Wrong(expected, None)) = Err::<(), _>(not_found()) else {
                unreachable!("it is what is told of no order");
            };
            assert_eq!(errors, expected);
        }
    }
    assert!(bench.changing.turns.has(stored));
    assert!(!bench.changing.turns.has(recent) && !bench.changing.turns.has(unknown));
}

/// The owner waits for its turn, and goes on once it comes.
#[tokio::test]
async fn the_owner_waits_for_its_turn() {
    let bench = Bench::new().await;
    let id = bench.stored().await;
    let turn = bench.changing.turns.of(id).lock_owned().await;
    let [update, ..] = changes();
    let mut owner = Box::pin(bench.ask("c", id, update));
    // As often as it takes until it stands behind the turn.
    while Arc::strong_count(tokio::sync::OwnedMutexGuard::mutex(&turn)) < 3 {
        assert!(futures_util::poll!(&mut owner).is_pending());
        tokio::task::yield_now().await;
    }
    drop(turn);
    assert_eq!(owner.await.unwrap().order.version, 2);
}
