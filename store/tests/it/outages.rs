//! A PostgreSQL that is locked, killed, or falls silent.

use std::net::Ipv4Addr;
use std::time::Duration;

use comanda_schemas::{OrderEventType, PaymentEventType};
use comanda_store::{Options, OrderStatus, Store};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::eventually;
use crate::harness::postgres::{self, Postgres};
use crate::samples::{Log, asked, order_id, result};
use crate::{TestStore, options};

const LIMIT: Duration = Duration::from_secs(60);

/// A projector that stands still, with its transaction open.
#[tokio::test]
async fn who_waits_for_a_lock_gives_up_in_time_and_succeeds_later() {
    let Some(server) = postgres::shared().await else { return };
    let test = TestStore::postgres(server).await;
    let mut other = PgConnection::connect(&test.options.url).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock('applied_offsets'::regclass::oid::int4, 0)")
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
