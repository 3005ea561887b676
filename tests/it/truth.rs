//! A provider that charges and hangs up, fails and dawdles, and two payment processors that are
//! killed in turn, on a real Kafka: what is said of each order is what the provider's books say.
//!
//! On every commit it runs small; `tests/chaos/run truth` has 2,000 orders in 45 seconds.
//! `COMANDA_TRUTH_SEED` repeats what is asked for and which requests fail. Kills come where they
//! come.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use comanda_sandbox::payment::{Attempt, Ledger, Outcome};
use comanda_schemas::{FailureReason, OrderEvent, PaymentEvent, PaymentEventType};
use comanda_store::OrderStatus;
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness;
use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::Installation;
use crate::harness::process::{Comanda, ledger};
use crate::projectors::{has_read_all, open};

const PROCESSORS: usize = 2;
const KILL_EVERY: Duration = Duration::from_secs(10);
/// All is told this long after the last order.
const DRAIN: Duration = Duration::from_secs(180);
const WINDOW: usize = 64;

const CHARGED: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_chargeDeclined";
/// Never answered, never charged.
const UNREACHABLE: &str = "pm_sandbox_drop";
/// Each key is burnt by a 500 at once.
const BROKEN: &str = "pm_sandbox_error500";

/// Three tenths of the requests are charged and hung up on, a tenth gets a 500, half of them for
/// ever, and a tenth is slow.
const STRIKES: [&str; 5] = [
    "sandbox.payment.charge_then_drop_percent=30",
    "sandbox.payment.error500_percent=5",
    "sandbox.payment.stored_error500_percent=5",
    "sandbox.payment.slow_percent=10",
    "sandbox.payment.slow_ms=2500",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_paid_or_failed_as_the_providers_books_have_it() {
    let Some(parts) = harness::real_parts().await else { return };
    let _alone = harness::heavy().await;
    let orders = harness::scale("TRUTH_ORDERS", 700);
    let load = Duration::from_secs(harness::scale("TRUTH_SECONDS", 24));
    let seed: u64 = harness::scale("TRUTH_SEED", rand::random::<u32>().into());
    eprintln!("truth: {orders} orders in {load:?}; COMANDA_TRUTH_SEED={seed} asks for the same");
    let mut installation = Installation::new(parts, "truth").await;
    let seeded = format!("sandbox.payment.seed={seed}");
    let settings = [&[seeded.as_str()], STRIKES.as_slice()].concat();
    let (_provider, provider_url) = installation.start_provider(&settings).await;
    let (_mailbox, mailbox_url) = installation.start_mailbox().await;
    for setting in [
        // Shorter than what is slow takes.
        "payment.request_timeout_ms=1500".to_owned(),
        "payment.retry_unresolved_ms=1000".to_owned(),
        "payment.give_up_after_ms=5000".to_owned(),
        format!("engine.max_in_flight_records={WINDOW}"),
    ] {
        installation.set(setting);
    }
    let mut house = installation.start(&["run", "gateway", "projector", "notifier"]);
    let gateway = installation.gateway(&mut house).await;
    let mut processors: Vec<Comanda> =
        (0..PROCESSORS).map(|_| installation.start(&["payment"])).collect();

    let placing = tokio::spawn(place_all(gateway.clone(), seed, orders, load));
    let (began, mut kills) = (Instant::now(), 0);
    while began.elapsed() + KILL_EVERY < load {
        tokio::time::sleep_until((began + KILL_EVERY * (kills + 1)).into()).await;
        let next = kills as usize % PROCESSORS;
        assert!(processors.iter_mut().all(Comanda::is_running), "a processor gave up");
        processors[next].kill9();
        processors[next] = installation.start(&["payment"]);
        kills += 1;
        let decided = installation.events::<PaymentEvent>().await.len();
        assert!(0 < decided && decided < orders, "{decided} results: nothing to kill");
    }
    let placed = placing.await.unwrap();
    installation.consumed_whole(DRAIN).await;
    assert!(processors.iter_mut().all(Comanda::is_running), "a processor gave up");

    let (results, audit) = installation.all_told(DRAIN).await;
    assert_eq!(audit["order_events"], json!(orders));
    let mails = reqwest::get(format!("{mailbox_url}/api/mails")).await.unwrap();
    let mails: Value = mails.json().await.unwrap();
    assert_eq!(mails["counts"]["received"], json!(orders), "a mail an order");

    let ledger = ledger(&provider_url).await;
    let told = check(&installation, &placed, &results, &ledger).await;
    let again = ledger.charges.iter().filter(|charge| charge.requests > 1).count();
    let struck = &ledger.totals;
    eprintln!("truth: {kills} kills; {told:?}; {again} charges asked for again; {struck:?}");
    assert!(struck.hung_up as usize > orders / 4, "{struck:?}");
    assert!(struck.server_errors as usize > orders / 20, "{struck:?}");
    assert!(struck.look_ups as usize > orders / 4 && again > 0, "{struck:?}");
    let words: HashSet<_> = told.keys().map(String::as_str).collect();
    for word in ["PAID", "PAYMENT_FAILED DECLINED", "PAYMENT_FAILED UNREACHABLE"] {
        assert!(words.contains(word), "nothing was {word}: {told:?}");
    }
}

/// Places the orders over the time of the load; the payment method of each.
async fn place_all(
    gateway: Gateway,
    seed: u64,
    orders: usize,
    load: Duration,
) -> HashMap<String, &'static str> {
    let began = Instant::now();
    let place = |n: usize| {
        let gateway = &gateway;
        async move {
            let mut random = StdRng::seed_from_u64(seed ^ (n as u64) << 32);
            let method = match random.random_range(0..100) {
                0..85 => CHARGED,
                85..95 => DECLINED,
                95..98 => UNREACHABLE,
                _ => BROKEN,
            };
            let mut input = order(&format!("truth-{seed}-{n}"));
            input["paymentMethod"] = json!(method);
            input["lines"][0]["quantity"] = json!(random.random_range(1..50));
            tokio::time::sleep_until((began + load.mul_f64(n as f64 / orders as f64)).into()).await;
            (gateway.accepted(input).await, method)
        }
    };
    stream::iter(0..orders).map(place).buffer_unordered(16).collect().await
}

/// Compares the topics, the store and the provider's books, order by order; how many orders came
/// to what.
async fn check(
    installation: &Installation,
    placed: &HashMap<String, &'static str>,
    results: &[PaymentEvent],
    ledger: &Ledger,
) -> BTreeMap<String, usize> {
    let store = open(installation.store_url()).await;
    has_read_all::<PaymentEvent>(installation, &store).await;
    let mut charges: HashMap<&str, Vec<&Attempt>> = HashMap::new();
    for charge in &ledger.charges {
        charges.entry(charge.order_id.as_deref().expect("of an order")).or_default().push(charge);
    }
    let mut of_order: HashMap<String, Vec<&PaymentEvent>> = HashMap::new();
    for result in results {
        of_order.entry(result.order_id.to_string()).or_default().push(result);
    }
    let events = installation.events::<OrderEvent>().await;
    assert_eq!(events.len(), placed.len());
    let mut told = BTreeMap::new();
    for event in events {
        let id = event.order_id.to_string();
        let [result] = of_order[&id][..] else { panic!("{id}: {:#?}", of_order[&id]) };
        let charges = charges.remove(id.as_str()).unwrap_or_default();
        let view = store.order(event.order_id).await.unwrap().expect("the store has it");
        assert_eq!(view.payment.reason, result.payment.reason, "{id}");
        assert_eq!(result.order, event.order, "{id}");
        let case = format!("{}: {result:#?}\n{charges:#?}", placed[&id]);
        match view.status {
            OrderStatus::Paid => {
                assert_eq!(result.r#type, PaymentEventType::Succeeded, "{case}");
                let [charge] = charges[..] else { panic!("{case}") };
                assert_eq!(charge.payment_intent, result.payment.payment_id, "{case}");
                assert_eq!((charge.amount, charge.refunded), (event.order.total_minor, 0));
                assert_eq!(charge.amount, result.payment.amount_minor, "{case}");
                assert_eq!(charge.currency, "eur");
                assert_eq!(placed[&id], CHARGED, "{case}");
            }
            OrderStatus::PaymentFailed => {
                assert_eq!(result.r#type, PaymentEventType::Failed, "{case}");
                assert!(charges.is_empty(), "{case}");
                let is_declined = ledger.not_charged.iter().any(|attempt| {
                    attempt.order_id.as_ref() == Some(&id) && attempt.outcome == Outcome::Declined
                });
                let reason = result.payment.reason;
                assert_eq!(reason == Some(FailureReason::Declined), is_declined, "{case}");
            }
            OrderStatus::Pending | OrderStatus::Cancelled | OrderStatus::Refunded => {
                panic!("{case}");
            }
        }
        let reason = view.payment.reason.map(|reason| format!(" {}", reason.as_str()));
        let word = format!("{}{}", view.status.as_str(), reason.unwrap_or_default());
        *told.entry(word).or_default() += 1;
    }
    assert!(charges.is_empty(), "charges of nobody's orders: {charges:#?}");
    assert_eq!(ledger.totals.orders_charged_twice, 0);
    told
}
