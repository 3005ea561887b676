//! Payment processors that are killed −9 while their calls are on their way. The provider charges
//! whatever it is sent, so an order that is sent twice is charged twice.
//!
//! On every commit it runs small; `tests/chaos/run doubles` has 1,000 orders. Kills come where they
//! come.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use comanda_schemas::{FailureReason, OrderEvent, PaymentEvent, PaymentEventType};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{CHARGED, DECLINED, installation};
use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::Installation;
use crate::harness::localstripe::{Intent, LocalStripe, Request};
use crate::harness::process::Comanda;
use crate::harness::tools::{self, Tool};
use crate::harness::{self, eventually};

const PROCESSORS: usize = 2;
const LATENCY_MS: u32 = 150;
/// Records in flight per processor.
const WINDOW: usize = 8;
/// Charges after which a processor is killed: in the middle of its second window.
const CHARGES: usize = 12;
/// One kill for so many orders: more than all killed ones can have charged.
const ORDERS_PER_KILL: usize = 50;
/// All is told this long after the last kill, the members' session time-out included.
const DRAIN: Duration = Duration::from_secs(300);

/// A payment processor that the provider knows by a secret key of its own.
struct Processor {
    key: String,
    process: Comanda,
}

impl Processor {
    fn start(installation: &Installation, number: usize) -> Self {
        let key = format!("sk_test_processor_{number}");
        let setting = format!("payment.secret_key={key}");
        let process = installation.start(&["payment", "--set", &setting]);
        Self { key, process }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_is_charged_twice_though_the_provider_ignores_keys_and_processors_are_killed() {
    if !tools::have(&[Tool::Python]) {
        return;
    }
    let _alone = harness::heavy().await;
    let stripe = LocalStripe::start(LATENCY_MS).await;
    let Some(mut installation) = installation("doubles", &stripe).await else { return };
    let orders: usize = harness::scale("DOUBLES_ORDERS", 200);
    let kills = orders / ORDERS_PER_KILL;
    let (_mailbox, _) = installation.start_mailbox().await;
    installation.set(format!("engine.max_in_flight_records={WINDOW}"));
    let mut house = installation.start(&["run", "gateway", "projector", "notifier"]);
    let gateway = installation.gateway(&mut house).await;
    let mut processors: Vec<Processor> =
        (0..PROCESSORS).map(|number| Processor::start(&installation, number)).collect();

    let placing = tokio::spawn(place_all(gateway.clone(), orders));
    let mut killed = Vec::new();
    while killed.len() < kills {
        // Whoever has come so far, so it is in the middle of its work.
        let next = eventually("a processor charges", DRAIN, async || {
            let requests = stripe.requests();
            let by = |key| requests.iter().filter(|r| r.charges() && r.by == key).count();
            processors.iter().position(|processor| by(processor.key.as_str()) >= CHARGES)
        })
        .await;
        assert!(processors.iter_mut().all(|p| p.process.is_running()), "a processor gave up");
        processors[next].process.kill9();
        let successor = Processor::start(&installation, PROCESSORS + killed.len());
        killed.push(std::mem::replace(&mut processors[next], successor).key);
    }
    let placed = placing.await.unwrap();
    installation.consumed_whole(DRAIN).await;
    assert!(processors.iter_mut().all(|p| p.process.is_running()), "a processor gave up");
    let (results, audit) = installation.all_told(DRAIN).await;
    assert_eq!((&audit["order_events"], &audit["results"]), (&json!(orders), &json!(orders)));
    assert_eq!(installation.events::<OrderEvent>().await.len(), orders);
    let (requests, intents) = (stripe.requests(), stripe.intents().await);
    let again = Again::of(&requests, &killed);
    let (found, sent) = (again.found.len(), again.sent.len());
    eprintln!(
        "doubles: {orders} orders, {} kills; sent by a killed processor and handled again: {found} \
         found by a look-up, {sent} sent once more",
        killed.len()
    );
    assert!(found + sent > 0, "the kills met no call: nothing was proven");
    check(&placed, &results, &intents, &again);
}

/// Orders that a killed processor had sent to the provider, and that another one handled again.
#[derive(Debug, Default)]
struct Again {
    /// It looked them up and found the payment.
    found: HashSet<String>,
    /// It sent them once more.
    sent: HashSet<String>,
}

impl Again {
    fn of(requests: &[Request], killed: &[String]) -> Self {
        let mut again = Self::default();
        // Who sent each order first.
        let mut first: HashMap<&str, &str> = HashMap::new();
        for request in requests {
            let Some(id) = request.order_id.as_deref() else { continue };
            if let Some(sender) = first.get(id)
                && *sender != request.by
                && killed.iter().any(|key| key == sender)
            {
                if request.charges() {
                    again.sent.insert(id.to_owned());
                } else if !request.found.is_empty() {
                    again.found.insert(id.to_owned());
                }
            }
            if request.charges() {
                first.entry(id).or_insert(&request.by);
            }
        }
        again
    }
}

/// Places the orders, 16 at a time; the payment method of each.
async fn place_all(gateway: Gateway, orders: usize) -> HashMap<String, &'static str> {
    let place = |n: usize| {
        let gateway = &gateway;
        async move {
            let method = if n % 10 == 3 { DECLINED } else { CHARGED };
            let mut input = order(&format!("doubles-{n}"));
            input["paymentMethod"] = Value::from(method);
            (gateway.accepted(input).await, method)
        }
    };
    stream::iter(0..orders).map(place).buffer_unordered(16).collect().await
}

/// One result an order, which is what the provider's books say, and at most one charge.
fn check(
    placed: &HashMap<String, &'static str>,
    results: &[PaymentEvent],
    intents: &[Intent],
    again: &Again,
) {
    assert_eq!(results.len(), placed.len());
    let mut of_order: HashMap<&str, Vec<&Intent>> = HashMap::new();
    for intent in intents {
        of_order.entry(intent.of("order_id")).or_default().push(intent);
    }
    let mut doubled = Vec::new();
    let mut seen = HashSet::new();
    for result in results {
        let id = result.order_id.to_string();
        let method = placed.get(&id).unwrap_or_else(|| panic!("nobody's: {result:#?}"));
        assert!(seen.insert(result.order_id), "a second result: {result:#?}");
        let tried = of_order.remove(id.as_str()).unwrap_or_default();
        let charges: Vec<_> = tried.iter().filter(|intent| intent.is_charged()).collect();
        let payment = &result.payment;
        let case = format!("{method}: {result:#?}\n{tried:#?}");
        if *method == DECLINED {
            let expected = (PaymentEventType::Failed, Some(FailureReason::Declined));
            assert_eq!((result.r#type, payment.reason), expected, "{case}");
            assert!(charges.is_empty() && !tried.is_empty(), "{case}");
            continue;
        }
        assert_eq!((result.r#type, payment.reason), (PaymentEventType::Succeeded, None), "{case}");
        assert!(charges.iter().any(|c| Some(&c.id) == payment.payment_id.as_ref()), "{case}");
        assert!(tried.iter().all(|i| i.amount == payment.amount_minor), "{case}");
        if charges.len() > 1 {
            doubled.push(id);
        }
    }
    assert!(of_order.is_empty(), "payments of nobody's orders: {of_order:#?}");
    let after_a_kill = doubled.iter().filter(|id| again.sent.contains(*id)).count();
    assert!(
        doubled.is_empty(),
        "{} of {} orders were charged more than once, {after_a_kill} of them after a kill: \
         {doubled:#?}",
        doubled.len(),
        placed.len()
    );
}
