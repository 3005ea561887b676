//! What one customer may have under way at one time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::auth::{Caller, Principal};
use crate::budget::{Bounds, Budget, Client, Hold};
use crate::failure::{Code, Failure};

/// The share of each customer. Operators have no bound.
pub(crate) struct Shares {
    in_flight: Arc<Budget>,
    /// Reads of one customer at one time; 0 for no limit.
    reads: usize,
    /// How long a read waits for others of its customer.
    wait: Duration,
    readers: Mutex<HashMap<Principal, Arc<Semaphore>>>,
}

/// Held by a request for as long as it reads. Nothing is held where there is no limit.
#[derive(Debug)]
pub(crate) struct ReadPermit {
    _own: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// For `in_flight` requests and `reads` of each customer; 0 for no limit.
    pub fn new(in_flight: u32, reads: u32, wait: Duration) -> Self {
        let none = Bounds { each: 0, all: usize::MAX };
        let callers = Bounds { each: in_flight as usize, all: usize::MAX };
        Self {
            in_flight: Budget::new("requests", none, callers),
            reads: reads as usize,
            wait,
            readers: Mutex::default(),
        }
    }

    /// Held by a request until it is answered.
    pub fn enter(&self, caller: &Caller) -> Result<Option<Hold>, Failure> {
        let Some(principal @ Principal::Customer(_)) = caller else { return Ok(None) };
        let message = "too many requests of this customer are under way; try again";
        let held = self.in_flight.hold(Client::Caller(principal.clone()), 1);
        held.map(Some).map_err(|exhausted| exhausted.failure(message, message))
    }

    /// Waits until a read of `principal` may begin.
    pub async fn read(&self, principal: &Principal) -> Result<ReadPermit, Failure> {
        if self.reads == 0 || *principal == Principal::Operator {
            return Ok(ReadPermit { _own: None });
        }
        let own = {
            let mut readers = self.readers();
            let new = || Arc::new(Semaphore::new(self.reads));
            readers.entry(principal.clone()).or_insert_with(new).clone()
        };
        match timeout(self.wait, own.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(ReadPermit { _own: Some(permit) }),
            Ok(Err(_)) => Err(Failure::internal()),
            Err(_) => {
                let message = "too many reads of this customer are under way; try again";
                let failure = Failure::new(Code::RateLimited, message);
                Err(Failure { retry_after: Some(1), ..failure })
            }
        }
    }

    /// Forgets customers that read nothing.
    pub fn sweep(&self) {
        self.readers().retain(|_, own| Arc::strong_count(own) > 1);
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<Principal, Arc<Semaphore>>> {
        self.readers.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(id: &str) -> Principal {
        Principal::Customer(id.into())
    }

    #[test]
    fn a_customer_has_only_so_many_requests_in_flight() {
        let shares = Shares::new(2, 0, Duration::ZERO);
        let enter = |principal: Principal| shares.enter(&Some(principal));
        let (first, _second) = (enter(customer("ana")).unwrap(), enter(customer("ana")).unwrap());
        let refused = enter(customer("ana")).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::RateLimited, Some(1)));
        let others = [customer("bob"), Principal::Operator, Principal::Operator];
        let _others = others.map(|principal| enter(principal).unwrap());
        drop(first);
        enter(customer("ana")).unwrap();
    }

    #[tokio::test]
    async fn a_read_waits_for_its_own_customer_alone() {
        let shares = Shares::new(0, 1, Duration::from_secs(3600));
        let first = shares.read(&customer("ana")).await.unwrap();
        let (ana, bob) = (customer("ana"), customer("bob"));
        let mut second = Box::pin(shares.read(&ana));
        assert!(futures_util::poll!(&mut second).is_pending());
        shares.read(&bob).await.unwrap();
        shares.read(&Principal::Operator).await.unwrap();
        shares.sweep();
        assert_eq!(shares.readers().len(), 1, "the one that reads and is waited for");
        drop(first);
        drop(second.await.unwrap());
        shares.sweep();
        assert!(shares.readers().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_waits_too_long_is_told_to_come_back() {
        let shares = Shares::new(0, 1, Duration::from_secs(5));
        let _first = shares.read(&customer("ana")).await.unwrap();
        let refused = shares.read(&customer("ana")).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::RateLimited, Some(1)));
    }
}
