//! Everything the provider remembers.

use std::collections::HashMap;
use std::sync::Arc;

use comanda_schemas::{Currency, Timestamp};

use super::form::{Metadata, NewIntent, NewRefund};
use super::keys::{Begun, Keys, Stored};
use super::ledger::Totals;
use super::refusal::Refusal;
use super::token::{Decline, Token, Verdict};

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Unconfirmed,
    RequiresAction,
    Declined(Decline),
    Charged,
}

pub(super) struct Attempt {
    pub amount: i64,
    pub currency: Currency,
    pub token: Option<&'static Token>,
    confirm: bool,
    pub metadata: Metadata,
    pub key: Option<Arc<str>>,
    pub requests: u32,
    pub state: State,
    /// When it was carried out; until then, when it came.
    pub at: Timestamp,
    pub refunded: i64,
}

impl Attempt {
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value)
    }
}

pub(super) struct Refund {
    pub attempt: u32,
    pub amount: i64,
    pub metadata: Metadata,
    pub at: Timestamp,
    pub key: Option<Arc<str>>,
}

/// What a request asks for.
pub(super) enum Operation {
    /// The attempt of this index, see [`Books::begin_intent`].
    Intent(u32),
    Refund(NewRefund),
}

pub(super) struct Books {
    /// In every id, so that those of another run are not taken for ours.
    run: u32,
    pub attempts: Vec<Attempt>,
    by_order: HashMap<Box<str>, Vec<u32>>,
    /// The attempt that a key's latest body stands for.
    by_key: HashMap<Arc<str>, u32>,
    pub refunds: Vec<Refund>,
    keys: Keys,
    /// Only those about requests.
    pub counted: Totals,
}

impl Books {
    pub fn new(run: u32) -> Self {
        Self {
            run,
            attempts: Vec::new(),
            by_order: HashMap::new(),
            by_key: HashMap::new(),
            refunds: Vec::new(),
            keys: Keys::default(),
            counted: Totals::default(),
        }
    }

    /// What to do with a request for a payment, and the index of its attempt.
    pub fn begin_intent(
        &mut self,
        key: Option<&Arc<str>>,
        fingerprint: [u8; 16],
        new: NewIntent,
    ) -> Result<(Begun, u32), Refusal> {
        self.counted.requests += 1;
        let known = key.and_then(|key| self.by_key.get(key)).copied();
        let begun = self.begin(key, fingerprint);
        let known = known.and_then(|index| Some((index, self.attempt_mut(index)?)));
        match (begun, known) {
            (Ok(begun), Some((index, attempt))) if attempt.same_as(&new) => {
                attempt.requests += 1;
                Ok((begun, index))
            }
            (Ok(begun), _) => Ok((begun, self.open(key, new))),
            (Err(refusal), known) => {
                if let Some((_, attempt)) = known {
                    attempt.requests += 1;
                }
                Err(refusal)
            }
        }
    }

    /// What to do with a request for a refund.
    pub fn begin_refund(
        &mut self,
        key: Option<&Arc<str>>,
        fingerprint: [u8; 16],
    ) -> Result<Begun, Refusal> {
        self.counted.requests += 1;
        self.begin(key, fingerprint)
    }

    fn begin(&mut self, key: Option<&Arc<str>>, print: [u8; 16]) -> Result<Begun, Refusal> {
        let begun = match key {
            Some(key) => self.keys.begin(key, print)?,
            None => Begun::Run { tries: 0 },
        };
        self.counted.replayed += u64::from(matches!(begun, Begun::Replay(_)));
        Ok(begun)
    }

    fn open(&mut self, key: Option<&Arc<str>>, new: NewIntent) -> u32 {
        let index = index_of(self.attempts.len());
        let NewIntent { amount, currency, token, confirm, metadata } = new;
        let attempt = Attempt {
            amount,
            currency,
            token,
            confirm,
            metadata,
            key: key.cloned(),
            requests: 1,
            state: State::Open,
            at: Timestamp::now(),
            refunded: 0,
        };
        if let Some(order) = attempt.metadata("order_id") {
            self.by_order.entry(order.into()).or_default().push(index);
        }
        if let Some(key) = key {
            self.by_key.insert(key.clone(), index);
        }
        self.attempts.push(attempt);
        index
    }

    /// The request with this key is over.
    pub fn release(&mut self, key: &Arc<str>) {
        self.keys.release(key);
    }

    /// The key answers this from now on.
    pub fn store(&mut self, key: Option<&Arc<str>>, stored: Stored) {
        if let Some(key) = key {
            self.keys.finish(key, stored);
        }
    }

    /// Carries out what was begun, and remembers the answer under the key.
    pub fn execute(
        &mut self,
        key: Option<&Arc<str>>,
        operation: Operation,
    ) -> Result<Stored, Refusal> {
        let stored = match operation {
            Operation::Intent(index) => self.charge(index),
            Operation::Refund(new) => self.refund(key, new)?,
        };
        self.store(key, stored);
        Ok(stored)
    }

    fn charge(&mut self, index: u32) -> Stored {
        if let Some(attempt) = self.attempt_mut(index) {
            attempt.at = Timestamp::now();
            attempt.state = match attempt.token {
                Some(token) if attempt.confirm => match token.verdict {
                    Verdict::Approved => State::Charged,
                    Verdict::Declined(decline) => State::Declined(decline),
                    Verdict::RequiresAction => State::RequiresAction,
                },
                Some(_) | None => State::Unconfirmed,
            };
        }
        Stored::Intent(index)
    }

    fn refund(&mut self, key: Option<&Arc<str>>, new: NewRefund) -> Result<Stored, Refusal> {
        let id = &new.payment_intent;
        let refused = |code, message| Err(Refusal::parameter(code, "payment_intent", message));
        let Some(index) = self.intent(id) else {
            return refused("resource_missing", format!("No such payment_intent: '{id}'"));
        };
        let attempt = &mut self.attempts[index as usize];
        if attempt.state != State::Charged {
            let message = format!("{id} has no successful charge to refund");
            return refused("payment_intent_unexpected_state", message);
        }
        let left = attempt.amount - attempt.refunded;
        if left == 0 {
            return refused("charge_already_refunded", format!("{id} is refunded already"));
        }
        let amount = new.amount.unwrap_or(left);
        if amount > left {
            let message = format!("Amount {amount} is more than the {left} that are left");
            return Err(Refusal::parameter("amount_too_large", "amount", message));
        }
        attempt.refunded += amount;
        let (metadata, at) = (new.metadata, Timestamp::now());
        self.refunds.push(Refund { attempt: index, amount, metadata, at, key: key.cloned() });
        Ok(Stored::Refund(index_of(self.refunds.len() - 1)))
    }

    fn attempt_mut(&mut self, index: u32) -> Option<&mut Attempt> {
        self.attempts.get_mut(index as usize)
    }

    /// Text of an index: `pi_`, `ch_` or `re_`, the run and the index.
    pub fn id(&self, prefix: &str, index: u32) -> String {
        format!("{prefix}_{:08x}{index:08x}", self.run)
    }

    /// The attempt that a payment intent's id stands for, when it was carried out.
    pub fn intent(&self, id: &str) -> Option<u32> {
        let index = u32::from_str_radix(id.get(11..)?, 16).ok()?;
        let state = self.attempts.get(index as usize)?.state;
        (id == self.id("pi", index) && state != State::Open).then_some(index)
    }

    /// Indices of the attempts for an order, or of all.
    pub fn of_order(&self, order: Option<&str>) -> Vec<u32> {
        match order {
            Some(order) => self.by_order.get(order).cloned().unwrap_or_default(),
            None => (0..index_of(self.attempts.len())).collect(),
        }
    }
}

impl Attempt {
    fn same_as(&self, new: &NewIntent) -> bool {
        let mine = (self.amount, self.currency, self.token, self.confirm, &self.metadata);
        mine == (new.amount, new.currency, new.token, new.confirm, &new.metadata)
    }
}

pub(super) fn lower(currency: Currency) -> String {
    currency.code().to_ascii_lowercase()
}

/// Positions as ids count them.
pub(super) fn index_of(position: usize) -> u32 {
    u32::try_from(position).expect("memory ends long before four billion attempts")
}
