//! What a client sends to place, change and list orders, before any of it is checked.

use async_graphql::{ID, InputObject, MaybeUndefined};

use super::outputs::{OrderStatus, PaymentStatus};
use super::scalars::{DateTime, Long};
use crate::failure::{Code, Failure};

/// Longest text that is looked for, in characters.
const MAX_TEXT: usize = 100;
/// Longest id of a payment that is looked for, in bytes.
const MAX_PAYMENT_ID: usize = 255;

/// A new order.
#[derive(InputObject)]
pub(crate) struct PlaceOrderInput {
    /// The same key from the same customer always means the same order: send the request again
    /// with it after an error that is retriable. At most 255 characters.
    pub idempotency_key: Option<String>,
    /// Who orders, in the restaurant's own terms. 1 to 128 visible characters.
    pub customer_id: ID,
    /// Whom to tell about the outcome.
    pub contact: ContactInput,
    /// ISO 4217 code of all amounts, e.g. EUR.
    pub currency: String,
    /// What is ordered, at least one line.
    pub lines: Vec<OrderLineInput>,
    /// The payment provider's token of the payment method, e.g. pm_card_visa. Never a card number:
    /// one is refused.
    pub payment_method: String,
    /// A note for the kitchen. At most 1,000 characters.
    pub note: Option<String>,
}

/// A change of an order. What is not given stays as it is; at least one thing has to be.
#[derive(InputObject)]
pub(crate) struct UpdateOrderInput {
    /// The order.
    pub order_id: ID,
    /// Version of the order that the change was made for: where the order has another one, nothing
    /// changes and the error is VERSION_CONFLICT. With it the request can be sent again after an
    /// error that is retriable, and still is one change.
    pub expected_version: Option<i32>,
    /// All lines, in the place of those before. Not of a paid order.
    pub lines: Option<Vec<OrderLineInput>>,
    /// Another payment method. Not of a paid order.
    pub payment_method: Option<String>,
    /// Whom to tell about the outcome.
    pub contact: Option<ContactInput>,
    /// A note for the kitchen, at most 1,000 characters; null or empty for none.
    pub note: MaybeUndefined<String>,
    /// Token of a receipt: waits until the order store has seen the event. It makes up for an order
    /// that was placed or changed a moment ago at another gateway.
    pub receipt: Option<String>,
}

/// A cancellation.
#[derive(InputObject)]
pub(crate) struct CancelOrderInput {
    /// The order.
    pub order_id: ID,
    /// Version of the order that is to be cancelled: where the order has another one, nothing
    /// changes and the error is VERSION_CONFLICT. A change that comes in between after that is
    /// cancelled with the rest.
    pub expected_version: Option<i32>,
    /// Why, in the client's words. At most 1,000 characters.
    pub reason: Option<String>,
    /// Token of a receipt: waits until the order store has seen the event.
    pub receipt: Option<String>,
}

/// Another try at the payment of an order whose payment failed.
#[derive(InputObject)]
pub(crate) struct RetryPaymentInput {
    /// The order.
    pub order_id: ID,
    /// Version of the order that is to be paid: where the order has another one, nothing happens
    /// and the error is VERSION_CONFLICT. With it the request can be sent again after an error that
    /// is retriable, and still is one try.
    pub expected_version: Option<i32>,
    /// Another payment method; the same once more where none is given.
    pub payment_method: Option<String>,
    /// Token of a receipt: waits until the order store has seen the event.
    pub receipt: Option<String>,
}

/// Whom to tell about the outcome.
#[derive(InputObject)]
pub(crate) struct ContactInput {
    /// The person's name, as they write it. At most 200 characters.
    pub name: String,
    /// E-mail address: ASCII, at most 254 characters.
    pub email: String,
}

/// A line of an order.
#[derive(InputObject)]
pub(crate) struct OrderLineInput {
    /// The restaurant's own code of the dish. At most 64 visible characters.
    pub sku: String,
    /// The dish as the customer sees it. At most 200 characters.
    pub name: String,
    /// How many: 1 to 9,999.
    pub quantity: i32,
    /// Price of one in minor units of the currency: 0 to 2^53 - 1.
    pub unit_price_minor: Long,
}

/// Which orders; each condition that is given has to hold.
#[derive(InputObject, Default)]
pub(crate) struct OrderFilter {
    /// Only those of this customer.
    pub customer_id: Option<ID>,
    /// Only those with one of these states.
    pub status: Option<Vec<OrderStatus>>,
    /// Only those whose payment has one of these states.
    pub payment_status: Option<Vec<PaymentStatus>>,
    /// Only those with this payment: the provider's id of it.
    pub payment_id: Option<String>,
    /// Only those in whose contact (name, e-mail address) or note this text stands, in capitals or
    /// not. 1 to 100 characters. A page looks through 2,000 orders at the most: ask within a time,
    /// or of one customer.
    pub text: Option<String>,
    /// Only those to which something happened at this time or later.
    pub updated_after: Option<DateTime>,
    /// Only those to which nothing happened at this time or later.
    pub updated_before: Option<DateTime>,
    /// Only those placed at this time or later.
    pub placed_after: Option<DateTime>,
    /// Only those placed earlier than this time.
    pub placed_before: Option<DateTime>,
}

impl OrderFilter {
    /// Whether it asks for what can be there.
    pub fn check(&self) -> Result<(), Failure> {
        let invalid = |message| Err(Failure::new(Code::Invalid, message));
        let length = self.text.as_ref().map(|text| text.chars().take(MAX_TEXT + 1).count());
        if length.is_some_and(|length| length == 0 || length > MAX_TEXT) {
            return invalid(format!("filter.text must have 1 to {MAX_TEXT} characters"));
        }
        if self.payment_id.as_ref().is_some_and(|id| id.len() > MAX_PAYMENT_ID) {
            return invalid(format!("filter.paymentId has at most {MAX_PAYMENT_ID} bytes"));
        }
        Ok(())
    }
}
