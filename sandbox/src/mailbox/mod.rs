//! A mail provider shaped like Resend's that sends nothing: it keeps the mails and shows them.
//!
//! `POST /emails` takes a mail as Resend does (JSON, `Authorization: Bearer …` with any token,
//! `Idempotency-Key`) and answers `{"id": …}`. A key given again with the same body gets the
//! first id and adds no mail; with another body, a 409. An address at `bounce.invalid` is
//! refused. Attachments, headers, tags and schedules are not kept.
//!
//! `/` lists the mails for people, newest first. For programs: `GET /api/mails` lists them
//! oldest first (`to=` an address, `limit=` up to 1,000, `after=` the last id seen), `GET
//! /api/mails/{id}` gives one, `DELETE /api/mails` forgets the mails but not the keys.
//!
//! It keeps the latest 100,000 mails, at most 256 MiB of them, and the latest 100,000
//! idempotency keys (Resend forgets keys after 24 hours); counters tell what was dropped.

mod api;
mod mail;
mod page;
mod store;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::server::{self, Answer};
pub use mail::{Address, Mail};
pub use store::Counts;
use store::Store;

/// The mailbox, listening but not yet serving.
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

    /// Base URL, of the interfaces and of the page.
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

/// What the mailbox holds; clones share it.
#[derive(Clone, Default)]
pub struct Handle {
    store: Arc<Mutex<Store>>,
}

impl Handle {
    /// The mails that are kept, oldest first.
    pub fn mails(&self) -> Vec<Arc<Mail>> {
        self.store().mails()
    }

    /// How many mails came, are kept, were dropped.
    pub fn counts(&self) -> Counts {
        self.store().counts()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
