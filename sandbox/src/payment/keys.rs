//! Idempotency keys and the answers they stand for.

use std::collections::HashMap;
use std::sync::Arc;

use super::refusal::Refusal;

/// An answer, small enough to keep for ever: the rest is in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// Index of an attempt.
    Intent(u32),
    /// Index of a refund.
    Refund(u32),
    Error500,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// Carry it out; [`Keys::finish`] it where it has an answer to keep, and
    /// [`Keys::release`] it in the end.
    Run {
        /// How often it was tried under this key before.
        tries: u64,
    },
    Replay(Stored),
}

struct Entry {
    fingerprint: [u8; 16],
    state: State,
    tries: u64,
}

enum State {
    Idle,
    Running,
    Done(Stored),
}

#[derive(Default)]
pub(super) struct Keys(HashMap<Arc<str>, Entry>);

impl Keys {
    pub fn begin(&mut self, key: &Arc<str>, fingerprint: [u8; 16]) -> Result<Begun, Refusal> {
        let entry = self.0.entry(key.clone()).or_insert(Entry {
            fingerprint,
            state: State::Idle,
            tries: 0,
        });
        let same = entry.fingerprint == fingerprint;
        match entry.state {
            State::Done(stored) if same => Ok(Begun::Replay(stored)),
            State::Done(_) => Err(Refusal::key_reused()),
            State::Running => Err(Refusal::key_in_use()),
            State::Idle => {
                let tries = entry.tries;
                *entry = Entry { fingerprint, state: State::Running, tries: tries + 1 };
                Ok(Begun::Run { tries })
            }
        }
    }

    /// The request is over: if it stored no answer, the key may be tried again.
    pub fn release(&mut self, key: &Arc<str>) {
        if let Some(entry) = self.0.get_mut(key)
            && matches!(entry.state, State::Running)
        {
            entry.state = State::Idle;
        }
    }

    pub fn finish(&mut self, key: &Arc<str>, stored: Stored) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.state = State::Done(stored);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_runs_once_and_answers_the_same_from_then_on() {
        let (mut keys, key) = (Keys::default(), Arc::from("k"));
        assert_eq!(keys.begin(&key, [1; 16]).unwrap(), Begun::Run { tries: 0 });
        assert_eq!(keys.begin(&key, [1; 16]).unwrap_err().status, 409);
        keys.release(&key);
        assert_eq!(keys.begin(&key, [1; 16]).unwrap(), Begun::Run { tries: 1 });
        keys.finish(&key, Stored::Intent(5));
        keys.release(&key);
        assert_eq!(keys.begin(&key, [1; 16]).unwrap(), Begun::Replay(Stored::Intent(5)));
        assert_eq!(keys.begin(&key, [2; 16]).unwrap_err().kind, "idempotency_error");
    }
}
