//! Tests of the store through real SQLite files.

mod apply;
mod backfill;
mod listing;
pub(crate) mod samples;

use tempfile::TempDir;

use crate::{Options, Store};

/// A store in a folder that goes when this is dropped.
pub struct TestStore {
    pub store: Store,
    pub options: Options,
    _folder: TempDir,
}

impl TestStore {
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("orders.db").display());
        let options = Options { url, max_connections: 2, busy_timeout_ms: 10_000 };
        let store = Store::open(&options).await.unwrap();
        Self { store, options, _folder: folder }
    }
}

/// Runs an async body within a property's case.
pub fn block_on<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body)
}
