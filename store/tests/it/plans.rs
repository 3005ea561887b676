//! What PostgreSQL reads for a list.

use std::time::Duration;

use comanda_schemas::OrderEventType;
use comanda_store::{Cursor, Filter, Options, OrderStatus, Page, Store};
use sqlx::{Connection as _, PgConnection};

use crate::TestStore;
use crate::harness::{eventually, postgres};
use crate::samples::{Log, asked, order_id, seconds};

const LIMIT: Duration = Duration::from_secs(60);

/// Among 20,000 orders, nearly all paid; the few pending ones are the oldest.
#[tokio::test]
async fn a_page_of_a_list_reads_little_more_than_it_shows() {
    const ORDERS: &str = "
        INSERT INTO order_states SELECT gen_random_uuid(), 'c-' || n % 200,
            CASE WHEN n < 5 THEN 'PENDING' WHEN n % 50 = 0 THEN 'REFUNDED' ELSE 'PAID' END,
            CASE WHEN n < 5 THEN 'UNKNOWN' ELSE 'SUCCEEDED' END, 'pi_' || n,
            n * 1000000::bigint, n * 1000000::bigint, NULL, gen_random_uuid(),
            (SELECT body FROM order_states WHERE body <> '' LIMIT 1)
        FROM generate_series(0, 19999) AS n;
        ANALYZE order_states";
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    let mut log = Log::default();
    log.order(asked("k", 1, OrderEventType::Placed));
    test.store.apply(&log.records).await.unwrap();
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
    test.execute("DROP INDEX states_by_status").await;
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
             WHERE t.relname = 'order_states' HAVING sum(i.idx_scan) + max(t.seq_scan) > 0",
        )
        .fetch_optional(&mut statistics)
        .await
        .unwrap();
        counted
    })
    .await
}
