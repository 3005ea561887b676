//! What PostgreSQL alone can do, or go wrong with.

use std::net::Ipv4Addr;
use std::time::Duration;

use comanda_schemas::{OrderEventType, PaymentEventType};
use comanda_store::{
    Applied, Cursor, Filter, Options, OrderStatus, Page, Position, Recorded, Store,
};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::eventually;
use crate::harness::postgres::{self, Postgres};
use crate::samples::{Log, asked, order_id, result, seconds};
use crate::{TestStore, options};

const LIMIT: Duration = Duration::from_secs(60);

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

/// A projector that stands still, with its transaction open.
#[tokio::test]
async fn who_waits_for_a_lock_gives_up_in_time_and_succeeds_later() {
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    let mut other = PgConnection::connect(&test.options.url).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock('positions'::regclass::oid::int4, 0)")
        .execute(&mut *transaction)
        .await
        .unwrap();

    let options = Options { statement_timeout_ms: 200, ..test.options.clone() };
    let store = Store::open(&options).await.unwrap();
    let mut log = Log::default();
    log.order(asked("k", 1, OrderEventType::Placed));
    let error = store.apply(&log.records).await.unwrap_err();
    assert!(error.is_passing(), "{error:?}");
    assert_eq!(store.order(order_id("k")).await.unwrap(), None, "readers are not held up");

    transaction.rollback().await.unwrap();
    store.apply(&log.records).await.unwrap();
    assert!(store.order(order_id("k")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_is_killed_is_an_error_until_it_is_back() {
    if !postgres::is_available() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    let url = server.create_database().await;
    let patient = Options { busy_timeout_ms: 500, ..options(url) };
    let store = Store::open(&patient).await.unwrap();
    let mut log = Log::default();
    log.order(asked("k", 1, OrderEventType::Placed));
    store.apply(&log.records).await.unwrap();

    server.kill9();
    assert!(store.order(order_id("k")).await.unwrap_err().is_passing());
    assert!(store.apply(&log.records).await.unwrap_err().is_passing());
    assert!(Store::open(&patient).await.unwrap_err().is_passing());

    server.restart().await.unwrap();
    log.payment(result(&asked("k", 1, OrderEventType::Placed), PaymentEventType::Succeeded));
    eventually("the batch is applied", LIMIT, async || store.apply(&log.records).await.ok()).await;
    let order = eventually("it is read", LIMIT, async || store.order(order_id("k")).await.ok());
    assert_eq!(order.await.unwrap().status, OrderStatus::Paid);
}

/// The network, or the server, has gone without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_given_up_and_used_again_when_it_speaks() {
    let Some(server) = postgres::shared().await else { return };
    let url = server.create_database().await;
    let line = Line::to(&url).await;
    let options = Options {
        busy_timeout_ms: 300,
        statement_timeout_ms: 300,
        max_connections: 1,
        ..options(line.url.clone())
    };
    let store = Store::open(&Options { busy_timeout_ms: 10_000, ..options.clone() }).await.unwrap();
    let mut log = Log::default();
    log.order(asked("k", 1, OrderEventType::Placed));
    store.apply(&log.records).await.unwrap();
    store.order(order_id("k")).await.unwrap();

    line.is_silent.send_replace(true);
    assert!(store.order(order_id("k")).await.unwrap_err().is_passing());
    assert!(store.apply(&log.records).await.unwrap_err().is_passing());
    assert!(Store::open(&options).await.unwrap_err().is_passing());

    line.is_silent.send_replace(false);
    eventually("it is read", LIMIT, async || store.order(order_id("k")).await.ok()).await;
    eventually("it is written", LIMIT, async || store.apply(&log.records).await.ok()).await;
}

/// Stands between a server and its clients.
struct Line {
    /// URL of the database, through it.
    url: String,
    /// Whether it carries nothing from the server.
    is_silent: watch::Sender<bool>,
}

impl Line {
    /// Leads to the database at `url`.
    async fn to(url: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (_, place) = url.split_once('@').unwrap();
        let server = place.split_once('/').unwrap().0.to_owned();
        let url = url.replace(&server, &listener.local_addr().unwrap().to_string());
        let (is_silent, silent) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, silent) = (server.clone(), silent.clone());
                tokio::spawn(async move {
                    carry(client, TcpStream::connect(server).await?, silent).await
                });
            }
        });
        Self { url, is_silent }
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    mut silent: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asked = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut buffer = [0; 8192];
    loop {
        let read = from_server.read(&mut buffer).await?;
        if read == 0 || silent.wait_for(|silent| !silent).await.is_err() {
            break;
        }
        to_client.write_all(&buffer[..read]).await?;
    }
    asked.abort();
    Ok(())
}

/// Among 20,000 orders, nearly all paid; the few pending ones are the oldest.
#[tokio::test]
async fn a_page_of_a_list_reads_little_more_than_it_shows() {
    const ORDERS: &str = "
        INSERT INTO orders SELECT gen_random_uuid(), 'c-' || n % 200,
            CASE WHEN n < 5 THEN 'PENDING' WHEN n % 50 = 0 THEN 'REFUNDED' ELSE 'PAID' END,
            n * 1000000::bigint
        FROM generate_series(0, 19999) AS n;
        ANALYZE orders";
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    test.execute(ORDERS).await;
    let middle = Cursor { placed_at: seconds(10_000), id: order_id("k") };
    let customer = || Some("c-7".to_owned());
    use OrderStatus::{Cancelled, Paid, Pending, Refunded};
    for filter in [
        Filter::default(),
        Filter { customer_id: customer(), ..Filter::default() },
        Filter { statuses: vec![Pending], ..Filter::default() },
        Filter { statuses: vec![Pending, Cancelled, Refunded], ..Filter::default() },
        Filter { statuses: OrderStatus::ALL.to_vec(), ..Filter::default() },
        Filter { customer_id: customer(), statuses: vec![Pending, Paid], ..Filter::default() },
        Filter {
            statuses: vec![Paid],
            placed_after: Some(seconds(100)),
            placed_before: Some(seconds(15_000)),
            ..Filter::default()
        },
    ] {
        for page in [
            Page::Forward { first: 20, after: None },
            Page::Forward { first: 20, after: Some(middle) },
            Page::Backward { last: 20, before: None },
            Page::Backward { last: 20, before: Some(middle) },
        ] {
            let read = rows_read(&test.options, &filter, page).await;
            assert!(read <= 250, "{read} rows read for {page:?} of {filter:?}");
        }
    }
    test.execute("DROP INDEX orders_by_status").await;
    let pending = Filter { statuses: vec![Pending], ..Filter::default() };
    let page = Page::Forward { first: 20, after: None };
    assert!(rows_read(&test.options, &pending, page).await >= 20_000, "what is read is counted");
}

/// Rows of `orders`, and entries of its indexes, that a page takes to read.
async fn rows_read(options: &Options, filter: &Filter, page: Page) -> i64 {
    let mut statistics = PgConnection::connect(&options.url).await.unwrap();
    sqlx::query("SELECT pg_stat_reset()").execute(&mut statistics).await.unwrap();
    let store = Store::open(options).await.unwrap();
    store.orders(filter, page).await.unwrap();
    // The server counts what a connection did when that ends, at the latest.
    store.close().await;
    eventually("the page is counted", LIMIT, async || {
        let counted: Option<i64> = sqlx::query_scalar(
            "SELECT (sum(i.idx_tup_read) + max(t.seq_tup_read))::bigint \
             FROM pg_stat_user_tables AS t JOIN pg_stat_user_indexes AS i USING (relid) \
             WHERE t.relname = 'orders' HAVING sum(i.idx_scan) + max(t.seq_scan) > 0",
        )
        .fetch_optional(&mut statistics)
        .await
        .unwrap();
        counted
    })
    .await
}
