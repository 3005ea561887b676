//! Turns to ask the store for what a subscriber has missed.
//!
//! A page of a catch-up is short, but many clients that come back at one time ask for many. They wait
//! here, and not for the connections of the store that lists use as well; and a client that comes back
//! with many subscriptions waits behind itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Principal;

/// Pages that are read at one time.
const AT_ONE_TIME: usize = 2;
/// Names that are kept before those that nothing waits for are swept.
const SWEEP: usize = 64;

/// Who reads a page, and who waits for a turn.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    own: Mutex<Own>,
}

#[derive(Default)]
struct Own {
    by_client: HashMap<Principal, Weak<Semaphore>>,
    sweep_at: usize,
}

/// A turn; it ends when dropped.
pub(super) struct Turn {
    _all: Option<OwnedSemaphorePermit>,
    _own: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONE_TIME)), own: Mutex::default() }
    }
}

impl Turns {
    /// Waits for a turn: first behind the client's own pages, then behind all.
    pub async fn take(&self, client: &Principal) -> Turn {
        let own = self.own_of(client);
        // Neither is ever closed.
        let _own = own.acquire_owned().await.ok();
        Turn { _all: self.all.clone().acquire_owned().await.ok(), _own }
    }

    fn own_of(&self, client: &Principal) -> Arc<Semaphore> {
        let mut own = self.lock();
        if let Some(found) = own.by_client.get(client).and_then(Weak::upgrade) {
            return found;
        }
        if own.by_client.len() >= own.sweep_at.max(SWEEP) {
            own.by_client.retain(|_, semaphore| semaphore.strong_count() > 0);
            own.sweep_at = own.by_client.len() * 2;
        }
        let semaphore = Arc::new(Semaphore::new(1));
        own.by_client.insert(client.clone(), Arc::downgrade(&semaphore));
        semaphore
    }

    fn lock(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn customer(name: &str) -> Principal {
        Principal::Customer(name.into())
    }

    #[tokio::test]
    async fn a_client_waits_behind_itself_and_all_behind_each_other() {
        let turns = Turns::default();
        let (ana, bob, eve) = (customer("ana"), customer("bob"), customer("eve"));
        let first = turns.take(&ana).await;
        let mut second = Box::pin(turns.take(&ana));
        assert!((&mut second).now_or_never().is_none(), "ana has a turn");
        let other = turns.take(&bob).now_or_never().expect("a turn is left");
        let mut third = Box::pin(turns.take(&eve));
        assert!((&mut third).now_or_never().is_none(), "both turns are taken");
        drop(first);
        assert!((&mut second).now_or_never().is_none(), "eve was there before");
        let third = (&mut third).now_or_never().expect("ana's turn is over");
        drop((other, third));
        assert!((&mut second).now_or_never().is_some());
    }

    #[tokio::test]
    async fn clients_that_are_gone_leave_nothing_behind() {
        let turns = Turns::default();
        for n in 0..10 * SWEEP {
            drop(turns.take(&customer(&n.to_string())).await);
        }
        assert!(turns.lock().by_client.len() <= 2 * SWEEP);
    }
}
