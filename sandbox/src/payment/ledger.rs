//! The ledger as it is handed out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// Sums over the ledger. Those about requests count every charge and refund request since the
/// start, whichever order the ledger is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Well-formed requests to charge or refund.
    pub requests: u64,
    /// Of these, answered from a key's stored answer.
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
