//! Stripe's objects as JSON.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::books::{Books, State, lower};
use super::form::Metadata;
use super::keys::Stored;
use super::refusal::Refusal;
use super::token::Decline;

/// Status and body of an answer that the books hold.
pub(super) fn stored(books: &Books, stored: Stored) -> (StatusCode, Value) {
    match stored {
        Stored::Intent(index) => match books.attempts[index as usize].state {
            State::Declined(decline) => {
                (StatusCode::PAYMENT_REQUIRED, declined(books, index, decline))
            }
            State::Open | State::Unconfirmed | State::RequiresAction | State::Charged => {
                (StatusCode::OK, intent(books, index))
            }
        },
        Stored::Refund(index) => (StatusCode::OK, refund(books, index)),
        Stored::Error500 => refusal(&Refusal::server_error()),
    }
}

pub(super) fn refusal(refusal: &Refusal) -> (StatusCode, Value) {
    let Refusal { status, kind, code, param, message } = refusal;
    let mut error = json!({ "type": kind, "message": message });
    if let Some(code) = code {
        error["code"] = json!(code);
    }
    if let Some(param) = param {
        error["param"] = json!(param);
    }
    (*status, json!({ "error": error }))
}

/// As Stripe names the states of a payment intent.
pub(super) fn status(state: State) -> &'static str {
    match state {
        State::Open => "processing",
        State::Unconfirmed => "requires_confirmation",
        State::RequiresAction => "requires_action",
        State::Declined(_) => "requires_payment_method",
        State::Charged => "succeeded",
    }
}

pub(super) fn intent(books: &Books, index: u32) -> Value {
    let attempt = &books.attempts[index as usize];
    let charged = attempt.state == State::Charged;
    let (last_payment_error, charge) = match attempt.state {
        State::Declined(decline) => (card_error(books, index, decline), true),
        State::Charged => (Value::Null, true),
        State::Open | State::Unconfirmed | State::RequiresAction => (Value::Null, false),
    };
    let next_action = match attempt.state {
        State::RequiresAction => json!({ "type": "use_stripe_sdk" }),
        State::Open | State::Unconfirmed | State::Declined(_) | State::Charged => Value::Null,
    };
    json!({
        "id": books.id("pi", index),
        "object": "payment_intent",
        "amount": attempt.amount,
        "amount_received": if charged { attempt.amount } else { 0 },
        "created": attempt.at.as_millis() / 1000,
        "currency": lower(attempt.currency),
        "last_payment_error": last_payment_error,
        "latest_charge": charge.then(|| books.id("ch", index)),
        "livemode": false,
        "metadata": metadata(&attempt.metadata),
        "next_action": next_action,
        "payment_method": attempt.token.map(|token| token.name),
        "status": status(attempt.state),
    })
}

fn declined(books: &Books, index: u32, decline: Decline) -> Value {
    let mut error = card_error(books, index, decline);
    error["payment_intent"] = intent(books, index);
    json!({ "error": error })
}

fn card_error(books: &Books, index: u32, decline: Decline) -> Value {
    json!({
        "type": "card_error",
        "code": decline.code(),
        "decline_code": decline.decline_code(),
        "message": decline.message(),
        "charge": books.id("ch", index),
    })
}

pub(super) fn refund(books: &Books, index: u32) -> Value {
    let refund = &books.refunds[index as usize];
    let attempt = &books.attempts[refund.attempt as usize];
    json!({
        "id": books.id("re", index),
        "object": "refund",
        "amount": refund.amount,
        "charge": books.id("ch", refund.attempt),
        "created": refund.at.as_millis() / 1000,
        "currency": lower(attempt.currency),
        "metadata": metadata(&refund.metadata),
        "payment_intent": books.id("pi", refund.attempt),
        "status": "succeeded",
    })
}

fn metadata(entries: &Metadata) -> Map<String, Value> {
    entries.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect()
}
