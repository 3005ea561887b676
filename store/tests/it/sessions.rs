//! How a store uses PostgreSQL: rights, settings of its connections, schemas.

use comanda_schemas::OrderEventType;
use comanda_store::{Options, Store};

use crate::harness::{postgres, unique};
use crate::samples::{Log, asked, order_id};
use crate::{TestStore, execute, options};

/// An order that was just placed.
fn placed() -> Log {
    let mut log = Log::default();
    log.order(asked("k", 1, OrderEventType::Placed));
    log
}

#[tokio::test]
async fn a_gateway_needs_no_right_but_to_read() {
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    test.store.apply(&placed().records).await.unwrap();
    let reader = unique("reader").trim_end_matches('-').replace('-', "_");
    let grant = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO";
    test.execute(&format!("CREATE ROLE {reader} LOGIN; {grant} {reader}")).await;

    let url = test.options.url.replace("comanda@", &format!("{reader}@"));
    let store = Store::open(&options(url)).await.unwrap();
    assert!(store.order(order_id("k")).await.unwrap().is_some());
    assert!(store.apply(&placed().records).await.is_err());
}

/// What a crash of the server takes back is lost, since the projector goes on; and one that stands
/// still must not hold up the others.
#[tokio::test]
async fn commits_are_durable_and_idle_transactions_end_whatever_the_database_says() {
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    let (_, database) = test.options.url.rsplit_once('/').unwrap();
    test.execute(&format!(
        "ALTER DATABASE {database} SET synchronous_commit = off;
         CREATE TABLE seen (durable text, idle text, statement text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO seen VALUES (
                 current_setting('synchronous_commit'),
                 current_setting('idle_in_transaction_session_timeout'),
                 current_setting('statement_timeout'));
             RETURN NEW;
         END $$;
         CREATE TRIGGER note BEFORE INSERT ON applied_offsets FOR EACH ROW EXECUTE FUNCTION note()"
    ))
    .await;
    let options = Options { statement_timeout_ms: 7_000, ..test.options.clone() };
    Store::open(&options).await.unwrap().apply(&placed().records).await.unwrap();
    test.execute(
        "DO $$ BEGIN
             ASSERT (SELECT (durable, idle, statement) = ('on', '7s', '7s') FROM seen);
         END $$",
    )
    .await;
}

#[tokio::test]
async fn two_stores_can_share_a_database() {
    let Some(server) = postgres::shared().await else { return };
    let url = server.create_database().await;
    execute(&url, "CREATE SCHEMA one; CREATE SCHEMA two").await;
    let open = async |schema: &str| {
        Store::open(&options(format!("{url}?options[search_path]={schema}"))).await.unwrap()
    };
    let (one, two) = (open("one").await, open("two").await);
    one.apply(&placed().records).await.unwrap();
    assert!(one.order(order_id("k")).await.unwrap().is_some());
    assert_eq!(two.order(order_id("k")).await.unwrap(), None);
    assert_eq!(two.positions().await.unwrap(), []);
}
