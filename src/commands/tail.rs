//! `comanda tail`: decoded events as NDJSON.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_schemas::headers::RawHeaders;
use comanda_schemas::scan::{Scan, Step};
use comanda_schemas::{
    OrderId, ReadError, Registry, RegistryError, Timestamp, Topic, TopicNames, headers,
};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::cli::TailArgs;
use crate::config::Loaded;
use crate::{output, points, signals};

/// How long one look for the next record takes; a signal is noticed that late.
const LOOK: Duration = Duration::from_millis(200);

/// Prints records until a signal, the count, or a closed pipe.
pub async fn run(loaded: Loaded, args: TailArgs) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    let settings = loaded.settings;
    let registry = Registry::new(&settings.registry)?;
    let topic = resolve(&settings.topics.names(), &args.topic);
    let from = points::parse(&args.from, Timestamp::now())?;
    let order = args.order.as_deref().map(str::parse::<OrderId>).transpose();
    let order = order.context("--order takes the id of an order, a UUID")?;
    let scan_topic = topic.clone();
    let scan =
        tokio::task::spawn_blocking(move || Scan::open(&settings.kafka, &scan_topic, from)).await?;
    let tail = Tail { order, left: args.count, registry, runtime: Handle::current() };
    tokio::task::spawn_blocking(move || tail.print(scan?, &shutdown)).await?
}

/// A topic's short name, or any full name.
fn resolve(names: &TopicNames, name: &str) -> String {
    match name {
        "orders" => names.name(Topic::Orders),
        "payments" => names.name(Topic::Payments),
        "notifications" => names.name(Topic::Notifications),
        "payment-reports" => names.name(Topic::PaymentReports),
        other => other.to_owned(),
    }
}

struct Tail {
    order: Option<OrderId>,
    left: Option<u64>,
    registry: Registry,
    runtime: Handle,
}

impl Tail {
    fn print(mut self, mut scan: Scan, shutdown: &CancellationToken) -> Result<()> {
        while !shutdown.is_cancelled() && self.left != Some(0) {
            let Step::Record(record) = scan.next(LOOK)? else { continue };
            if let Some(order) = self.order
                && record.key() != Some(order.to_string().as_bytes())
            {
                continue;
            }
            if !output::line(self.line(&record)?)? {
                return Ok(());
            }
            self.left = self.left.map(|left| left - 1);
        }
        Ok(())
    }

    /// One record; a value that is no event of ours is shown as text, with the reason.
    fn line(&self, record: &BorrowedMessage<'_>) -> Result<Value> {
        let payload = record.payload().unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (value, error) = match self.runtime.block_on(self.registry.read_json(payload)) {
            Ok(value) => (value, None),
            Err(ReadError::Registry(error)) if !matches!(error, RegistryError::NotFound { .. }) => {
                bail!(error)
            }
            Err(error) => (json!(text(payload)), Some(headers::error_chain(&error))),
        };
        let mut headers = serde_json::Map::new();
        for (name, value) in record.headers().into_iter().flat_map(RawHeaders::raw) {
            headers.insert(text(name), json!(value.map(text)));
        }
        let timestamp = record.timestamp().to_millis().map(Timestamp::from_millis);
        let mut line = json!({
            "topic": record.topic(),
            "partition": record.partition(),
            "offset": record.offset(),
            "timestamp": timestamp.map(Timestamp::to_rfc3339),
            "key": record.key().map(text),
            "headers": headers,
            "value": value,
        });
        if let Some(error) = error {
            line["error"] = json!(error);
        }
        Ok(line)
    }
}
