//! What stands still in a part of comanda although it should not, why, and since when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::Timestamp;

/// The troubles of one part. Clones share them: the part notes what it meets, and `/readyz` tells.
#[derive(Debug, Clone, Default)]
pub struct Health {
    troubles: Arc<Mutex<BTreeMap<String, Trouble>>>,
}

/// Something that stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Why, for an operator.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Health {
    /// Notes that `what` stands still; whether that is news. Its time counts from the first note.
    pub fn trouble(&self, what: &str, reason: impl Into<String>) -> bool {
        let mut troubles = self.troubles();
        let reason = reason.into();
        match troubles.get_mut(what) {
            Some(trouble) => {
                trouble.reason = reason;
                false
            }
            None => {
                let trouble = Trouble { reason, since: Timestamp::now() };
                troubles.insert(what.to_owned(), trouble);
                true
            }
        }
    }

    /// Notes that `what` goes on; whether it stood still before.
    pub fn recovery(&self, what: &str) -> bool {
        self.troubles().remove(what).is_some()
    }

    /// All that stands still, by what it is.
    pub fn all(&self) -> Vec<(String, Trouble)> {
        self.troubles().iter().map(|(what, trouble)| (what.clone(), trouble.clone())).collect()
    }

    /// Nothing stands still, or all that does in one line.
    pub fn check(&self) -> Result<(), String> {
        let troubles = self.troubles();
        if troubles.is_empty() {
            return Ok(());
        }
        let each = |(what, trouble): (&String, &Trouble)| {
            format!("{what}: {} (since {})", trouble.reason, trouble.since.to_rfc3339())
        };
        Err(troubles.iter().map(each).collect::<Vec<_>>().join("; "))
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<String, Trouble>> {
        self.troubles.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_keeps_its_first_time_and_ends_with_its_recovery() {
        let health = Health::default();
        assert_eq!(health.check(), Ok(()));
        assert!(health.trouble("store", "is full"));
        let since = health.all()[0].1.since;
        assert!(!health.clone().trouble("store", "is read-only"));
        assert_eq!(
            health.all(),
            [("store".to_owned(), Trouble { reason: "is read-only".to_owned(), since })]
        );
        let told = health.check().unwrap_err();
        assert_eq!(told, format!("store: is read-only (since {})", since.to_rfc3339()));
        assert!(!health.recovery("kafka") && health.recovery("store"));
        assert_eq!(health.check(), Ok(()));
    }
}
