//! Clients that place, change, retry and cancel the same orders at one time, through two gateways,
//! on a real Kafka, while the projector is killed. Whoever wins, the topics, the order store and the
//! provider's books must agree.
//!
//! On every commit it runs small; `tests/chaos/run races` has 500 orders on each database.
//! `COMANDA_RACES_SEED` repeats what the clients ask for; how it interleaves is the machine's.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use comanda_sandbox::payment::Ledger;
use comanda_schemas::{
    NotificationEvent, OrderEvent, OrderId, PaymentEvent, PaymentEventType, Race, Rejection,
};
use comanda_store::{OrderStatus, OrderView};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::Installation;
use crate::harness::process::ledger;
use crate::harness::{self, postgres};
use crate::projectors::{has_read_all, open, reference};

const LIMIT: Duration = Duration::from_secs(120);
const CLIENTS: usize = 8;
/// Most requests that race for one order, after it was placed.
const RIVALS: usize = 4;
/// Longest time from one order's placing to a rival's request, in milliseconds.
const SPREAD_MS: u64 = 80;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wins_the_topics_a_sqlite_store_and_the_providers_books_agree() {
    let Some(parts) = harness::real_parts().await else { return };
    race(Installation::new(parts, "races").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wins_the_topics_a_postgresql_and_the_providers_books_agree() {
    let Some(server) = postgres::shared().await else { return };
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "races").await;
    installation.use_store(server.create_database().await);
    race(installation).await;
}

async fn race(mut installation: Installation) {
    let _alone = harness::heavy().await;
    let (orders, seed) = (
        harness::scale("RACES_ORDERS", 120),
        harness::scale("RACES_SEED", rand::random::<u32>().into()),
    );
    eprintln!("races: {orders} orders; COMANDA_RACES_SEED={seed} asks for the same");
    let (_provider, provider_url) =
        installation.start_provider(&["sandbox.payment.latency_ms=20"]).await;
    let (_mailbox, _) = installation.start_mailbox().await;
    let mut first = installation.start(&["run", "gateway", "payment"]);
    let mut second = installation.start(&["run", "gateway", "payment", "notifier"]);
    let mut projector = installation.start(&["projector"]);
    let gateways =
        [installation.gateway(&mut first).await, installation.gateway(&mut second).await];

    let lives = stream::iter(0..orders).map(|n: u64| live(&gateways, seed, n));
    let mut lives = lives.buffer_unordered(CLIENTS);
    let mut refused = Vec::new();
    while let Some(refusals) = lives.next().await {
        refused.push(refusals);
        if refused.len() as u64 == orders / 2 {
            projector.kill9();
            projector = installation.start(&["projector"]);
        }
    }
    installation.consumed_whole(LIMIT).await;
    let (results, _) = installation.all_told(LIMIT).await;
    let events = installation.events::<OrderEvent>().await;
    check_rules(&events, &results);
    let ledger = ledger(&provider_url).await;
    assert_eq!(ledger.totals.orders_charged_twice, 0);
    let statuses = check_orders(&installation, &events, &ledger).await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let details = results.iter().map(|result| {
        let detail = result.payment.detail.as_deref().unwrap_or_default();
        format!("{} {detail}", result.r#type.as_str())
    });
    for counted in refused.into_iter().flatten().chain(details) {
        *counts.entry(counted).or_default() += 1;
    }
    eprintln!("races: {} order events; {statuses:?}; {counts:?}", events.len());
    assert_eq!(statuses.values().sum::<u64>(), orders);
    for r#type in ["SUCCEEDED", "FAILED", "REFUNDED", "CHANGE_REJECTED"] {
        let found = counts.keys().any(|counted| counted.starts_with(r#type));
        assert!(found, "a race without {}: {counts:?}", r#type);
    }
}

/// Places an order and has rivals ask for whatever comes to their minds; the codes of their
/// refusals.
async fn live(gateways: &[Gateway; 2], seed: u64, n: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed ^ n << 32);
    let mut placed = order(&format!("races-{seed}-{n}"));
    if random.random_ratio(1, 3) {
        placed["paymentMethod"] = json!("pm_card_chargeDeclined");
    }
    let answer = gateways[random.random_range(0..2)].place(placed.clone()).await;
    let id = answer["order"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let rivals: Vec<_> = (0..random.random_range(1..=RIVALS))
        .map(|_| {
            let after = Duration::from_millis(random.random_range(0..SPREAD_MS));
            let gateway = &gateways[random.random_range(0..2)];
            let (name, input) = request(&mut random, &id, &placed, &answer["receipt"]["token"]);
            async move {
                tokio::time::sleep(after).await;
                ask(gateway, name, input).await
            }
        })
        .collect();
    join_all(rivals).await.into_iter().flatten().collect()
}

fn request(
    random: &mut StdRng,
    id: &str,
    placed: &Value,
    receipt: &Value,
) -> (&'static str, Value) {
    let mut input = json!({ "orderId": id, "receipt": receipt });
    if random.random_ratio(1, 3) {
        input["expectedVersion"] = json!(random.random_range(1..=2));
    }
    let methods = ["pm_card_visa", "pm_card_mastercard", "pm_card_chargeDeclined"];
    let method = json!(methods[random.random_range(0..methods.len())]);
    let name = match random.random_range(0..9) {
        0 | 1 => {
            input["lines"] = placed["lines"].clone();
            input["lines"][0]["quantity"] = json!(random.random_range(1..9));
            "updateOrder"
        }
        2 => {
            input["paymentMethod"] = method;
            "updateOrder"
        }
        3 | 4 => {
            input["note"] = json!(format!("note {}", random.random_range(0..100)));
            "updateOrder"
        }
        5 | 6 => {
            input["paymentMethod"] = method;
            "retryPayment"
        }
        7 => "cancelOrder",
        _ => return ("placeOrder", placed.clone()),
    };
    (name, input)
}

/// Sends a request, and again as long as that is worth while; the code of its refusal.
async fn ask(gateway: &Gateway, name: &str, input: Value) -> Option<String> {
    let kind = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
    let query = format!(
        "mutation($input: {kind}!) {{ {name}(input: $input) {{ order {{ id }} receipt {{ token }} \
         errors {{ code }} }} }}"
    );
    let body = json!({ "query": query, "variables": { "input": input } }).to_string();
    loop {
        let (status, answer) = gateway.post(body.clone()).await;
        if answer["errors"][0]["extensions"]["retriable"] == true {
            continue;
        }
        assert_eq!((status, answer.get("errors")), (StatusCode::OK, None), "{answer}");
        let payload = &answer["data"][name];
        let code = payload["errors"][0]["code"].as_str().map(str::to_owned);
        assert_ne!(code.is_some(), payload["receipt"]["token"].is_string(), "{answer}");
        return code;
    }
}

/// Each event has the result that the log before it calls for.
fn check_rules(events: &[OrderEvent], results: &[PaymentEvent]) {
    let mut of_order: HashMap<OrderId, Vec<&PaymentEvent>> = HashMap::new();
    for result in results {
        of_order.entry(result.order_id).or_default().push(result);
    }
    let mut log: HashMap<OrderId, Vec<&OrderEvent>> = HashMap::new();
    for event in events {
        log.entry(event.order_id).or_default().push(event);
    }
    for (id, events) in log {
        let results = &of_order[&id];
        assert_eq!(results.len(), events.len(), "{id}");
        let mut race = Race::default();
        for (event, result) in events.iter().zip(results) {
            assert_eq!(result.event_id, PaymentEvent::derive_id(event.event_id), "{id}");
            let detail = result.payment.detail.as_deref().and_then(Rejection::from_word);
            let by_log = detail.filter(|detail| *detail != Rejection::AlreadyCharged);
            if let Some(entered) = race.enter(event) {
                assert_eq!(by_log, entered.err(), "{id}: {event:#?} {result:#?}");
            }
            let is_rejected = result.r#type == PaymentEventType::ChangeRejected;
            assert_eq!(is_rejected, detail.is_some(), "{id}: {result:#?}");
        }
    }
}

/// The store says of each order what its events say, and owes the provider what it has kept.
async fn check_orders(
    installation: &Installation,
    events: &[OrderEvent],
    ledger: &Ledger,
) -> BTreeMap<&'static str, u64> {
    let store = open(installation.store_url()).await;
    has_read_all::<OrderEvent>(installation, &store).await;
    has_read_all::<PaymentEvent>(installation, &store).await;
    has_read_all::<NotificationEvent>(installation, &store).await;
    let reference = reference(installation).await;
    let mut kept: HashMap<&str, i64> = HashMap::new();
    for charge in &ledger.charges {
        let order = charge.order_id.as_deref().expect("a charge of an order");
        *kept.entry(order).or_default() += charge.amount - charge.refunded;
    }
    let mut statuses = BTreeMap::new();
    for event in events.iter().filter(|event| event.version == 1) {
        let id = event.order_id;
        let order: OrderView = store.order(id).await.unwrap().expect("the store has it");
        let told = reference.order(id).await.unwrap().expect("the topics have it");
        assert_eq!(order, told, "{id}");
        let owed = match order.status {
            OrderStatus::Paid => order.order.total_minor,
            OrderStatus::PaymentFailed | OrderStatus::Cancelled | OrderStatus::Refunded => 0,
            OrderStatus::Pending => panic!("nothing came of it: {order:#?}"),
        };
        let kept = kept.get(id.to_string().as_str()).copied().unwrap_or(0);
        assert_eq!(kept, owed, "{id}: the provider's books say otherwise: {order:#?}");
        statuses.entry((order.status.as_str(), id)).or_insert(());
    }
    statuses.keys().fold(BTreeMap::new(), |mut counts, (status, _)| {
        *counts.entry(*status).or_default() += 1;
        counts
    })
}
