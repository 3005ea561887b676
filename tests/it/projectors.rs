//! Several projectors that share the partitions, on a real Kafka.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use comanda_schemas::{
    Event, NotificationEvent, OrderEvent, OrderId, PaymentEvent, Timestamp, Topic,
};
use comanda_store::{
    AnyEvent, Applied, Cursor, Filter, Options, OrderStatus, Page, Recorded, Store,
};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::engine::place;
use crate::harness::installation::{Installation, sqlite_url};
use crate::harness::postgres;
use crate::harness::{self, eventually};

const LIMIT: Duration = Duration::from_secs(90);
const ORDERS: usize = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn projectors_that_are_killed_and_frozen_leave_a_sqlite_store_that_says_what_the_topics_say()
{
    let Some(parts) = harness::real_parts().await else { return };
    kill_and_freeze(Installation::new(parts, "projectors").await).await;
}

/// Here they write at the same time; the locks of a frozen one end with its session.
#[tokio::test(flavor = "multi_thread")]
async fn projectors_that_are_killed_and_frozen_leave_a_postgresql_that_says_what_the_topics_say() {
    let Some(server) = postgres::shared().await else { return };
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "projectors").await;
    installation.use_store(server.create_database().await);
    kill_and_freeze(installation).await;
}

/// One that stood still while others took its partitions writes what it had read, late.
async fn kill_and_freeze(mut installation: Installation) {
    let _alone = harness::heavy().await;
    let gives_locks_back = installation.store_url().starts_with("postgres");
    let (_provider, _) = installation.start_provider(&[]).await;
    // Small, so that each kill meets a batch.
    installation.set("projector.batch_records=20".to_owned());
    let store = open(installation.store_url()).await;
    let _payment = installation.start(&["payment"]);
    let mut first = installation.start(&["projector"]);
    let mut second = installation.start(&["projector"]);
    readers_become(&installation, 2).await;

    for (share, fault) in [(1, Fault::Kill), (2, Fault::Freeze), (3, Fault::None)] {
        place(&installation, ORDERS / 3).await;
        let wanted = ORDERS as i64 * (2 * share - 1) / 6;
        eventually("the projectors are in the middle of it", LIMIT, async || {
            (read(&store, &installation.names.name(Topic::Orders)).await >= wanted).then_some(())
        })
        .await;
        match fault {
            Fault::Kill => {
                first.kill9();
                first = installation.start(&["projector"]);
            }
            Fault::Freeze => {
                second.pause();
                readers_become(&installation, 1).await;
                // SQLite's lock, if it holds it, is given back when it goes on.
                if gives_locks_back {
                    has_read_all::<OrderEvent>(&installation, &store).await;
                }
                second.unpause();
            }
            Fault::None => {}
        }
    }
    installation.consumed_whole(LIMIT).await;
    has_read_all::<OrderEvent>(&installation, &store).await;
    has_read_all::<PaymentEvent>(&installation, &store).await;

    let reference = reference(&installation).await;
    let ids: HashSet<OrderId> =
        installation.events::<OrderEvent>().await.iter().map(|event| event.order_id).collect();
    assert_eq!(ids.len(), ORDERS);
    for id in ids {
        let order = store.order(id).await.unwrap();
        assert_eq!(order, reference.order(id).await.unwrap(), "{id}");
        assert_eq!(order.unwrap().status, OrderStatus::Paid);
    }
    let listed = listed_as_paid(&store).await;
    assert_eq!(listed, listed_as_paid(&reference).await);
    assert_eq!(listed.len(), ORDERS);
}

/// Ids of the paid orders, as lists show them.
async fn listed_as_paid(store: &Store) -> Vec<OrderId> {
    let filter = Filter { statuses: vec![OrderStatus::Paid], ..Filter::default() };
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = Page::Forward { first: 1_000, after };
        let listing = store.orders(&filter, page).await.unwrap();
        ids.extend(listing.orders.iter().map(|order| order.id));
        match listing.orders.last() {
            Some(last) if listing.has_next => {
                after = Some(Cursor { placed_at: last.placed_at, id: last.id });
            }
            _ => return ids,
        }
    }
}

/// What happens to a projector in the middle of its work.
enum Fault {
    None,
    /// Kill −9, and a new one in its place.
    Kill,
    /// It stands still until the group has shut it out.
    Freeze,
}

/// The store at `url`.
pub async fn open(url: &str) -> Store {
    let options = Options {
        url: url.to_owned(),
        max_connections: 2,
        keyed_connections: 2,
        busy_timeout_ms: 30_000,
        statement_timeout_ms: 30_000,
        auto_migrate: true,
    };
    Store::open(&options).await.unwrap()
}

/// Waits until `wanted` readers of the orders topic share its partitions.
async fn readers_become(installation: &Installation, wanted: usize) {
    let group = installation.names.projector_group(Topic::Orders);
    let config = installation.parts.kafka.options().client_config("it-members");
    let client: Arc<BaseConsumer> = Arc::new(config.create().unwrap());
    eventually(&format!("projectors that share the partitions: {wanted}"), LIMIT, async || {
        let (client, group) = (client.clone(), group.clone());
        let busy = move || {
            let groups = client.fetch_group_list(Some(&group), Duration::from_secs(10)).ok()?;
            let members = groups.groups().first()?.members();
            Some(members.iter().filter(|member| has_topics(member.assignment())).count())
        };
        (tokio::task::spawn_blocking(busy).await.unwrap()? == wanted).then_some(())
    })
    .await;
}

/// Whether a member's assignment names a topic: a version, then the number of topics (Kafka's
/// ConsumerProtocolAssignment).
fn has_topics(assignment: Option<&[u8]>) -> bool {
    let count = assignment.and_then(|bytes| bytes.get(2..6)?.try_into().ok());
    count.is_some_and(|count| i32::from_be_bytes(count) > 0)
}

/// Records of a topic that the store has read.
async fn read(store: &Store, topic: &str) -> i64 {
    let positions = store.positions().await.unwrap();
    positions.iter().filter(|p| p.topic == topic).map(|p| p.next_offset).sum()
}

/// Waits until the store has read the last record of each partition.
pub async fn has_read_all<E: Event>(installation: &Installation, store: &Store) {
    let topic = installation.names.name(E::TOPIC);
    let mut last: HashMap<i32, i64> = HashMap::new();
    for record in installation.records(&topic).await {
        let end = last.entry(record.partition()).or_default();
        *end = record.offset().max(*end);
    }
    for (partition, offset) in last {
        eventually(&format!("{topic} is read to its end"), LIMIT, async || {
            store.passed(&topic, partition, offset).await.unwrap().then_some(())
        })
        .await;
    }
}

/// A store of its own, to which each record was applied once, in order.
pub async fn reference(installation: &Installation) -> Store {
    let store = open(&sqlite_url("reference")).await;
    apply_all::<OrderEvent>(installation, &store, AnyEvent::Order).await;
    apply_all::<PaymentEvent>(installation, &store, AnyEvent::Payment).await;
    apply_all::<NotificationEvent>(installation, &store, AnyEvent::Notification).await;
    store
}

async fn apply_all<E: Event>(
    installation: &Installation,
    store: &Store,
    kind: impl Fn(E) -> AnyEvent,
) {
    let registry = installation.parts.registry.client();
    let mut batch = Vec::new();
    for record in installation.records(&installation.names.name(E::TOPIC)).await {
        let event = registry.read(record.payload().expect("a value")).await.unwrap();
        let at = Recorded {
            topic: record.topic().to_owned(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp: Timestamp::from_millis(record.timestamp().to_millis().unwrap()),
        };
        batch.push(Applied { at, event: Some(kind(event)) });
    }
    for part in batch.chunks(500) {
        store.apply(part).await.unwrap();
    }
}
