//! The ledger as it is handed out.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::books::{self, Books, State, index_of, lower};

/// What the provider did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Attempts that took money, oldest first.
    pub charges: Vec<Attempt>,
    /// All other attempts, oldest first.
    pub not_charged: Vec<Attempt>,
    /// Money given back, oldest first.
    pub refunds: Vec<Refund>,
    /// Sums.
    pub totals: Totals,
}

/// One try at a payment: all requests with one idempotency key and one body, or one request
/// without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// `pi_…`; none when nothing was carried out.
    pub payment_intent: Option<String>,
    /// `metadata[order_id]`.
    pub order_id: Option<String>,
    /// `metadata[version]`.
    pub version: Option<String>,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// The token.
    pub payment_method: Option<String>,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// How many requests came, those that were refused or replayed included.
    pub requests: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// Given back so far, in minor units.
    pub refunded: i64,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing: it still runs, or went wrong before anything was done.
    Open,
    /// Created without `confirm`.
    Unconfirmed,
    /// The customer would have to confirm it with the bank.
    RequiresAction,
    /// The bank said no.
    Declined,
    /// The money was taken.
    Charged,
}

/// Money given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// `re_…`.
    pub id: String,
    /// Of which payment.
    pub payment_intent: String,
    /// Order of that payment.
    pub order_id: Option<String>,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// `Idempotency-Key`.
    pub key: Option<String>,
}

/// Sums over the ledger. Those about requests and answers count all since the start, whichever
/// order the ledger is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Well-formed requests to charge or refund.
    pub requests: u64,
    /// Searches for payments.
    pub look_ups: u64,
    /// Requests answered from a key's stored answer.
    pub replayed: u64,
    /// Connections closed without an answer.
    pub hung_up: u64,
    /// Answers with status 500, replays aside.
    pub server_errors: u64,
    /// Answers with status 429.
    pub rate_limited: u64,
    /// Payments that took money.
    pub charges: u64,
    /// Payments that the bank declined.
    pub declines: u64,
    /// Refunds.
    pub refunds: u64,
    /// Orders with more than one charge. Should be 0.
    pub orders_charged_twice: u64,
    /// Taken, by currency, in minor units; refunds are not subtracted.
    pub charged_minor: BTreeMap<String, i64>,
    /// Given back, by currency, in minor units.
    pub refunded_minor: BTreeMap<String, i64>,
}

impl Books {
    /// What was done so far, for one order or for all.
    pub(super) fn ledger(&self, order: Option<&str>) -> Ledger {
        let mut totals = self.counted.clone();
        let (mut charges, mut not_charged) = (Vec::new(), Vec::new());
        let mut by_order: HashMap<&str, u64> = HashMap::new();
        for index in self.of_order(order) {
            let attempt = &self.attempts[index as usize];
            let entry = self.entry(index, attempt);
            match attempt.state {
                State::Charged => {
                    totals.charges += 1;
                    *totals.charged_minor.entry(entry.currency.clone()).or_default() +=
                        attempt.amount;
                    if let Some(order) = attempt.metadata("order_id") {
                        *by_order.entry(order).or_default() += 1;
                    }
                    charges.push(entry);
                }
                State::Declined(_) => {
                    totals.declines += 1;
                    not_charged.push(entry);
                }
                State::Open | State::Unconfirmed | State::RequiresAction => {
                    not_charged.push(entry);
                }
            }
        }
        let twice = by_order.values().filter(|charges| **charges > 1).count();
        totals.orders_charged_twice = twice as u64;
        let mut refunds = Vec::new();
        for (index, refund) in self.refunds.iter().enumerate() {
            let attempt = &self.attempts[refund.attempt as usize];
            let of = attempt.metadata("order_id");
            if order.is_some() && order != of {
                continue;
            }
            totals.refunds += 1;
            let currency = lower(attempt.currency);
            *totals.refunded_minor.entry(currency.clone()).or_default() += refund.amount;
            refunds.push(Refund {
                id: self.id("re", index_of(index)),
                payment_intent: self.id("pi", refund.attempt),
                order_id: of.map(str::to_owned),
                amount: refund.amount,
                currency,
                key: refund.key.as_deref().map(str::to_owned),
            });
        }
        Ledger { charges, not_charged, refunds, totals }
    }

    fn entry(&self, index: u32, attempt: &books::Attempt) -> Attempt {
        let outcome = match attempt.state {
            State::Open => Outcome::Open,
            State::Unconfirmed => Outcome::Unconfirmed,
            State::RequiresAction => Outcome::RequiresAction,
            State::Declined(_) => Outcome::Declined,
            State::Charged => Outcome::Charged,
        };
        Attempt {
            payment_intent: (attempt.state != State::Open).then(|| self.id("pi", index)),
            order_id: attempt.metadata("order_id").map(str::to_owned),
            version: attempt.metadata("version").map(str::to_owned),
            amount: attempt.amount,
            currency: lower(attempt.currency),
            payment_method: attempt.token.map(|token| token.name.to_owned()),
            key: attempt.key.as_deref().map(str::to_owned),
            requests: attempt.requests,
            outcome,
            refunded: attempt.refunded,
        }
    }
}
