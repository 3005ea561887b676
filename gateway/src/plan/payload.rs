//! What `placeOrder` answers, written from the event that was stored.
//!
//! An order that was just placed is what its event says. Where nothing is selected of it but what
//! the event has as it is, the order as GraphQL knows it is never made.

use async_graphql::parser::types::SelectionSet;
use comanda_schemas::OrderEvent;

use super::output::{Output, Writer, json, leaf, object, symbol, time};
use crate::input::UserError;
use crate::place::{Placed, Shown};
use crate::schema::mutation::Payload;
use crate::schema::outputs::{OrderStatus, Receipt, WholeOrder as Order};

impl Output for Payload {
    fn writer(selected: &SelectionSet) -> Option<Writer<Self>> {
        object("PlaceOrderPayload", selected, |plain| match plain.name {
            "order" => {
                let write = order(plain.selected)?;
                some(move |placed, out| write(placed, out))
            }
            "receipt" => {
                let write = Receipt::writer(plain.selected)?;
                some(move |placed, out| write(&Receipt(placed.receipt.clone()), out))
            }
            "errors" => {
                let write = Vec::<UserError>::writer(plain.selected)?;
                Some(Box::new(move |payload, out| match payload {
                    Self::Placed(_) => out.extend_from_slice(b"[]"),
                    Self::Refused(errors) => write(errors, out),
                }))
            }
            _ => None,
        })
    }
}

/// A writer of what is there where the order was placed.
fn some(write: impl Fn(&Placed, &mut Vec<u8>) + Send + Sync + 'static) -> Option<Writer<Payload>> {
    Some(Box::new(move |payload, out| match payload {
        Payload::Placed(placed) => write(placed, out),
        Payload::Refused(_) => out.extend_from_slice(b"null"),
    }))
}

fn order(selected: &SelectionSet) -> Option<Writer<Placed>> {
    let (whole, short) = (Order::writer(selected)?, of_event(selected));
    Some(Box::new(move |placed, out| match (&placed.order, &short) {
        (Shown::Placed(event), Some(write)) => write(event, out),
        _ => whole(&placed.to_view().into(), out),
    }))
}

/// A writer of an order of which nothing is known but the event that placed it, where that is
/// enough for what is selected.
fn of_event(selected: &SelectionSet) -> Option<Writer<OrderEvent>> {
    object("Order", selected, |plain| {
        let selected = plain.selected;
        match plain.name {
            "id" => leaf(selected, |it: &OrderEvent, out| json(&it.order_id, out)),
            "customerId" => leaf(selected, |it: &OrderEvent, out| json(&it.customer_id, out)),
            "status" => leaf(selected, |_: &OrderEvent, out| symbol(&OrderStatus::Pending, out)),
            "version" => leaf(selected, |it: &OrderEvent, out| json(&it.version, out)),
            "currency" => {
                leaf(selected, |it: &OrderEvent, out| json(it.order.currency.code(), out))
            }
            "totalMinor" => leaf(selected, |it: &OrderEvent, out| json(&it.order.total_minor, out)),
            "paymentMethod" => {
                leaf(selected, |it: &OrderEvent, out| json(&it.order.payment_method, out))
            }
            "note" => leaf(selected, |it: &OrderEvent, out| json(&it.order.note, out)),
            "placedAt" | "updatedAt" => {
                leaf(selected, |it: &OrderEvent, out| time(it.occurred_at, out))
            }
            _ => None,
        }
    })
}
