//! What is wrong with settings that each have the right type.

use anyhow::{Context, Result, anyhow, bail};
use comanda_processors::{engine, notifier, payment};
use rdkafka::ClientConfig;
use tracing_subscriber::EnvFilter;

use super::{Settings, problem};

/// What no single type can check.
pub(super) fn check(settings: &Settings) -> Result<()> {
    let engine = &settings.engine;
    let topics = &settings.topics;
    let names = topics.names().all();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let checks = [
        (settings.kafka.brokers.is_empty(), "kafka.brokers must not be empty"),
        (distinct.len() != names.len(), "the names in [topics] must differ"),
        (
            names.iter().any(|n| n.len() > 249 || !n.chars().all(legal)),
            "[topics]: topic names may have letters, digits, '.', '_' and '-', 249 at the most with prefix",
        ),
        (topics.partitions < 1, "topics.partitions must be at least 1"),
        (engine.max_in_flight_records < 1, "engine.max_in_flight_records must be at least 1"),
        (engine.max_transaction_records < 1, "engine.max_transaction_records must be at least 1"),
        (engine.max_attempts < 1, "engine.max_attempts must be at least 1"),
        (
            engine.max_in_flight_records > 10_000,
            "engine.max_in_flight_records must be at most 10000: what is finished out of order must \
             fit into the metadata of an offset",
        ),
        (
            !(1..=100).contains(&engine.breaker_dead_percent),
            "engine.breaker_dead_percent must be from 1 to 100",
        ),
        (
            engine.transaction_timeout_ms < 1_000,
            "engine.transaction_timeout_ms must be at least 1000",
        ),
        (settings.watchdog.deadline_ms < 1, "watchdog.deadline_ms must be at least 1"),
        (settings.projector.batch_records < 1, "projector.batch_records must be at least 1"),
        (topics.replication_factor == 0, "topics.replication_factor must be -1, or at least 1"),
        (
            [&topics.orders, &topics.payments, &topics.notifications, &topics.payment_reports]
                .iter()
                .any(|name| name.is_empty()),
            "the names in [topics] must not be empty",
        ),
        (
            engine.max_attempts < settings.notifier.max_attempts,
            "engine.max_attempts must not be below notifier.max_attempts",
        ),
        (
            engine.drain_ms >= engine.session_timeout_ms,
            "engine.drain_ms must be below engine.session_timeout_ms",
        ),
        (
            engine.drain_ms >= settings.shutdown.deadline_ms,
            "engine.drain_ms must be below shutdown.deadline_ms",
        ),
        (settings.producer.max_in_flight_records < 1, "producer.max_in_flight_records is below 1"),
        (
            settings.producer.delivery_timeout_ms <= settings.producer.linger_ms,
            "producer.delivery_timeout_ms must be above producer.linger_ms",
        ),
        (
            settings.gateway.request_timeout_ms
                <= settings.producer.delivery_timeout_ms + settings.gateway.receipt_wait_ms,
            "gateway.request_timeout_ms must be above producer.delivery_timeout_ms and \
             gateway.receipt_wait_ms together",
        ),
    ];
    for (wrong, message) in checks {
        if wrong {
            bail!("the configuration is not valid:\n  {message}");
        }
    }
    for (key, url) in [
        ("registry.url", &settings.registry.url),
        ("payment.provider_url", &settings.payment.provider_url),
        ("notifier.provider_url", &settings.notifier.provider_url),
    ] {
        let parsed = url.parse::<reqwest::Url>().ok();
        if !parsed.is_some_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host()) {
            bail!("the configuration is not valid:\n  {key} must be an http or https URL");
        }
    }
    if let Err(error) = settings.store.validate() {
        // Without its source: sqlx repeats the value of a parameter that it does not know.
        bail!(
            "the configuration is not valid:\n  store.url, max_connections, keyed_connections or statement_timeout_ms: {error}"
        );
    }
    settings.gateway.validate().context("gateway")?;
    payment::Payment::new(settings.payment.clone()).context("payment")?;
    notifier::Notifier::new(settings.notifier.clone()).context("notifier")?;
    let native = |section: &str, config: ClientConfig| {
        let problem = |error| anyhow!("{section}: {}", problem::of_librdkafka(&error));
        config.create_native_config().map(drop).map_err(problem)
    };
    native("kafka", settings.kafka.client_config("check"))?;
    native("producer", settings.producer.client_config(&settings.kafka))?;
    let kafka = settings.kafka.clone();
    let connect = engine::Connect::per_role(move |role| kafka.client_config(role));
    native("engine", engine.client_config(&connect))?;
    if EnvFilter::try_new(&settings.log.level).is_err() {
        bail!("the configuration is not valid:\n  log.level is not a filter");
    }
    Ok(())
}
