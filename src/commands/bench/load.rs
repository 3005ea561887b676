//! The orders: the same for every case, made from their numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comanda_schemas::{
    Contact, Currency, Encoder, KafkaOptions, Order, OrderEvent, OrderEventType, OrderId,
    OrderLine, Timestamp, TraceContext, headers, log_error, log_line, send_when_there_is_room,
};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Pause while the broker takes what is there.
const PAUSE: Duration = Duration::from_millis(1);
/// The broker must have taken everything this long after the last order.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes orders; the same number always gives the same order.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Orders {
    run: u64,
    at: Timestamp,
}

impl Orders {
    /// Orders of one run, placed now.
    pub fn new() -> Self {
        Self { run: rand::random(), at: Timestamp::now() }
    }

    /// The order with number `n`.
    pub fn event(&self, n: u64) -> OrderEvent {
        let order_id: OrderId = self.uuid(n).to_string().parse().expect("the text of a UUID");
        let lines = vec![
            line("TAP-03", "Patatas bravas", 2, 650),
            line("VIN-11", "Copa de albariño", 2, 480),
            line("POS-02", "Crema catalana", 1, 590),
        ];
        OrderEvent {
            event_id: OrderEvent::derive_id(order_id, 1, OrderEventType::Placed),
            r#type: OrderEventType::Placed,
            order_id,
            version: 1,
            occurred_at: self.at,
            customer_id: Self::customer(n),
            order: Order {
                currency: Currency::parse("EUR").expect("a currency of ISO 4217"),
                total_minor: Order::total_of(&lines).expect("a small sum"),
                lines,
                contact: Contact { name: "Ana Ruiz".into(), email: "ana@example.com".into() },
                payment_method: "pm_card_visa".into(),
                note: None,
            },
            reason: None,
            seen_offset: None,
        }
    }

    /// Who places the order with number `n`; all are equally long.
    pub fn customer(n: u64) -> String {
        format!("table-{:03}", n % 1000)
    }

    /// The number of the order whose record has this key.
    pub fn number(&self, key: &[u8]) -> Option<u64> {
        let bits = Uuid::try_parse_ascii(key).ok()?.as_u128();
        ((bits >> 64) as u64 == self.run).then_some(bits as u64)
    }

    fn uuid(&self, n: u64) -> Uuid {
        Uuid::from_u128(u128::from(self.run) << 64 | u128::from(n))
    }
}

fn line(sku: &str, name: &str, quantity: i32, unit_price_minor: i64) -> OrderLine {
    OrderLine { sku: sku.into(), name: name.into(), quantity, unit_price_minor }
}

/// Writes orders to a topic as the gateway does.
pub struct Load {
    producer: ThreadedProducer<Failures>,
    topic: String,
    encoder: Encoder<OrderEvent>,
    orders: Orders,
}

impl Load {
    /// Writes to `topic`; `linger_ms` lets batches grow.
    pub fn open(
        kafka: &KafkaOptions,
        topic: String,
        schema_id: u32,
        orders: Orders,
        linger_ms: u32,
    ) -> Result<Self> {
        let mut config = kafka.client_config("bench");
        config
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", linger_ms.to_string());
        let producer = config.create_with_context(Failures::default()).context("the producer")?;
        Ok(Self { producer, topic, encoder: Encoder::new(schema_id), orders })
    }

    /// Hands over the order with number `n`.
    pub fn send(&self, n: u64) -> Result<()> {
        let event = self.orders.event(n);
        let (key, value) = (event.order_id.to_string(), self.encoder.encode(&event)?);
        let trace = TraceContext::new_root();
        let record = BaseRecord::to(&self.topic)
            .key(key.as_bytes())
            .payload(value.as_slice())
            .headers(headers::event_headers(&event, "/comanda/bench", &trace));
        send_when_there_is_room(&self.producer, record).context("writing an order")
    }

    /// Waits until the broker has all.
    pub fn finish(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.producer.in_flight_count() > 0 {
            if Instant::now() > until {
                bail!("the broker did not take the orders within {PATIENCE:?}");
            }
            std::thread::sleep(PAUSE);
        }
        match self.producer.context().count() {
            0 => Ok(()),
            failed => bail!("{failed} orders could not be written"),
        }
    }

    /// Writes the orders with numbers below `count`; how long it took.
    pub fn fill(&self, count: u64, stop: &CancellationToken) -> Result<Duration> {
        let began = Instant::now();
        for n in 0..count {
            if stop.is_cancelled() {
                bail!("interrupted");
            }
            self.send(n)?;
        }
        self.finish()?;
        Ok(began.elapsed())
    }
}

/// Counts what could not be delivered.
#[derive(Debug, Clone, Default)]
struct Failures(Arc<AtomicU64>);

impl Failures {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ClientContext for Failures {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_known_by_its_key_in_its_own_run_only() {
        let orders = Orders { run: 7, at: Timestamp::from_millis(0) };
        let key = orders.event(41).order_id.to_string();
        assert_eq!(orders.number(key.as_bytes()), Some(41));
        let other = Orders { run: 8, ..orders };
        assert_eq!(other.number(key.as_bytes()), None);
        assert_eq!(orders.number(b"table-7"), None);
        assert_ne!(orders.event(1).event_id, orders.event(2).event_id);
        assert_eq!(orders.event(1), orders.event(1));
    }
}
