//! The one request of a key that decides what becomes of it.

use std::sync::Arc;

use comanda_schemas::OrderId;
use tokio::sync::oneshot;

use super::{Doubt, Outcome, Recent, Sighting, State, Stored};
use crate::place::{Known, Refused};

/// How a placement ended.
pub(crate) enum Ending {
    /// The order is placed: by this request, or by an earlier one, which may have asked for
    /// something else.
    Decided(Stored),
    /// It is stored, but not known to be the first.
    Undecided(Stored, Refused),
    /// Nothing was stored.
    Failed(Refused),
    /// It may be stored.
    Unknown(Refused),
}

/// The duty to finish a placement. Dropped without that, those who wait learn that it is lost.
pub(crate) struct First {
    pub(super) recent: Arc<Recent>,
    pub(super) id: OrderId,
    /// What it asks for.
    pub(super) fingerprint: Arc<str>,
    /// What an earlier request of the same key has left open.
    pub(super) doubt: Option<Doubt>,
    pub(super) is_finished: bool,
}

impl First {
    /// What an earlier request stored without learning whether it was the first.
    pub fn stored(&self) -> Option<Stored> {
        match &self.doubt {
            Some(Doubt::Stored(stored)) => Some(stored.clone()),
            Some(Doubt::Seen | Doubt::Sent) | None => None,
        }
    }

    /// Whether neither an earlier request nor the log has told anything of it.
    pub fn is_fresh(&self) -> bool {
        self.doubt.is_none() && self.sighting().is_none()
    }

    /// What it asks for.
    pub fn fingerprint(&self) -> Arc<str> {
        self.fingerprint.clone()
    }

    /// The first record of the placement in the log, as far as that was read.
    pub fn sighting(&self) -> Option<Sighting> {
        self.recent.table().entries.get(&self.id)?.sighting.clone()
    }

    /// The record that was seen is none that places the order.
    pub fn dismiss(&self, sighting: &Sighting) {
        if let Some(entry) = self.recent.table().entries.get_mut(&self.id) {
            entry.sighting.take_if(|seen| seen.place() == sighting.place());
        }
    }

    /// Tells those who wait, and remembers what later requests have to know; the outcome of the
    /// request itself.
    pub fn finish(mut self, ending: Ending) -> Outcome {
        let outcome = match &ending {
            Ending::Decided(stored) if stored.fingerprint == self.fingerprint => {
                Ok(stored.known.clone())
            }
            Ending::Decided(_) => Err(Refused::Conflict),
            Ending::Undecided(_, refused) | Ending::Failed(refused) | Ending::Unknown(refused) => {
                Err(refused.clone())
            }
        };
        let decided = match ending {
            Ending::Decided(stored) => Some(stored),
            Ending::Undecided(stored, _) => {
                self.doubt = Some(Doubt::Stored(stored));
                None
            }
            Ending::Unknown(_) => {
                self.doubt = Some(Doubt::Sent);
                None
            }
            Ending::Failed(_) => None,
        };
        self.is_finished = true;
        for waiting in self.conclude(decided) {
            // Whoever is gone has no use for it.
            let _ = waiting.send(outcome.clone().map(Known::repeated));
        }
        outcome
    }

    /// Leaves in the table what was decided, or else what stays open, as far as there is anything
    /// to know; those who wait.
    fn conclude(&mut self, decided: Option<Stored>) -> Vec<oneshot::Sender<Outcome>> {
        let mut table = self.recent.table();
        let Some(entry) = table.entries.get_mut(&self.id) else { return Vec::new() };
        let state = match (decided, self.doubt.take()) {
            (Some(Stored { fingerprint, known }), _) => {
                entry.fingerprint = Some(fingerprint);
                entry.sighting = None;
                Some(State::Stored(known.repeated()))
            }
            (None, Some(doubt @ (Doubt::Sent | Doubt::Stored(_)))) => Some(State::Open(doubt)),
            (None, Some(Doubt::Seen) | None) if entry.sighting.is_some() => {
                Some(State::Open(Doubt::Seen))
            }
            (None, Some(Doubt::Seen) | None) => None,
        };
        let before = match state {
            Some(state) => Some(std::mem::replace(&mut entry.state, state)),
            None => table.entries.remove(&self.id).map(|entry| entry.state),
        };
        match before {
            Some(State::OnItsWay(waiting)) => waiting,
            Some(State::Stored(_) | State::Open(_)) | None => Vec::new(),
        }
    }
}

impl Drop for First {
    /// It was cut off, wherever it was: it may be sent.
    fn drop(&mut self) {
        if !self.is_finished {
            if !matches!(self.doubt, Some(Doubt::Stored(_))) {
                self.doubt = Some(Doubt::Sent);
            }
            self.conclude(None);
        }
    }
}
