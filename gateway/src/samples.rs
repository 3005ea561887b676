//! Orders for the tests.

use comanda_schemas::{
    Contact, Currency, Order, OrderEvent, OrderEventType, OrderId, OrderLine, Timestamp,
};

/// An order of one dish for one euro.
pub(crate) fn order() -> Order {
    let line = OrderLine { sku: "s".into(), name: "n".into(), quantity: 1, unit_price_minor: 100 };
    Order {
        currency: Currency::parse("EUR").unwrap(),
        total_minor: 100,
        lines: vec![line],
        contact: Contact { name: "n".into(), email: "a@example.com".into() },
        payment_method: "pm_card_visa".into(),
        note: None,
    }
}

/// The first event of an order of customer `c`.
pub(crate) fn event(order_id: OrderId, r#type: OrderEventType) -> OrderEvent {
    OrderEvent {
        event_id: OrderEvent::derive_id(order_id, 1, r#type),
        r#type,
        order_id,
        version: 1,
        occurred_at: Timestamp::now(),
        customer_id: "c".into(),
        order: order(),
        reason: None,
        seen_offset: None,
    }
}
