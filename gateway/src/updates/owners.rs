//! Whose order it is: payment and notification events don't say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use comanda_schemas::OrderId;
use comanda_store::{AnyEvent, Store};

use crate::failure::Failure;

/// Orders remembered in each half of the cache.
const HALF: usize = 50_000;

/// Owners of the orders that were asked for lately: at most twice [`HALF`] of them.
pub(super) struct Owners {
    store: Store,
    known: Mutex<Known>,
}

/// When the young half is full, the old one is forgotten and the young one is the old.
#[derive(Default)]
struct Known {
    young: HashMap<OrderId, Arc<str>>,
    old: HashMap<OrderId, Arc<str>>,
}

impl Owners {
    pub fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// Who placed the order that `event` is about; `None` where the store has not seen the order.
    pub async fn of(&self, event: &AnyEvent) -> Result<Option<Arc<str>>, Failure> {
        let id = event.order_id();
        if let Some(owner) = self.remembered(id) {
            return Ok(Some(owner));
        }
        let owner: Arc<str> = match event {
            AnyEvent::Order(event) => event.customer_id.as_str().into(),
            AnyEvent::Payment(_) | AnyEvent::Notification(_) | AnyEvent::Report(_) => {
                match self.store.customer_of(id).await? {
                    Some(customer_id) => customer_id.into(),
                    None => return Ok(None),
                }
            }
        };
        self.known().insert(id, owner.clone(), HALF);
        Ok(Some(owner))
    }

    /// Who placed the order, where that was asked for lately.
    pub fn remembered(&self, id: OrderId) -> Option<Arc<str>> {
        self.known().get(id)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Known {
    fn get(&self, id: OrderId) -> Option<Arc<str>> {
        self.young.get(&id).or_else(|| self.old.get(&id)).cloned()
    }

    fn insert(&mut self, id: OrderId, owner: Arc<str>, half: usize) {
        if self.young.len() >= half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_half_is_always_known_and_never_more_than_two() {
        let mut known = Known::default();
        let id = |n: usize| OrderId::derive("c", &n.to_string());
        for n in 0..100 {
            known.insert(id(n), n.to_string().into(), 10);
            for earlier in n.saturating_sub(9)..=n {
                assert_eq!(known.get(id(earlier)).as_deref(), Some(&*earlier.to_string()));
            }
            assert!(known.young.len() + known.old.len() <= 20);
        }
        assert_eq!(known.get(id(0)), None);
    }
}
