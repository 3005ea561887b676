//! Kill −9 of the payment processor in the middle of its work, on a real Kafka.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use comanda_schemas::{FailureReason, PaymentEvent, PaymentEventType};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::engine::{place, results};
use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::Installation;
use crate::harness::process::ledger;
use crate::harness::proxy::{
    ADD_PARTITIONS_TO_TXN, END_TXN, Fault, PRODUCE, Proxy, TXN_OFFSET_COMMIT,
};
use crate::harness::{self, eventually};

const ORDERS: usize = 1_000;
/// Charges after which the processor is killed, each time.
const KILLS: [usize; 2] = [200, 600];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_payment_processor_leaves_one_result_and_one_charge_per_order() {
    let Some(parts) = harness::real_parts().await else { return };
    let _alone = harness::heavy().await;
    let mut installation = Installation::new(parts, "kill").await;
    let (_provider, provider) =
        installation.start_provider(&["sandbox.payment.latency_ms=50"]).await;
    let (_mailbox, mailbox) = installation.start_mailbox().await;
    // At 50 ms a call, slow enough to meet the processor in the middle of its work.
    installation.set("engine.max_in_flight_records=32".to_owned());
    let mut house = installation.start(&["run", "gateway", "projector", "notifier"]);
    let mut payment = installation.start(&["payment"]);
    let gateway = installation.gateway(&mut house).await;

    let placing = tokio::spawn(place_all(gateway.clone()));
    for kill in KILLS {
        let charged = eventually("charges go on", Duration::from_secs(90), async || {
            let charged = ledger(&provider).await.charges.len();
            (charged >= kill).then_some(charged)
        })
        .await;
        assert!(charged < ORDERS * 8 / 10, "{charged} charges: too late to kill anything");
        payment.kill9();
        payment = installation.start(&["payment"]);
    }
    let placed = placing.await.unwrap();
    assert_eq!(placed.len(), ORDERS);
    installation.consumed_whole(Duration::from_secs(120)).await;

    let results = installation.events::<PaymentEvent>().await;
    assert_eq!(results.len(), ORDERS);
    let mut by_order: HashMap<String, &PaymentEvent> = HashMap::new();
    for result in &results {
        let earlier = by_order.insert(result.order_id.to_string(), result);
        assert!(earlier.is_none(), "two results: {earlier:?} and {result:?}");
    }
    let ledger = ledger(&provider).await;
    // What a call that a kill cut off had charged was found. Without any, nothing was proven.
    let found =
        results.iter().filter(|r| r.payment.attempts == 0 && r.payment.payment_id.is_some());
    assert!(found.count() > 0, "the kills met no call");
    let again: Vec<_> = ledger.charges.iter().filter(|charge| charge.requests > 1).collect();
    assert!(again.is_empty(), "sent again: {again:#?}");
    let mut charges: BTreeMap<&str, usize> = BTreeMap::new();
    for charge in &ledger.charges {
        *charges.entry(charge.order_id.as_deref().expect("metadata[order_id]")).or_default() += 1;
    }
    for (id, token) in &placed {
        let result = by_order.get(id).unwrap_or_else(|| panic!("no result for {id}"));
        let (kind, reason, charged) = match *token {
            DECLINED => (PaymentEventType::Failed, Some(FailureReason::Declined), 0),
            _ => (PaymentEventType::Succeeded, None, 1),
        };
        assert_eq!((result.r#type, result.payment.reason), (kind, reason), "{token}: {result:?}");
        assert_eq!(charges.get(id.as_str()).copied().unwrap_or(0), charged, "{token}: {id}");
    }
    eventually("a mail for each order", Duration::from_secs(60), async || {
        let url = format!("{mailbox}/api/mails");
        let mails: Value = gateway.http.get(url).send().await.unwrap().json().await.unwrap();
        let received = mails["counts"]["received"].as_u64().expect("a count");
        assert!(received <= ORDERS as u64, "{received} mails for {ORDERS} orders");
        (received == ORDERS as u64).then_some(())
    })
    .await;
}

/// A transaction of a killed processor counts whole or not at all, whatever it was at.
#[tokio::test(flavor = "multi_thread")]
async fn a_processor_killed_in_any_request_of_its_transaction_leaves_one_result_an_order() {
    const ORDERS: usize = 40;
    let Some(parts) = harness::own_parts().await else { return };
    let _alone = harness::heavy().await;
    let mut installation = Installation::new(parts, "kill-txn").await;
    let (_provider, _) = installation.start_provider(&[]).await;
    let side = parts.kafka.side();
    let mut placed = 0;
    for (request, fault) in [
        (ADD_PARTITIONS_TO_TXN, Fault::HoldResponses),
        (PRODUCE, Fault::HoldRequests),
        (PRODUCE, Fault::HoldResponses),
        (TXN_OFFSET_COMMIT, Fault::HoldResponses),
        (END_TXN, Fault::HoldRequests),
        (END_TXN, Fault::HoldResponses),
    ] {
        let proxy = Proxy::start(side, request).await.unwrap();
        proxy.set(fault);
        installation.set(format!("kafka.brokers=127.0.0.1:{}", side[1]));
        let mut payment = installation.start(&["payment"]);
        place(&installation, ORDERS).await;
        placed += ORDERS;
        let met = async || (proxy.struck() > 0).then_some(());
        let what = format!("{fault:?} meets a request of kind {request}");
        eventually(&what, Duration::from_secs(60), met).await;
        payment.kill9();
        drop(proxy);
        installation.set(format!("kafka.brokers={}", parts.kafka.brokers()));
        let mut successor = installation.start(&["payment"]);
        results(&installation, placed).await;
        successor.terminate();
        assert!(successor.exit_within(Duration::from_secs(30)).await.success());
    }
    results(&installation, placed).await;
}

const CHARGED: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_chargeDeclined";
/// Most are charged; some are declined; some are charged but the answer is lost.
const TOKENS: [&str; 10] = [
    CHARGED,
    CHARGED,
    CHARGED,
    DECLINED,
    CHARGED,
    CHARGED,
    CHARGED,
    "pm_sandbox_charge_then_drop",
    CHARGED,
    CHARGED,
];

/// Places all orders, 16 at a time; their ids and payment methods.
async fn place_all(gateway: Gateway) -> Vec<(String, &'static str)> {
    let gateway = Arc::new(gateway);
    let place = |n: usize| {
        let gateway = gateway.clone();
        async move {
            let token = TOKENS[n % TOKENS.len()];
            let mut input = order(&format!("kill-{n}"));
            input["paymentMethod"] = json!(token);
            (gateway.accepted(input).await, token)
        }
    };
    stream::iter(0..ORDERS).map(place).buffer_unordered(16).collect().await
}
