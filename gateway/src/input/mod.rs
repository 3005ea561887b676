//! From what a client sent to an order or a change, or to everything that is wrong with it.

mod change;
mod errors;
mod fields;
#[cfg(test)]
mod tests;

use comanda_schemas::{Contact, Currency, Order, OrderId, OrderLine};

use crate::schema::inputs::{ContactInput, OrderLineInput, PlaceOrderInput};
pub(crate) use change::{Ask, Change, Edit};
use errors::Problems;
pub(crate) use errors::{ErrorCode, UserError};

/// Largest amount, of a line's price and of an order's total: what JavaScript holds exactly.
pub(crate) const MAX_AMOUNT: i64 = (1 << 53) - 1;
/// Most of one dish.
const MAX_QUANTITY: i32 = 9_999;

/// A request to place an order, with nothing wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceOrder {
    pub customer_id: String,
    pub idempotency_key: Option<String>,
    pub order: Order,
}

impl PlaceOrder {
    /// Checks everything, so that a client learns of all that is wrong at once. `at` is the path
    /// to the input, e.g. `["inputs", "7"]`.
    pub fn parse(
        input: PlaceOrderInput,
        at: &[&str],
        max_lines: usize,
    ) -> Result<Self, Vec<UserError>> {
        let mut problems = Problems::new(at);
        let idempotency_key = input.idempotency_key;
        if let Some(key) = &idempotency_key {
            fields::idempotency_key(&mut problems, key);
        }
        let customer_id = input.customer_id.0;
        fields::visible(&mut problems, &["customerId"], &customer_id, 128);
        let contact = contact(&mut problems, input.contact);
        let currency = Currency::parse(&input.currency);
        if currency.is_none() {
            let message = "not an ISO 4217 code; three capital letters, e.g. EUR";
            problems.add(ErrorCode::UnknownCurrency, &["currency"], message);
        }
        let lines = lines(&mut problems, input.lines, max_lines);
        let total = total(&mut problems, &lines);
        fields::payment_method(&mut problems, &input.payment_method);
        let note = text(&mut problems, "note", input.note);
        let found = problems.finish();
        match (currency, total) {
            (Some(currency), Some(total_minor)) if found.is_empty() => {
                let payment_method = input.payment_method;
                let order = Order { currency, total_minor, lines, contact, payment_method, note };
                Ok(Self { customer_id, idempotency_key, order })
            }
            _ => Err(found),
        }
    }

    /// The order's id: the same for the same customer and key.
    pub fn order_id(&self) -> OrderId {
        match &self.idempotency_key {
            Some(key) => OrderId::derive(&self.customer_id, key),
            None => OrderId::random(),
        }
    }
}

fn contact(problems: &mut Problems<'_>, input: ContactInput) -> Contact {
    fields::name(problems, &["contact", "name"], &input.name);
    fields::email(problems, &["contact", "email"], &input.email);
    Contact { name: input.name, email: input.email }
}

fn lines(
    problems: &mut Problems<'_>,
    input: Vec<OrderLineInput>,
    max_lines: usize,
) -> Vec<OrderLine> {
    if input.is_empty() {
        problems.add(ErrorCode::Required, &["lines"], "an order has at least one line");
    }
    if input.len() > max_lines {
        let message = format!("an order has at most {max_lines} lines");
        problems.add(ErrorCode::TooMany, &["lines"], message);
        return Vec::new();
    }
    input.into_iter().enumerate().map(|(n, input)| line(problems, n, input)).collect()
}

/// A text that may be left out; an empty one is none.
fn text(problems: &mut Problems<'_>, name: &str, text: Option<String>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty());
    text.inspect(|text| fields::text(problems, &[name], text))
}

fn line(problems: &mut Problems<'_>, n: usize, input: OrderLineInput) -> OrderLine {
    let n = n.to_string();
    let OrderLineInput { sku, name, quantity, unit_price_minor } = input;
    fields::visible(problems, &["lines", &n, "sku"], &sku, 64);
    fields::name(problems, &["lines", &n, "name"], &name);
    if !(1..=MAX_QUANTITY).contains(&quantity) {
        let message = format!("must be from 1 to {MAX_QUANTITY}");
        problems.add(ErrorCode::OutOfRange, &["lines", &n, "quantity"], message);
    }
    if !(0..=MAX_AMOUNT).contains(&unit_price_minor.0) {
        let message = format!("must be from 0 to {MAX_AMOUNT}");
        problems.add(ErrorCode::OutOfRange, &["lines", &n, "unitPriceMinor"], message);
    }
    OrderLine { sku, name, quantity, unit_price_minor: unit_price_minor.0 }
}

fn total(problems: &mut Problems<'_>, lines: &[OrderLine]) -> Option<i64> {
    let total = Order::total_of(lines).filter(|total| *total <= MAX_AMOUNT);
    if total.is_none() {
        let message = format!("the order's total must be at most {MAX_AMOUNT}");
        problems.add(ErrorCode::OutOfRange, &["lines"], message);
    }
    total
}
