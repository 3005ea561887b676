//! Orders come in while the broker freezes, dies, and does not get its answers through. What each
//! client was told is compared with the topic at the end.
//!
//! On every commit it runs small. `tests/chaos/run gateway` runs it at full size, with a seed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use comanda_schemas::{OrderEvent, OrderId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Answer, insist, place};
use super::{Admin, LIMIT};
use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::{Installation, Place};
use crate::harness::proxy::{Fault, PRODUCE, Proxy};
use crate::harness::{self, eventually};

/// Orders that are on their way at one time; further ones wait for a client.
const CLIENTS: usize = 4_000;
/// One order in so many has no key and is sent once.
const UNKEYED: usize = 4;

/// How large a run is.
#[derive(Debug, Clone, Copy)]
struct Scale {
    seed: u64,
    /// Orders a second.
    rate: u32,
    /// How long the broker stands still.
    freeze: Duration,
    /// How long its answers are held.
    hold: Duration,
    /// Within how long an event is acknowledged, or not.
    delivery: Duration,
}

impl Scale {
    fn from_env() -> Self {
        let millis = |name, default| {
            Duration::from_millis(harness::scale(&format!("CHAOS_{name}"), default))
        };
        let scale = Self {
            seed: harness::scale("CHAOS_SEED", rand::random::<u32>().into()),
            rate: harness::scale("CHAOS_RATE", 100),
            freeze: millis("FREEZE_MS", 5_000),
            hold: millis("HOLD_MS", 4_000),
            delivery: millis("DELIVERY_MS", 1_500),
        };
        eprintln!("chaos: {scale:?}; COMANDA_CHAOS_SEED={} repeats the schedule", scale.seed);
        scale
    }
}

/// An order and all that its client was told.
struct Story {
    /// In the order's note.
    name: String,
    is_keyed: bool,
    answers: Vec<Answer>,
}

/// Places orders at the rate of the scale until told to stop, each client on its own.
/// While the broker stands still the clients run out, and the rate is what they can do.
async fn load(gateway: Gateway, scale: Scale, stop: CancellationToken) -> Vec<Story> {
    let gateway = Arc::new(gateway);
    let mut clients = JoinSet::new();
    let mut due = tokio::time::interval(Duration::from_secs(1) / scale.rate);
    let clients_left = Arc::new(Semaphore::new(CLIENTS));
    let mut n = 0;
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        let (gateway, name) = (gateway.clone(), format!("order-{n}"));
        let is_keyed = n % UNKEYED != 0;
        n += 1;
        let client = clients_left.clone().acquire_owned();
        clients.spawn(async move {
            let _client = client.await.expect("never closed");
            let mut input = order(&name);
            input["note"] = json!(name);
            let answers = if is_keyed {
                insist(&gateway, &input).await
            } else {
                input["idempotencyKey"] = Value::Null;
                vec![place(&gateway, &input).await]
            };
            Story { name, is_keyed, answers }
        });
    }
    // What waited while the broker did not answer takes its time as well.
    let limit = LIMIT + 2 * (scale.freeze + 2 * scale.hold);
    let stories = tokio::time::timeout(limit, clients.join_all()).await;
    stories.expect("all orders are placed in the end")
}

/// One fault after the other, each with time to recover from it; `/readyz` follows those that last.
async fn strike(installation: &Installation, proxy: &Proxy, admin: &Admin, scale: Scale) {
    let kafka = &installation.parts.kafka;
    let mut random = StdRng::seed_from_u64(scale.seed);
    let mut calm = async || {
        let pause = random.random_range(1_000..2_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    };
    calm().await;
    let until = Instant::now() + scale.freeze;
    kafka.pause();
    admin.is_ready(false).await;
    tokio::time::sleep_until(until.into()).await;
    kafka.unpause();
    admin.is_ready(true).await;

    calm().await;
    kafka.kill9();
    kafka.restart().await.unwrap();
    admin.is_ready(true).await;

    for (fault, lasts) in [
        (Fault::CutResponses, Duration::from_millis(500)),
        (Fault::HoldResponses, scale.hold),
        (Fault::HoldRequests, scale.hold),
    ] {
        calm().await;
        let before = proxy.struck();
        proxy.set(fault);
        let struck = async || (proxy.struck() > before).then_some(());
        eventually(&format!("{fault:?} strikes"), LIMIT, struck).await;
        tokio::time::sleep(lasts).await;
        proxy.set(Fault::None);
    }
    calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_client_was_told_is_true_whatever_the_broker_does() {
    let Some(parts) = harness::own_parts().await else { return };
    let _alone = harness::heavy().await;
    let scale = Scale::from_env();
    let mut installation = Installation::new(parts, "truth").await;
    let side = parts.kafka.side();
    let proxy = Proxy::start(side, PRODUCE).await.unwrap();
    installation.set(format!("kafka.brokers=127.0.0.1:{}", side[1]));
    installation.set(format!("producer.delivery_timeout_ms={}", scale.delivery.as_millis()));
    // All come from one address; an HTTP client may have two connections for one request, the one
    // that it began to open and the one that was free before.
    installation.set("gateway.max_connections_per_address=0".to_owned());
    let (mut process, gateway) = installation.start_gateway().await;
    let admin = Admin::of(&mut process).await;
    admin.is_ready(true).await;

    let stop = CancellationToken::new();
    let loading = tokio::spawn(load(gateway.clone(), scale, stop.clone()));
    strike(&installation, &proxy, &admin, scale).await;
    stop.cancel();
    let stories = loading.await.unwrap();
    // The same process, without help.
    assert!(place(&gateway, &order("after all")).await.placed().is_some());
    assert!(process.is_running());
    check(&installation, &stories).await;
}

async fn check(installation: &Installation, stories: &[Story]) {
    let stored = installation.stored::<OrderEvent>().await;
    let mut of_name: HashMap<&str, Vec<(Place, &OrderEvent)>> = HashMap::new();
    for (at, event) in &stored {
        let name = event.order.note.as_deref().unwrap_or_default();
        of_name.entry(name).or_default().push((*at, event));
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for Story { name, is_keyed, answers } in stories {
        let records = of_name.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let told = format!("{name}: {answers:?}; stored: {records:?}");
        for answer in answers {
            let count = match answer {
                Answer::Placed { .. } => "placed",
                Answer::Failed(code) => code,
                Answer::Conflict => panic!("one order a key: {told}"),
            };
            *counts.entry(count).or_default() += 1;
        }
        let doubts = answers.iter().filter(|answer| answer.is_failure("OUTCOME_UNKNOWN")).count();
        let placed = answers.iter().filter_map(Answer::placed).next();
        if let Some((id, at)) = placed {
            let id: OrderId = id.parse().unwrap();
            let at_receipt = records.iter().find(|(place, _)| *place == at);
            assert!(at_receipt.is_some(), "it stands at its receipt: {told}");
            let first = records.iter().map(|(at, _)| *at).min();
            assert!(first == Some(at) || !is_keyed, "of a key the first record counts: {told}");
            assert!(records.iter().all(|(_, event)| event.order_id == id), "one order: {told}");
        }
        assert!(placed.is_some() || !is_keyed, "{told}");
        if placed.is_none() && doubts == 0 {
            assert!(records.is_empty(), "nothing was stored, they said: {told}");
        }
        let second = records.len().saturating_sub(1);
        // librdkafka, too, sends again what it has no answer to, under a new epoch after time-outs.
        let why = if doubts > 0 { "second after a doubt" } else { "second of librdkafka's" };
        *counts.entry(why).or_default() += second;
        let ids: HashSet<_> = records.iter().map(|(_, e)| e.event_id).collect();
        assert!(ids.len() <= 1, "one event: {told}");
        assert!(records.iter().all(|(_, event)| event.order == records[0].1.order), "{told}");
    }
    eprintln!("{} orders: {counts:?}", stories.len());
    // Without these nothing was tried.
    for code in ["placed", "OUTCOME_UNKNOWN", "BROKER_UNAVAILABLE"] {
        assert!(counts.contains_key(code), "no {code} in {counts:?}");
    }
    let names: usize = stories.iter().filter(|s| of_name.contains_key(s.name.as_str())).count();
    assert!(names > stories.len() / 2, "the topic has {names} of {} orders", stories.len());
}
