//! The steps of an order event against a provider that exists in memory alone: whatever it does to
//! the requests, and whenever the processor dies, an order has one charge at the most, and its
//! result is the truth.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use comanda_schemas::PaymentEventType;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::time::{Instant, sleep, timeout};

use super::api::{Api, Charge, Failure, Found, Standing};
use super::*;
use crate::provider::Lost;

const REQUEST_TIMEOUT: Duration = Duration::from_millis(400);
const SEARCH_LAG: Duration = Duration::from_millis(700);
/// How long a request takes that nothing happens to.
const LATENCY: Duration = Duration::from_millis(20);
const DECLINED: &str = "pm_card_chargeDeclined";

/// What becomes of one request. A look-up only knows whether it is answered.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    NotSent,
    Busy,
    /// The connection breaks, before or after the provider has done its work.
    Dropped {
        is_done: bool,
    },
    /// No answer in time; the work is done so many milliseconds after that.
    TimedOut {
        late: u64,
    },
    /// An error of the provider's own, stored for the key; whether it charged is another matter.
    Burnt {
        is_done: bool,
    },
}

#[derive(Debug, Clone)]
enum Stored {
    Standing(Standing),
    Error,
}

#[derive(Debug)]
struct Booked {
    charge: Charge,
    at: Instant,
    is_refunded: bool,
}

#[derive(Debug, Default)]
struct Books {
    fates: VecDeque<Fate>,
    /// What each key answers, and from when on; a request before that finds it in use.
    keys: HashMap<String, (Instant, Stored)>,
    charges: Vec<Booked>,
    requests: usize,
}

/// Lives on where the processor dies.
#[derive(Debug, Clone, Default)]
struct Model(Arc<Mutex<Books>>);

impl Model {
    fn fate(&self) -> Fate {
        let mut books = self.0.lock().unwrap();
        books.requests += 1;
        books.fates.pop_front().unwrap_or(Fate::Answered)
    }

    /// What the sender gets to see of a request that `work` would answer; it is called with the
    /// time at which the provider is done and whether that stores an error, and not at all where
    /// it does nothing.
    async fn send<T>(
        &self,
        fate: Fate,
        work: impl FnOnce(Instant, bool) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let now = Instant::now();
        let (wait, answer) = match fate {
            Fate::Answered => (LATENCY, work(now, false)),
            Fate::NotSent => (LATENCY, Err(Failure::NotSent(Lost::NotSent("refused".into())))),
            Fate::Busy => (LATENCY, Err(Failure::Busy { retry_after: None })),
            Fate::Dropped { is_done } => {
                let _ = is_done.then(|| work(now, false));
                (LATENCY, Err(Failure::Open("reset".into())))
            }
            Fate::TimedOut { late } => {
                let _ = work(now + REQUEST_TIMEOUT + Duration::from_millis(late), false);
                (REQUEST_TIMEOUT, Err(Failure::TimedOut))
            }
            Fate::Burnt { .. } => {
                let answer = work(now, true);
                let replays = matches!(&answer, Err(Failure::KeyBurnt(_) | Failure::InProgress));
                (LATENCY, if replays { answer } else { Err(Failure::Open("http_500".into())) })
            }
        };
        sleep(wait).await;
        answer
    }

    fn standing(&self, order_id: OrderId, is_own: impl Fn(i32) -> bool) -> Vec<Standing> {
        let books = self.0.lock().unwrap();
        let visible = |at: Instant| at + SEARCH_LAG <= Instant::now();
        let charges = books.charges.iter().filter(|booked| visible(booked.at));
        let charged = charges.filter(|booked| is_own(booked.charge.version.unwrap()));
        let mut found: Vec<_> = charged.map(|b| Standing::Charged(b.charge.clone())).collect();
        for (key, (at, stored)) in &books.keys {
            let version = key.strip_prefix(&format!("{order_id}:"));
            let version = version.and_then(|rest| rest.split(':').next()?.parse().ok());
            if let Stored::Standing(standing @ Standing::Declined { .. }) = stored
                && version.is_some_and(&is_own)
                && visible(*at)
            {
                found.push(standing.clone());
            }
        }
        found
    }
}

#[async_trait]
impl Api for Model {
    fn can_charge(&self, minor: i64, _: Currency) -> bool {
        minor > 0
    }

    async fn charge(&self, event: &OrderEvent, key: u32) -> Result<Standing, Failure> {
        let fate = self.fate();
        let key = format!("{}:{}:{key}", event.order_id, event.version);
        let charges = !matches!(fate, Fate::Burnt { is_done: false });
        let work = |done: Instant, burns: bool| {
            let mut books = self.0.lock().unwrap();
            if let Some((at, stored)) = books.keys.get(&key) {
                return match stored {
                    _ if *at > Instant::now() => Err(Failure::InProgress),
                    Stored::Standing(standing) => Ok(standing.clone()),
                    Stored::Error => Err(Failure::KeyBurnt("http_500".into())),
                };
            }
            let payment_id = format!("pi_{}", books.requests);
            let is_declined = event.order.payment_method == DECLINED;
            let standing = if is_declined {
                Standing::Declined { code: "card_declined".into(), payment_id }
            } else {
                Standing::Charged(Charge {
                    payment_id,
                    version: Some(event.version),
                    terms: Some(event.order.terms()),
                    amount: Some((event.order.total_minor, event.order.currency)),
                })
            };
            if let (Standing::Charged(charge), true) = (&standing, charges) {
                let charge = charge.clone();
                books.charges.push(Booked { charge, at: done, is_refunded: false });
            }
            let stored = if burns { Stored::Error } else { Stored::Standing(standing.clone()) };
            books.keys.insert(key, (done, stored));
            Ok(standing)
        };
        self.send(fate, work).await
    }

    async fn look_up(&self, order_id: OrderId, version: i32) -> Result<Standing, Failure> {
        let found = self.look_up_order(order_id, version).await?;
        Ok(found.own)
    }

    async fn look_up_order(&self, order_id: OrderId, version: i32) -> Result<Found, Failure> {
        let found = |_, _| {
            let own = self.standing(order_id, |v| v == version).into_iter();
            Ok(Found::of(own, self.standing(order_id, |v| v != version).into_iter()))
        };
        self.send(self.fate(), found).await
    }

    async fn refund(
        &self,
        _: &OrderEvent,
        charge: &Charge,
        _: bool,
        _: u32,
    ) -> Result<(), Failure> {
        let fate = self.fate();
        let work = |_, _| {
            let mut books = self.0.lock().unwrap();
            let booked = books.charges.iter_mut().find(|b| b.charge == *charge);
            booked.expect("what is refunded was charged").is_refunded = true;
            Ok(())
        };
        self.send(fate, work).await
    }
}

fn processor(model: &Model) -> Payment {
    let options = Options {
        request_timeout_ms: REQUEST_TIMEOUT.as_millis() as u64,
        search_lag_ms: SEARCH_LAG.as_millis() as u64,
        give_up_after_ms: 4_000,
        retry_unresolved_ms: 100,
        ..options("http://nowhere.invalid")
    };
    Payment::over(Box::new(model.clone()), &options).unwrap()
}

/// Handles `event` to its end as the engine would, the processor being killed in its first calls
/// after so many milliseconds each.
async fn outcome(model: &Model, event: &OrderEvent, kills: &[u64]) -> PaymentEvent {
    let mut kills = kills.iter();
    let mut payment = processor(model);
    let mut next = input(event.clone(), 1);
    let mut failing_since = Instant::now();
    for _ in 0..1_000 {
        let handled = match kills.next() {
            Some(after) => timeout(Duration::from_millis(*after), payment.handle(&next)).await.ok(),
            None => Some(payment.handle(&next).await),
        };
        let (after, is_held) = match handled {
            Some(Outcome::Emit(result)) => return result,
            Some(Outcome::Retry { after, .. }) => (after, next.is_held),
            Some(Outcome::Hold { after, .. }) => (after, true),
            Some(other) => panic!("{other:?}"),
            None => {
                payment = processor(model);
                next = Input { is_suspect: true, ..input(event.clone(), 1) };
                failing_since = Instant::now();
                continue;
            }
        };
        sleep(after).await;
        let failing_for = failing_since.elapsed();
        next = Input { failing_for, is_held, ..input(event.clone(), next.attempt + 1) };
    }
    panic!("no end in sight for {event:?}");
}

async fn live(fates: Vec<Fate>, method: &str, kills: &[Vec<u64>], cancels: bool) {
    let model = Model::default();
    model.0.lock().unwrap().fates = fates.into();
    let mut placed = placed();
    placed.order.payment_method = method.into();
    let mut updated = event(OrderEventType::Updated, 2);
    updated.order.lines[0].sku = "PIZ-2".into();
    let cancelled = event(OrderEventType::Cancelled, 3);
    let events = [placed, updated].into_iter().chain(cancels.then_some(cancelled));
    let mut results = Vec::new();
    for (event, kills) in events.zip(kills) {
        results.push(outcome(&model, &event, kills).await);
        let books = model.0.lock().unwrap();
        assert!(books.charges.len() <= 1, "charged twice: {:?}", books.charges);
    }
    // All that was late has happened by now.
    let books = model.0.lock().unwrap();
    for result in &results {
        let charge = books.charges.iter().find(|b| b.charge.version == Some(result.version));
        match result.r#type {
            PaymentEventType::Succeeded => assert!(charge.is_some(), "not charged: {result:?}"),
            PaymentEventType::Refunded => assert!(books.charges[0].is_refunded),
            PaymentEventType::Voided => assert!(books.charges.is_empty(), "kept: {books:?}"),
            PaymentEventType::Failed | PaymentEventType::ChangeRejected => {
                assert!(charge.is_none(), "charged all the same: {result:?}");
            }
            PaymentEventType::Unknown => panic!("{result:?}"),
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Answered),
        1 => Just(Fate::NotSent),
        1 => Just(Fate::Busy),
        2 => any::<bool>().prop_map(|is_done| Fate::Dropped { is_done }),
        2 => (0..REQUEST_TIMEOUT.as_millis() as u64).prop_map(|late| Fate::TimedOut { late }),
        2 => any::<bool>().prop_map(|is_done| Fate::Burnt { is_done }),
    ]
}

#[test]
fn whatever_becomes_of_requests_and_processors_an_order_is_charged_once_at_the_most() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let kills = prop::collection::vec(prop::collection::vec(1..3_000u64, 0..3), 3);
    let method = prop::sample::select(vec!["pm_card_visa", "pm_card_visa", DECLINED]);
    let input = (prop::collection::vec(fate(), 0..24), method, kills, any::<bool>());
    let config = Config { cases: 512, failure_persistence: None, ..Config::default() };
    let life = |(fates, method, kills, cancels): (Vec<Fate>, &str, Vec<Vec<u64>>, bool)| {
        runtime.block_on(live(fates, method, &kills, cancels));
        Ok(())
    };
    TestRunner::new(config).run(&input, life).unwrap();
}
