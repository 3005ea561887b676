//! A schema registry with Confluent's HTTP interface, in memory.
//!
//! It has what serializers, deserializers and `comanda schemas` ask for: subjects, versions, ids,
//! look-ups, compatibility levels and checks, soft and permanent deletion. Levels are `NONE`,
//! `BACKWARD`, `FORWARD`, `FULL` and their `_TRANSITIVE` forms; the global one starts as
//! `FULL_TRANSITIVE`. Only Avro, no schema references, contexts, modes or authentication.
//!
//! It keeps at most 10,000 schemas of 256 KiB, 64 MiB together, 10,000 subjects and as many
//! subject levels, 1,000 versions a subject; beyond that registration is refused.

mod api;
mod compat;
mod refusal;
mod schema;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::server::{self, Answer};
pub use compat::Level;
use state::State;

/// The registry, listening but not yet serving.
pub struct Service {
    listener: TcpListener,
    addr: SocketAddr,
    handle: Handle,
}

impl Service {
    /// Listens on `addr`; port 0 picks a free port.
    pub async fn bind(addr: SocketAddr) -> Result<Self, Error> {
        let (listener, addr) = server::bind(addr).await?;
        Ok(Self { listener, addr, handle: Handle::default() })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A view from inside the process.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `shutdown`.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) {
        let handle = self.handle;
        let handler = move |request| {
            let answer = api::answer(&handle, &request);
            async { Answer::Send(answer) }
        };
        server::serve(self.listener, handler, shutdown).await;
    }
}

/// What the registry holds; clones share it.
#[derive(Clone, Default)]
pub struct Handle {
    state: Arc<Mutex<State>>,
}

impl Handle {
    /// Subjects with a version that is not deleted, by name.
    pub fn subjects(&self) -> Vec<String> {
        self.state().subjects("", false)
    }

    /// The text under `id`, as it was first registered.
    pub fn schema(&self, id: u32) -> Option<String> {
        self.state().text(id).map(str::to_owned)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
