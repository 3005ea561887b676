//! Payment method tokens and what each stands for.

use super::fault::Fault;

/// Why a card was declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decline {
    Generic,
    InsufficientFunds,
    ExpiredCard,
}

impl Decline {
    pub fn code(self) -> &'static str {
        match self {
            Decline::Generic | Decline::InsufficientFunds => "card_declined",
            Decline::ExpiredCard => "expired_card",
        }
    }

    pub fn decline_code(self) -> &'static str {
        match self {
            Decline::Generic => "generic_decline",
            Decline::InsufficientFunds => "insufficient_funds",
            Decline::ExpiredCard => "expired_card",
        }
    }

    pub fn message(self) -> &'static str {
        match self {
            Decline::Generic => "The card was declined.",
            Decline::InsufficientFunds => "The card has insufficient funds.",
            Decline::ExpiredCard => "The card has expired.",
        }
    }
}

/// What the card's bank says, faults aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Approved,
    Declined(Decline),
    RequiresAction,
}

/// A payment method that this provider knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub name: &'static str,
    pub verdict: Verdict,
    pub fault: Option<Fault>,
    /// The fault strikes every try, not only the first.
    pub always: bool,
}

const fn card(name: &'static str, verdict: Verdict) -> Token {
    Token { name, verdict, fault: None, always: false }
}

const fn faulty(name: &'static str, fault: Fault, always: bool) -> Token {
    Token { name, verdict: Verdict::Approved, fault: Some(fault), always }
}

static TOKENS: [Token; 14] = [
    card("pm_card_visa", Verdict::Approved),
    card("pm_card_mastercard", Verdict::Approved),
    card("pm_card_amex", Verdict::Approved),
    card("pm_card_chargeDeclined", Verdict::Declined(Decline::Generic)),
    card("pm_card_chargeDeclinedInsufficientFunds", Verdict::Declined(Decline::InsufficientFunds)),
    card("pm_card_chargeDeclinedExpiredCard", Verdict::Declined(Decline::ExpiredCard)),
    card("pm_card_authenticationRequired", Verdict::RequiresAction),
    faulty("pm_sandbox_drop", Fault::Drop, true),
    faulty("pm_sandbox_drop_once", Fault::Drop, false),
    faulty("pm_sandbox_error500", Fault::StoredError500, true),
    faulty("pm_sandbox_error500_once", Fault::Error500, false),
    faulty("pm_sandbox_slow", Fault::Slow, true),
    faulty("pm_sandbox_charge_then_drop", Fault::ChargeThenDrop, false),
    faulty("pm_sandbox_rate_limited_once", Fault::RateLimited, false),
];

impl Token {
    pub fn parse(name: &str) -> Option<&'static Token> {
        TOKENS.iter().find(|token| token.name == name)
    }
}
