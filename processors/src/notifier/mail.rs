//! The mail for a payment event: subject, text and HTML.
//!
//! The same event always gives the same mail, byte for byte: a mail provider refuses an idempotency
//! key that comes back with another body.

use askama::Template;
use comanda_schemas::{Currency, OrderLine, PaymentEvent};

use super::text::line;
use super::words::Kind;

/// Longest name of a person or a restaurant in a mail, in characters.
const MAX_NAME: usize = 60;
/// Longest name of a dish, in characters.
const MAX_DISH: usize = 80;
/// Longest note, in characters.
const MAX_NOTE: usize = 300;
/// Positions that a mail lists; the total still counts all.
const MAX_LINES: usize = 100;
/// Digits of an order's short number.
const SHORT: usize = 8;

/// A mail without its sender and recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// What the templates show. Every text of a stranger in it went through [`line`].
struct View {
    kind: Kind,
    restaurant: String,
    name: String,
    number: String,
    order_id: String,
    paragraphs: Vec<String>,
    rows: Vec<Row>,
    /// Positions that are not listed.
    more: usize,
    total: String,
    note: String,
    can_reply: bool,
}

struct Row {
    quantity: i32,
    name: String,
    amount: String,
}

#[derive(Template)]
#[template(path = "mail.txt")]
struct TextMail<'a> {
    v: &'a View,
}

#[derive(Template)]
#[template(path = "mail.html")]
struct HtmlMail<'a> {
    v: &'a View,
}

impl Mail {
    /// `restaurant` is who writes; `can_reply` says whether an answer to the mail reaches anybody.
    pub fn render(
        kind: Kind,
        event: &PaymentEvent,
        restaurant: &str,
        can_reply: bool,
    ) -> Result<Self, askama::Error> {
        let view = View::new(kind, event, restaurant, can_reply);
        Ok(Self {
            subject: format!("{}: order {} {}", view.restaurant, view.number, kind.subject()),
            text: TextMail { v: &view }.render()?,
            html: HtmlMail { v: &view }.render()?,
        })
    }
}

impl View {
    fn new(kind: Kind, event: &PaymentEvent, restaurant: &str, can_reply: bool) -> Self {
        let order = &event.order;
        let order_id = event.order_id.to_string();
        Self {
            kind,
            restaurant: line(restaurant, MAX_NAME),
            name: line(&order.contact.name, MAX_NAME),
            number: short_number(&order_id),
            paragraphs: kind.paragraphs(event),
            rows: order.lines.iter().take(MAX_LINES).map(|l| Row::new(l, order.currency)).collect(),
            more: order.lines.len().saturating_sub(MAX_LINES),
            total: order.currency.format_minor(order.total_minor),
            note: line(order.note.as_deref().unwrap_or_default(), MAX_NOTE),
            can_reply,
            order_id,
        }
    }
}

impl Row {
    fn new(position: &OrderLine, currency: Currency) -> Self {
        let amount = position.unit_price_minor.saturating_mul(position.quantity.into());
        Self {
            quantity: position.quantity,
            name: line(&position.name, MAX_DISH),
            amount: currency.format_minor(amount),
        }
    }
}

/// The last digits of the id, which are random in ids of every kind, unlike the first.
fn short_number(order_id: &str) -> String {
    let start = order_id.len().saturating_sub(SHORT);
    order_id.get(start..).unwrap_or(order_id).to_ascii_uppercase()
}
