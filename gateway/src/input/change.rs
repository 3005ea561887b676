//! From what a client sent to a change of an order.

use async_graphql::{ID, MaybeUndefined};
use comanda_schemas::{Contact, OrderId, OrderLine};

use super::errors::{ErrorCode, Problems, UserError};
use super::{contact, fields, lines, text, total};
use crate::schema::inputs::{CancelOrderInput, RetryPaymentInput, UpdateOrderInput};

/// A request to change an order, with nothing wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    /// `None` where what was sent is the id of no order.
    pub order_id: Option<OrderId>,
    /// The version that the client has seen.
    pub expected_version: Option<i32>,
    /// Token of what the store must have seen.
    pub receipt: Option<String>,
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Update(Edit),
    Cancel { reason: Option<String> },
    Retry { payment_method: Option<String> },
}

/// What is to be different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    /// With their total.
    pub lines: Option<(Vec<OrderLine>, i64)>,
    pub payment_method: Option<String>,
    pub contact: Option<Contact>,
    /// `Some(None)` for none.
    pub note: Option<Option<String>>,
}

impl Ask {
    /// Checks everything, so that a client learns of all that is wrong at once.
    pub fn update(
        input: UpdateOrderInput,
        at: &[&str],
        max_lines: usize,
    ) -> Result<Self, Vec<UserError>> {
        let mut problems = Problems::new(at);
        let lines = input.lines.map(|input| lines(&mut problems, input, max_lines));
        let lines = lines.map(|lines| (total(&mut problems, &lines).unwrap_or_default(), lines));
        let note = match input.note {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(note) => Some(text(&mut problems, "note", Some(note))),
        };
        let edit = Edit {
            lines: lines.map(|(total, lines)| (lines, total)),
            payment_method: method(&mut problems, input.payment_method),
            contact: input.contact.map(|input| contact(&mut problems, input)),
            note,
        };
        if edit == Edit::default() {
            let message = "give at least one of lines, paymentMethod, contact and note";
            problems.add(ErrorCode::Required, &[], message);
        }
        let change = Change::Update(edit);
        Self::of(problems, input.order_id, input.expected_version, input.receipt, change)
    }

    /// As [`Ask::update`].
    pub fn cancel(input: CancelOrderInput, at: &[&str]) -> Result<Self, Vec<UserError>> {
        let mut problems = Problems::new(at);
        let change = Change::Cancel { reason: text(&mut problems, "reason", input.reason) };
        Self::of(problems, input.order_id, input.expected_version, input.receipt, change)
    }

    /// As [`Ask::update`].
    pub fn retry(input: RetryPaymentInput, at: &[&str]) -> Result<Self, Vec<UserError>> {
        let mut problems = Problems::new(at);
        let payment_method = method(&mut problems, input.payment_method);
        let change = Change::Retry { payment_method };
        Self::of(problems, input.order_id, input.expected_version, input.receipt, change)
    }

    fn of(
        mut problems: Problems<'_>,
        order_id: ID,
        expected_version: Option<i32>,
        receipt: Option<String>,
        change: Change,
    ) -> Result<Self, Vec<UserError>> {
        if expected_version.is_some_and(|version| version < 1) {
            problems.add(ErrorCode::OutOfRange, &["expectedVersion"], "must be at least 1");
        }
        let found = problems.finish();
        if !found.is_empty() {
            return Err(found);
        }
        Ok(Self { order_id: order_id.parse().ok(), expected_version, receipt, change })
    }
}

fn method(problems: &mut Problems<'_>, token: Option<String>) -> Option<String> {
    token.inspect(|token| fields::payment_method(problems, token))
}
