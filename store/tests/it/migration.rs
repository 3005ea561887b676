//! From the first form of the store, as the build at b7fc618 wrote it, to this one's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use comanda_schemas::{OrderEvent, OrderEventType, OrderId, Timestamp};
use comanda_store::{AnyEvent, Contents, Error, Options, Scope, Store, StoredEvent, fold};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::harness::eventually;
use crate::samples::{asked, seconds};
use crate::{TestStore, execute};

/// What the old build wrote: rows of `events`, `orders` and `positions`.
const FIXTURE: &str = include_str!("first_form.sql");
/// Customer of one of its orders.
const CUSTOMER: &str = "c\0\\'\"ç";
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A store of the last build's form, with `rows`, that is not open.
async fn of_first_form(test: &TestStore, rows: &str) {
    test.store.close().await;
    // The second form came with the last but one.
    let second = "(SELECT max(version) - 1 FROM _sqlx_migrations)";
    test.execute(&format!(
        "DROP TABLE facts; DROP TABLE contents; DROP TABLE order_states; \
         DROP TABLE applied_offsets; DROP TABLE unfinished; DROP TABLE topic_ids; \
         DELETE FROM _sqlx_migrations WHERE version >= {second}; {rows}"
    ))
    .await;
}

fn fixture(test: &TestStore) -> String {
    let customer = match test.options.url.starts_with("sqlite:") {
        // Its text in SQL can't have a NUL.
        true => "'||'c'||char(0)||'\\''\"ç'||'",
        false => "c\\0\\\\''\"ç",
    };
    FIXTURE.replace("@customer@", customer)
}

/// Rows of the old form: ids, and what else is compared.
async fn rows(url: &str, sql: &str) -> Vec<(String, String, i64, Option<i64>)> {
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap()
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap()
    }
}

/// Everything of the old form is in `store`.
async fn has_all(test: &TestStore, store: &Store) {
    let cast = if test.options.url.starts_with("sqlite:") { "TEXT" } else { "text" };
    let old = rows(
        &test.options.url,
        &format!("SELECT CAST(order_id AS {cast}), status, placed_at, waiting_since FROM orders"),
    )
    .await;
    assert!(!old.is_empty());
    for (id, status, placed_at, waiting_since) in old {
        let id: OrderId = id.parse().unwrap();
        let state = store.state(id).await.unwrap().expect("it is copied");
        assert_eq!(state.status.as_str(), status);
        assert_eq!(state.placed_at, Timestamp::from_micros(placed_at));
        assert_eq!(state.waiting_since, waiting_since.map(Timestamp::from_micros));
    }
    let events = rows(
        &test.options.url,
        &format!("SELECT CAST(order_id AS {cast}), payload, record_offset, NULL FROM events"),
    )
    .await;
    let mut facts: HashMap<OrderId, Vec<StoredEvent>> = HashMap::new();
    for (id, payload, offset, _) in events {
        let id: OrderId = id.parse().unwrap();
        if let Entry::Vacant(entry) = facts.entry(id) {
            entry.insert(store.facts(id, Contents::All).await.unwrap());
        }
        let wanted: Value = serde_json::from_str(&payload).unwrap();
        let is_there = facts[&id].iter().any(|fact| json(&fact.event) == wanted);
        assert!(is_there, "{id} {offset}: {payload}");
    }
    for (id, facts) in facts {
        assert_eq!(store.order(id).await.unwrap(), fold(&facts));
    }
}

fn json(event: &AnyEvent) -> Value {
    match event {
        AnyEvent::Order(event) => serde_json::to_value(event),
        AnyEvent::Payment(event) => serde_json::to_value(event),
        AnyEvent::Notification(event) => serde_json::to_value(event),
        AnyEvent::Report(event) => serde_json::to_value(event),
    }
    .unwrap()
}

#[tokio::test]
async fn what_the_last_build_wrote_is_there_after_the_migration() {
    for test in TestStore::each().await {
        of_first_form(&test, &fixture(&test)).await;
        let manual = Options { auto_migrate: false, ..test.options.clone() };
        assert!(matches!(Store::open(&manual).await, Err(Error::Schema { .. })));
        let migrated = Store::migrate(&manual).await.unwrap();
        assert_eq!(migrated.copied, 88);
        let store = Store::open(&manual).await.unwrap();
        has_all(&test, &store).await;
        let own = store.event_page(Scope::Customer(CUSTOMER), &[], 10).await.unwrap();
        assert_eq!(own.events.len(), 1);
        let positions = store.positions().await.unwrap();
        assert!(positions.iter().all(|position| position.next_offset > 0), "{positions:?}");

        store.drop_old_tables().await.unwrap();
        store.close().await;
        let again = Store::open(&manual).await.unwrap();
        assert_eq!(again.positions().await.unwrap(), positions);
    }
}

/// Orders of one partition, more than one transaction copies.
fn many(from: usize, to: usize) -> String {
    let mut rows = String::new();
    for n in from..to {
        let event = asked(&format!("m-{n}"), 1, OrderEventType::Placed);
        let OrderEvent { event_id, order_id, .. } = &event;
        let payload = serde_json::to_string(&event).unwrap();
        let at = seconds(1).as_micros();
        rows.push_str(&format!(
            "INSERT INTO events (event_id, order_id, kind, topic, partition_id, record_offset, \
             recorded_at, payload) VALUES ('{event_id}', '{order_id}', 'order', 'orders', 7, {n}, \
             {at}, '{payload}'); \
             INSERT INTO orders (order_id, customer_id, status, placed_at, waiting_since) VALUES \
             ('{order_id}', 'c-1', 'PENDING', 10000000, 10000000);"
        ));
    }
    rows
}

/// The future that is dropped leaves what a process leaves that is killed: a transaction that was
/// not committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_cut_off_goes_on_while_the_last_build_writes() {
    for test in TestStore::each().await {
        let position = "INSERT INTO positions (topic, partition_id, next_offset) \
                        VALUES ('orders', 7, 3000)";
        of_first_form(&test, &format!("{}{position}", many(0, 3000))).await;
        let options = test.options.clone();
        let cut = tokio::spawn(async move { Store::migrate(&options).await });
        let url = &test.options.url;
        eventually("a part is copied", LIMIT, async || {
            let done = "SELECT topic, topic, next_offset, NULL FROM applied_offsets";
            let tables = if url.starts_with("sqlite:") { "sqlite_master" } else { "pg_tables" };
            let name = if url.starts_with("sqlite:") { "name" } else { "tablename" };
            let there = format!(
                "SELECT {name}, {name}, 0, NULL FROM {tables} WHERE {name} = 'applied_offsets'"
            );
            let is_there =
                !rows(url, &there.replace(", 0,", ", CAST(0 AS bigint),")).await.is_empty();
            (is_there && !rows(url, done).await.is_empty()).then_some(())
        })
        .await;
        cut.abort();
        let _ = cut.await;

        // A reader of this build waits, one of the last build goes on, and so does its projector.
        let manual = Options { auto_migrate: false, ..test.options.clone() };
        let unfinished = Store::open(&manual).await.unwrap_err();
        assert!(matches!(unfinished, Error::Unfinished) && unfinished.is_passing(), "{unfinished}");
        let position = "UPDATE positions SET next_offset = 3200";
        execute(url, &format!("{}{position}", many(3000, 3200))).await;

        let (one, other) = tokio::join!(Store::open(&test.options), Store::open(&test.options));
        let (one, _) = (one.unwrap(), other.unwrap());
        let positions = one.positions().await.unwrap();
        assert_eq!(positions.iter().map(|p| p.next_offset).collect::<Vec<_>>(), [3200]);
        let page = comanda_store::Filter::default();
        assert_eq!(one.count(&page).await.unwrap(), None, "there are more than are counted");
        for n in [0, 1500, 2999, 3000, 3199] {
            let placed = asked(&format!("m-{n}"), 1, OrderEventType::Placed);
            assert!(one.state(placed.order_id).await.unwrap().is_some(), "{n}");
        }
        let mut after = Vec::new();
        let mut given = 0;
        loop {
            let page = one.event_page(Scope::All, &after, 1_000).await.unwrap();
            given += page.events.len();
            after = page.next;
            if page.is_last {
                break;
            }
        }
        assert_eq!(given, 3200);
    }
}
