//! Connections of each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::rate::network;

/// Counts the open connections of each address; as many entries as there are connections, at the
/// most.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct Place {
    address: IpAddr,
    places: Arc<Places>,
}

impl Places {
    /// `max` for each address; 0 for no limit.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: if max == 0 { usize::MAX } else { max }, taken: Mutex::default() })
    }

    /// `None` where the address has as many as it may.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut taken = self.lock();
        let count = taken.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place { address, places: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_places_and_leaves_nothing_behind() {
        let places = Places::new(2);
        let take = |text: &str| places.take(text.parse().unwrap());
        let ours = [take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap()];
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2").unwrap();
        drop(ours);
        assert!(take("192.0.2.1").is_some());
        drop(other);
        assert!(places.lock().is_empty());
        let unlimited = Places::new(0);
        let address = "192.0.2.1".parse().unwrap();
        let all: Vec<_> = (0..10_000).filter_map(|_| unlimited.take(address)).collect();
        assert_eq!(all.len(), 10_000);
    }
}
