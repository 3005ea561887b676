//! The mail for a payment event: subject, text and HTML.
//!
//! The same event always gives the same mail, byte for byte, as long as settings and templates stay
//! the same: a mail provider refuses an idempotency key that comes back with another body.

use comanda_schemas::{OrderLine, PaymentEvent};
use minijinja::value::{Serde, Value};
use serde::Serialize;

use super::kind::Kind;
use super::samples;
use super::templates::{Part, Templates};
use super::text::line;
use super::words::{Labels, Words};
use super::{Error, Options};

/// Longest name of a person or a restaurant in a mail, in characters.
const MAX_NAME: usize = 60;
/// Longest name of a dish, in characters.
const MAX_DISH: usize = 80;
/// Longest note, in characters.
const MAX_NOTE: usize = 300;
/// Longest subject, in characters.
const MAX_SUBJECT: usize = 200;
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

/// Writes mails: in whose name, in which language, after which templates.
#[derive(Debug)]
pub(super) struct Writer {
    restaurant: String,
    words: &'static Words,
    templates: Templates,
    can_reply: bool,
}

/// What templates can show. Every text of a stranger in it went through [`line`].
#[derive(Serialize)]
struct View {
    kind: &'static str,
    /// Language tag.
    language: &'static str,
    restaurant: String,
    /// Of the customer; empty where there is none.
    name: String,
    /// The order's short number, for people.
    number: String,
    order_id: String,
    /// End of the built-in subject.
    subject: String,
    heading: &'static str,
    paragraphs: Vec<String>,
    /// Of the heading's bar.
    colour: &'static str,
    lines: Vec<Row>,
    /// Positions that are not listed.
    more: usize,
    total: String,
    /// What was charged or given back.
    amount: String,
    /// Why a payment failed, in the words of the event: `DECLINED` and so on; empty otherwise.
    reason: String,
    note: String,
    can_reply: bool,
    words: &'static Labels,
}

#[derive(Serialize)]
struct Row {
    quantity: i32,
    name: String,
    amount: String,
}

impl Writer {
    /// A writer whose templates have been tried with every sample. `can_reply` says whether an answer
    /// to a mail reaches anybody.
    pub fn new(options: &Options, can_reply: bool) -> Result<Self, Error> {
        let folder = Some(options.templates.as_path()).filter(|path| !path.as_os_str().is_empty());
        let writer = Self {
            restaurant: line(&options.restaurant_name, MAX_NAME),
            words: options.language.words(),
            templates: Templates::load(folder)?,
            can_reply,
        };
        writer.samples()?;
        Ok(writer)
    }

    /// The mail of `kind` for `event`.
    pub fn write(&self, kind: Kind, event: &PaymentEvent) -> Result<Mail, minijinja::Error> {
        let view = Value::from(Serde(View::new(kind, event, self)));
        let part = |part| self.templates.render(kind, part, &view);
        Ok(Mail {
            subject: line(&part(Part::Subject)?, MAX_SUBJECT),
            text: part(Part::Text)?,
            html: part(Part::Html)?,
        })
    }

    /// The mail for each sample, with the sample's name.
    pub fn samples(&self) -> Result<Vec<(&'static str, Mail)>, Error> {
        let write = |(name, event): (&'static str, PaymentEvent)| {
            let kind = Kind::of(event.r#type)?;
            let mail = self.write(kind, &event).map_err(|source| Error::Template {
                name: name.to_owned(),
                source: Box::new(source),
            });
            Some(mail.map(|mail| (name, mail)))
        };
        samples::all().into_iter().filter_map(write).collect()
    }
}

impl View {
    fn new(kind: Kind, event: &PaymentEvent, writer: &Writer) -> Self {
        let (order, words) = (&event.order, writer.words);
        let order_id = event.order_id.to_string();
        let number = short_number(&order_id);
        let told = words.told(kind);
        Self {
            kind: kind.name(),
            language: words.tag,
            restaurant: writer.restaurant.clone(),
            name: line(&order.contact.name, MAX_NAME),
            subject: told.subject.replace("{number}", &number),
            heading: told.heading,
            paragraphs: words.paragraphs(kind, event),
            colour: kind.colour(),
            lines: order.lines.iter().take(MAX_LINES).map(|l| Row::new(l, event, words)).collect(),
            more: order.lines.len().saturating_sub(MAX_LINES),
            total: words.amount(order.total_minor, order.currency),
            amount: words.amount(event.payment.amount_minor, event.payment.currency),
            reason: event.payment.reason.map(|r| r.as_str().to_owned()).unwrap_or_default(),
            note: line(order.note.as_deref().unwrap_or_default(), MAX_NOTE),
            can_reply: writer.can_reply,
            words: &words.labels,
            number,
            order_id,
        }
    }
}

impl Row {
    fn new(position: &OrderLine, event: &PaymentEvent, words: &Words) -> Self {
        let amount = position.unit_price_minor.saturating_mul(position.quantity.into());
        Self {
            quantity: position.quantity,
            name: line(&position.name, MAX_DISH),
            amount: words.amount(amount, event.order.currency),
        }
    }
}

/// The last digits of the id, which are random in ids of every kind, unlike the first.
fn short_number(order_id: &str) -> String {
    let start = order_id.len().saturating_sub(SHORT);
    order_id.get(start..).unwrap_or(order_id).to_ascii_uppercase()
}
