//! The payment processor's calls without Kafka: as many at one time as the engine's window holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use comanda_processors::payment::Payment;
use comanda_processors::{Input, Outcome, Processor};
use comanda_schemas::{OrderEvent, PaymentEventType, Source, Topic};
use tokio::task::JoinSet;

use super::case::{Parts, Shown, Work};
use crate::telemetry;

/// Starts the calls.
pub fn start(parts: &Parts) -> Result<Work> {
    // As under the engine.
    let metrics = telemetry::start_metrics()?;
    let payment = Arc::new(Payment::new(parts.settings.payment.clone())?);
    let (spec, stop) = (parts.spec.clone(), parts.stop.clone());
    let window = parts.settings.engine.max_in_flight_records;
    let shown = Shown::default();
    shown.set_ready();
    let count = shown.clone();
    let ended = tokio::spawn(async move {
        let next = Arc::new(AtomicU64::new(0));
        let topic = spec.names.name(Topic::Orders);
        let mut callers = JoinSet::new();
        for _ in 0..window {
            let (payment, next) = (payment.clone(), next.clone());
            let (stop, count, topic, made) =
                (stop.clone(), count.clone(), topic.clone(), spec.made);
            callers.spawn(async move {
                while !stop.is_cancelled() {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= spec.orders {
                        break;
                    }
                    call(&payment, made.event(n), &topic).await?;
                    count.add(1);
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        // The meter may not have seen the last order yet.
        stop.cancelled().await;
        Ok(())
    });
    let work = shown.work(ended);
    let done = work.done;
    let done = move || {
        metrics.run_upkeep();
        done()
    };
    Ok(Work { done: Box::new(done), ..work })
}

async fn call(payment: &Payment, event: OrderEvent, topic: &str) -> Result<()> {
    let source = Source { topic: topic.to_owned(), partition: 0, offset: 0 };
    match payment.handle(&Input::new(event, source)).await {
        Outcome::Emit(result) if result.r#type == PaymentEventType::Succeeded => Ok(()),
        other => bail!("the provider did not charge: {other:?}"),
    }
}
