//! Orders for the tests, and what a gateway is made of.

use comanda_schemas::{
    Contact, Currency, KafkaOptions, Order, OrderEvent, OrderEventType, OrderId, OrderLine,
    Registry, RegistryOptions, Timestamp, TopicNames,
};
use comanda_store::Store;
use tempfile::TempDir;

use crate::{Parts, Publisher};

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

/// Parts of a gateway whose order store is in `folder`, and which reach neither Kafka nor a registry.
pub(crate) async fn parts(folder: &TempDir, producer: Publisher) -> Parts {
    let store = comanda_store::Options {
        url: format!("sqlite://{}", folder.path().join("orders.db").display()),
        max_connections: 2,
        keyed_connections: 2,
        busy_timeout_ms: 5_000,
        statement_timeout_ms: 5_000,
        auto_migrate: true,
    };
    let registry = RegistryOptions {
        url: "http://127.0.0.1:9".into(),
        username: String::new(),
        password: Default::default(),
        auto_register: false,
        timeout_ms: 1_000,
    };
    Parts {
        producer,
        reports: None,
        store: Store::open(&store).await.unwrap(),
        registry: Registry::new(&registry).unwrap(),
        kafka: KafkaOptions {
            brokers: "127.0.0.1:9".into(),
            security_protocol: "plaintext".into(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password: Default::default(),
            ssl_ca_location: String::new(),
            properties: Default::default(),
        },
        names: TopicNames {
            prefix: String::new(),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
            payment_reports: "payment-reports".into(),
        },
    }
}
