//! How PostgreSQL is opened.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::session::within;
use crate::{Error, Options};

/// What the URL of a PostgreSQL store begins with.
pub(crate) const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// A connection that was idle for longer is asked whether it still works before it is used.
const FRESH: Duration = Duration::from_secs(1);
/// A commit that a crash of the server took back would be lost for good: the projector, which goes
/// on, reads nothing twice. Any other value but `off` is the operator's to choose.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') = 'off'";

/// How to connect.
pub(crate) fn parse(options: &Options) -> Result<PgConnectOptions, Error> {
    let connect: PgConnectOptions =
        options.url.parse().map_err(|source| Error::Url(Some(source)))?;
    Ok(match connect.get_application_name() {
        Some(_) => connect,
        None => connect.application_name("comanda"),
    })
}

/// A connection outside the pools, on which a statement may take as long as it needs.
pub(crate) async fn connect(
    connect: &PgConnectOptions,
    options: &Options,
) -> Result<PgConnection, Error> {
    within(options.patience(), connect.connect()).await.map_err(Error::Open)
}

/// The pool of the writer, then those of the readers by key, of orders and of lists; nothing is
/// connected yet.
pub(crate) fn pools(connect: PgConnectOptions, options: &Options) -> [PgPool; 4] {
    let pool = |connections| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(options.patience())
            // Asking a busy connection each time would be a round trip more for each statement.
            .test_before_acquire(false)
            .before_acquire(|connection, idle| {
                Box::pin(async move {
                    if idle.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
    };
    let limit = options.statement_timeout_ms;
    let connect = connect.options([("statement_timeout", limit)]);
    // A projector that stands still in the middle of a batch must not keep its locks.
    let writer = connect.clone().options([("idle_in_transaction_session_timeout", limit)]);
    let readers = connect.options([("default_transaction_read_only", "on")]);
    let writer = pool(1)
        .after_connect(|connection, _| {
            Box::pin(async { sqlx::query(DURABLE).execute(connection).await.map(|_| ()) })
        })
        .connect_lazy_with(writer);
    let [keyed, orders, lists] =
        options.readers().map(|count| pool(count).connect_lazy_with(readers.clone()));
    [writer, keyed, orders, lists]
}
