//! An order that stands in the log twice, with two contents, as a race of two gateways can leave it;
//! and who handles the second record has not handled the first.

use std::time::Duration;

use comanda_schemas::{OrderEvent, PaymentEvent, Topic};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::dead_letters::placed;
use crate::engine::{place, results, write};
use crate::harness;
use crate::harness::installation::Installation;
use crate::harness::process;

const LIMIT: Duration = Duration::from_secs(60);

/// For nothing, and so not known to the provider; then for something.
fn records() -> [OrderEvent; 2] {
    let paid = placed();
    let mut free = paid.clone();
    free.order.total_minor = 0;
    free.order.lines[0].unit_price_minor = 0;
    [free, paid]
}

#[tokio::test]
async fn the_second_record_of_an_order_has_the_first_ones_result_from_whoever_handles_it() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "twice").await;
    let (_provider, provider_url) = installation.start_provider(&[]).await;
    let [first, second] = records();
    let order_id = first.order_id;

    let mut payment = installation.start(&["payment"]);
    place(&installation, 1).await;
    results(&installation, 1).await;
    // While this is open no reader of what is committed sees what comes after it.
    let other = open_transaction(&installation, &first).await;
    write(&installation, &[first]).await;
    installation.consumed_whole(LIMIT).await;
    payment.kill9();

    let mut payment = installation.start(&["payment"]);
    write(&installation, &[second]).await;
    payment.line("wait for a transaction that is still open").await;
    tokio::task::spawn_blocking(move || other.abort_transaction(LIMIT)).await.unwrap().unwrap();

    results(&installation, 3).await;
    let mut twice = installation.events::<PaymentEvent>().await;
    twice.retain(|result| result.order_id == order_id);
    let [first, second] = twice.try_into().unwrap();
    assert_ne!(first.source.offset, second.source.offset);
    assert_eq!(PaymentEvent { source: first.source.clone(), ..second }, first);
    assert_eq!(first.order.total_minor, 0);
    assert_eq!(process::ledger(&provider_url).await.totals.charges, 1, "of the order before");
}

/// A transaction of another producer, which has written beside the order's results.
async fn open_transaction(installation: &Installation, order: &OrderEvent) -> BaseProducer {
    let mut config = installation.parts.kafka.options().client_config("it-other");
    let topic = installation.names.name(Topic::Payments);
    config.set("transactional.id", format!("{topic}-other"));
    let key = order.order_id.to_string();
    let begun = tokio::task::spawn_blocking(move || {
        let other: BaseProducer = config.create().unwrap();
        other.init_transactions(LIMIT).unwrap();
        other.begin_transaction().unwrap();
        other.send(BaseRecord::to(&topic).key(&key).payload("never committed")).unwrap();
        other.flush(LIMIT).unwrap();
        other
    });
    begun.await.unwrap()
}
