//! The one request of a key that decides what becomes of it.

use std::sync::Arc;

use comanda_schemas::OrderId;
use tokio::sync::watch;

use super::{Doubt, Outcome, Recent, Sighting, State};
use crate::place::{Known, Refused};

/// How a placement ended.
pub(crate) enum Ending {
    /// By this request.
    Placed(Known),
    /// By another one before it, which asked for what has this fingerprint.
    Earlier { fingerprint: Arc<str>, known: Known },
    /// It is stored, but not known to be the first.
    Undecided { fingerprint: Arc<str>, known: Known, refused: Refused },
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
    pub(super) outcome: watch::Sender<Option<Outcome>>,
    /// What an earlier request of the same key has left open.
    pub(super) doubt: Option<Doubt>,
}

impl First {
    /// What an earlier request stored without learning whether it was the first, and what it had
    /// asked for.
    pub fn stored(&self) -> Option<(Arc<str>, Known)> {
        match &self.doubt {
            Some(Doubt::Stored(print, known)) => Some((print.clone(), known.clone())),
            Some(Doubt::Seen | Doubt::Sent) | None => None,
        }
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
        let own = self.fingerprint.clone();
        let outcome = match &ending {
            Ending::Placed(known) => Ok(known.clone()),
            Ending::Earlier { fingerprint, known } if *fingerprint == own => Ok(known.clone()),
            Ending::Earlier { .. } => Err(Refused::Conflict),
            Ending::Undecided { refused, .. }
            | Ending::Failed(refused)
            | Ending::Unknown(refused) => Err(refused.clone()),
        };
        match ending {
            Ending::Placed(known) => self.settle(own, known),
            Ending::Earlier { fingerprint, known } => self.settle(fingerprint, known),
            Ending::Undecided { fingerprint, known, .. } => {
                self.doubt = Some(Doubt::Stored(fingerprint, known));
            }
            Ending::Unknown(_) => self.doubt = Some(Doubt::Sent),
            Ending::Failed(_) => {}
        }
        let told = outcome.clone().map(Known::repeated);
        self.outcome.send_replace(Some(told));
        outcome
    }

    fn settle(&self, fingerprint: Arc<str>, known: Known) {
        if let Some(entry) = self.recent.table().entries.get_mut(&self.id) {
            entry.fingerprint = Some(fingerprint);
            entry.state = State::Stored(known.repeated());
            entry.sighting = None;
        }
    }
}

impl Drop for First {
    /// What is not decided stays open, as far as there is anything to know.
    fn drop(&mut self) {
        let mut table = self.recent.table();
        let Some(entry) = table.entries.get_mut(&self.id) else { return };
        if !matches!(entry.state, State::OnItsWay(_)) {
            return;
        }
        // Without an outcome its task was cut off, wherever it was.
        let cut_off = self.outcome.borrow().is_none().then_some(Doubt::Sent);
        match self.doubt.take().or(cut_off) {
            Some(doubt @ (Doubt::Sent | Doubt::Stored(..))) => entry.state = State::Open(doubt),
            Some(Doubt::Seen) | None if entry.sighting.is_some() => {
                entry.state = State::Open(Doubt::Seen);
            }
            Some(Doubt::Seen) | None => {
                table.entries.remove(&self.id);
            }
        }
    }
}
