//! What a client sends to place, change and list orders, before any of it is checked.

use async_graphql::{ID, InputObject, MaybeUndefined};

use super::outputs::OrderStatus;
use super::scalars::{DateTime, Long};

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
    /// Only those placed at this time or later.
    pub placed_after: Option<DateTime>,
    /// Only those placed earlier than this time.
    pub placed_before: Option<DateTime>,
}
