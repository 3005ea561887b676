use comanda_store::{Error, Migrated, Options, Store};

use crate::{TestStore, harness, options, sqlite_url};

/// The newest version of each schema.
const NEWEST: [i64; 2] = [5, 4];

/// A new, empty database of each kind.
async fn empty_databases() -> (Vec<Options>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut urls = vec![sqlite_url(&folder)];
    if let Some(server) = harness::postgres::shared().await {
        urls.push(server.create_database().await);
    }
    (urls.into_iter().map(options).collect(), folder)
}

#[tokio::test]
async fn processes_that_open_a_new_store_at_once_all_succeed() {
    let (databases, _folder) = empty_databases().await;
    for options in databases {
        open_at_once(&options).await;
    }
}

/// SQLite's own wait for a lock does not cover the change of a new file's journal.
#[tokio::test]
async fn processes_that_open_a_new_file_at_once_all_succeed_each_time() {
    for _ in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        open_at_once(&options(sqlite_url(&folder))).await;
    }
}

async fn open_at_once(options: &Options) {
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { Store::open(&options).await })
        })
        .collect();
    for opened in opening {
        let store = opened.await.unwrap().unwrap();
        assert_eq!(store.positions().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_url_that_names_no_database_is_refused() {
    for url in [
        "orders.db",
        "sqlite::memory:",
        "sqlite://",
        "sqlite://x?mode=memory",
        "mysql://x",
        "postgres://h:port/x",
    ] {
        let options = options(url.into());
        assert!(matches!(options.validate(), Err(Error::Url(_))), "{url}");
        assert!(matches!(Store::open(&options).await, Err(Error::Url(_))), "{url}");
    }
    for url in ["sqlite://orders.db", "postgres://h/x", "postgresql://u:p@h:1/x?sslmode=require"] {
        options(url.into()).validate().unwrap();
    }
    let none = Options { max_connections: 0, ..options("sqlite://orders.db".into()) };
    assert!(matches!(none.validate(), Err(Error::Settings)));
}

#[tokio::test]
async fn what_is_missing_is_told_from_what_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/missing/orders.db", folder.path().display());
    let error = Store::open(&options(url)).await.unwrap_err();
    assert!(matches!(&error, Error::Open(_)) && !error.is_passing(), "{error:?}");

    let [nobody] = harness::free_ports().unwrap();
    let url = format!("postgres://comanda@127.0.0.1:{nobody}/orders");
    let error = Store::open(&options(url)).await.unwrap_err();
    assert!(matches!(&error, Error::Open(_)) && error.is_passing(), "{error:?}");

    let Some(server) = harness::postgres::shared().await else { return };
    let error = Store::open(&options(server.url("missing"))).await.unwrap_err();
    assert!(matches!(&error, Error::Open(_)) && !error.is_passing(), "{error:?}");
}

#[tokio::test]
async fn an_older_schema_is_migrated_only_where_that_is_allowed() {
    let (databases, _folder) = empty_databases().await;
    for (options, to) in databases.into_iter().zip(NEWEST) {
        let manual = Options { auto_migrate: false, ..options };
        let refused = Store::open(&manual).await.unwrap_err();
        assert!(matches!(refused, Error::Schema { found: 0, .. }), "{refused:?}");
        assert!(refused.to_string().contains("comanda store migrate"), "{refused}");
        assert!(!refused.is_passing());

        assert_eq!(Store::migrate(&manual).await.unwrap(), Migrated { from: 0, to, copied: 0 });
        assert_eq!(Store::migrate(&manual).await.unwrap(), Migrated { from: to, to, copied: 0 });
        Store::open(&manual).await.unwrap().positions().await.unwrap();
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_build_is_refused_and_left_alone() {
    for test in TestStore::each().await {
        let newer = "INSERT INTO _sqlx_migrations \
                     (version, description, success, checksum, execution_time) \
                     VALUES (99, 'of a newer build', true, '', 0)";
        test.execute(newer).await;
        let refused = Store::open(&test.options).await.unwrap_err();
        assert!(matches!(refused, Error::Schema { found: 99, .. }), "{refused:?}");
        assert!(refused.to_string().contains("newer build"), "{refused}");
        assert!(matches!(Store::migrate(&test.options).await, Err(Error::Schema { .. })));
    }
}

#[tokio::test]
async fn a_database_that_does_not_take_every_text_is_refused() {
    let Some(server) = harness::postgres::shared().await else { return };
    let url = server.create_database().await;
    let (server_url, name) = url.rsplit_once('/').unwrap();
    let latin = format!("{name}_latin");
    let create = format!("CREATE DATABASE {latin} ENCODING 'LATIN1' TEMPLATE template0");
    crate::execute(&url, &create).await;
    let options = options(format!("{server_url}/{latin}"));
    for refused in [Store::open(&options).await.err(), Store::migrate(&options).await.err()] {
        let Some(error) = refused else { panic!("it is opened") };
        assert!(
            matches!(&error, Error::Encoding { encoding } if encoding == "LATIN1"),
            "{error:?}"
        );
        assert!(!error.is_passing());
    }
}
