//! Whole lives: clients that know more or less of an order write to its log, the processor works
//! through it with a provider that keeps its own books, and the fold says what came of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use comanda_sandbox::payment as sandbox;
use comanda_schemas::PaymentEventType;
use comanda_store::{AnyEvent, OrderStatus, OrderView, Recorded, StoredEvent, fold};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    /// A client asks for a change, and its gateway knows neither the latest order events nor the
    /// latest results.
    Ask { what: What, unseen_events: usize, unseen_results: usize },
    /// The latest event is written once more: whoever wrote it had no answer.
    Repeat,
    /// The processor handles the next event; it may die before it commits, and start again.
    Handle { dies: bool },
    /// The next event becomes a dead letter, unless it is a cancellation, and is put back.
    Redrive,
}

#[derive(Debug, Clone)]
enum What {
    Lines(i64),
    Method(&'static str),
    Note(u8),
    Cancel,
}

/// A record of the orders topic.
#[derive(Debug, Clone)]
struct Entry {
    event: OrderEvent,
    redriven_from: Option<i64>,
    result: Option<PaymentEvent>,
    /// Whether it went to the dead letters instead.
    is_dead: bool,
}

struct World<'a> {
    payment: &'a Payment,
    books: sandbox::Handle,
    log: Vec<Entry>,
    next: usize,
}

impl World<'_> {
    fn facts(&self, unseen_events: usize, unseen_results: usize) -> Vec<StoredEvent> {
        let stored = |topic: &str, offset: usize, event| StoredEvent {
            at: Recorded {
                topic: topic.into(),
                partition: 0,
                offset: offset as i64,
                timestamp: Timestamp::from_millis(0),
            },
            event,
        };
        let events = self.log.len().saturating_sub(unseen_events).max(1);
        let orders = self.log[..events].iter().enumerate();
        let orders = orders.map(|(n, e)| stored("orders", n, AnyEvent::Order(e.event.clone())));
        let told: Vec<_> = self.log.iter().filter_map(|e| e.result.clone()).collect();
        let results = told[..told.len().saturating_sub(unseen_results)].iter().enumerate();
        let results = results.map(|(n, e)| stored("payments", n, AnyEvent::Payment(e.clone())));
        orders.chain(results).collect()
    }

    fn view(&self, unseen_events: usize, unseen_results: usize) -> OrderView {
        fold(&self.facts(unseen_events, unseen_results)).expect("it was placed")
    }

    fn write(&mut self, event: OrderEvent, redriven_from: Option<i64>) {
        let was_dead = self.records_of(&event).any(|entry| entry.is_dead);
        if was_dead && redriven_from.is_none() {
            return;
        }
        self.log.push(Entry { event, redriven_from, result: None, is_dead: false });
    }

    /// What a gateway does that sees only a part.
    fn ask(&mut self, what: &What, unseen_events: usize, unseen_results: usize) {
        let view = self.view(unseen_events, unseen_results);
        let events = self.log.len().saturating_sub(unseen_events).max(1);
        let known = &self.log[..events];
        if known.iter().any(|e| e.event.r#type == OrderEventType::Cancelled) {
            return;
        }
        let mut order = view.latest.clone();
        match what {
            What::Lines(price) => {
                order.lines[0].unit_price_minor = *price;
                order.total_minor = price * i64::from(order.lines[0].quantity);
            }
            What::Method(token) => order.payment_method = (*token).into(),
            What::Note(n) => order.note = Some(format!("note {n}")),
            What::Cancel => order = view.order.clone(),
        }
        let is_paid = view.status == OrderStatus::Paid;
        let is_cancel = matches!(what, What::Cancel);
        if is_paid && !is_cancel && order.terms() != view.order.terms() {
            return;
        }
        let r#type = if is_cancel { OrderEventType::Cancelled } else { OrderEventType::Updated };
        let (order_id, version) = (view.id, view.version + 1);
        let event_id = OrderEvent::derive_change_id(order_id, version, r#type, &order, None);
        let event = OrderEvent {
            event_id,
            order_id,
            order,
            seen_offset: Some(events as i64),
            ..event(r#type, version)
        };
        self.write(event, None);
    }

    async fn handle(&mut self, dies: bool) {
        let Some(entry) = self.log.get(self.next).cloned() else { return };
        let from = Payment::looks_back(&entry.event, entry.redriven_from);
        let from = from.map_or(self.next, |from| self.next.min(from as usize));
        let input = Input {
            source: Source { topic: "orders".into(), partition: 0, offset: self.next as i64 },
            earlier: self.log[from..self.next].iter().map(|e| e.event.clone()).collect(),
            is_redriven: entry.redriven_from.is_some(),
            ..input(entry.event, 1)
        };
        let mut result = emitted(self.payment.handle(&input).await);
        if dies {
            let again = emitted(self.payment.handle(&input).await);
            assert_eq!(again.r#type, result.r#type, "another result after a crash");
            result = again;
        }
        self.log[self.next].result = Some(result);
        self.next += 1;
        self.check_money();
    }

    fn repeat(&mut self) {
        let event = self.log.last().expect("it was placed").event.clone();
        self.write(event, None);
    }

    /// Only what is in the log once: a request is repeated within moments, a record that fails is a
    /// dead letter after an hour.
    fn redrive(&mut self) {
        let Some(entry) = self.log.get(self.next) else { return };
        let event = entry.event.clone();
        if event.r#type != OrderEventType::Cancelled && self.records_of(&event).count() == 1 {
            self.log[self.next].is_dead = true;
            self.write(event, Some(self.next as i64));
            self.next += 1;
        }
    }

    fn records_of(&self, event: &OrderEvent) -> impl Iterator<Item = &Entry> {
        let id = event.event_id;
        self.log.iter().filter(move |entry| entry.event.event_id == id)
    }

    /// At no time is more than one charge kept.
    fn check_money(&self) {
        let ledger = self.books.ledger_of(&self.log[0].event.order_id.to_string());
        let kept: Vec<_> = ledger.charges.iter().filter(|c| c.refunded < c.amount).collect();
        assert!(kept.len() <= 1, "charged twice: {kept:?}");
    }

    /// What must hold once everything is handled.
    fn check(&self) {
        assert!(self.log.iter().all(|e| e.result.is_some() != e.is_dead), "one result an event");
        let mut first: HashMap<Uuid, &PaymentEvent> = HashMap::new();
        let mut results = Vec::new();
        for (entry, result) in self.log.iter().filter_map(|e| Some((e, e.result.as_ref()?))) {
            match first.entry(entry.event.event_id) {
                Vacant(new) => {
                    new.insert(result);
                    results.push((entry, result));
                }
                Occupied(first) => assert_eq!(first.get().r#type, result.r#type, "a repetition"),
            }
        }
        let told: Vec<_> =
            results.iter().map(|(e, r)| (e.event.version, e.event.r#type, r.r#type)).collect();

        let is_cancel = |entry: &Entry| entry.event.r#type == OrderEventType::Cancelled;
        let is_rejected = |r: &PaymentEvent| r.r#type == PaymentEventType::ChangeRejected;
        let cancel = results.iter().position(|(entry, _)| is_cancel(entry));
        let (before, after) = results.split_at(cancel.unwrap_or(results.len()));
        let charge = before.iter().rfind(|(_, r)| r.r#type == PaymentEventType::Succeeded);
        // An order for nothing is given back without a charge.
        let given_back = |cancel: usize| match charge {
            Some((_, charge)) if charge.payment.payment_id.is_some() => true,
            Some(_) | None => results[cancel].0.event.order.total_minor == 0,
        };
        let expected = match (cancel, charge) {
            (Some(cancel), _) if given_back(cancel) => OrderStatus::Refunded,
            (Some(_), _) => OrderStatus::Cancelled,
            (None, Some(_)) => OrderStatus::Paid,
            (None, None) => OrderStatus::PaymentFailed,
        };
        let view = self.view(0, 0);
        assert_eq!(view.status, expected, "{told:?}");
        let ledger = self.books.ledger_of(&view.id.to_string());
        let kept: i64 = ledger.charges.iter().map(|c| c.amount - c.refunded).sum();
        let owed = if expected == OrderStatus::Paid { view.order.total_minor } else { 0 };
        assert_eq!(kept, owed, "the provider's books say otherwise: {told:?}");
        if expected != OrderStatus::Cancelled
            && let Some((_, charge)) = charge
        {
            assert_eq!(view.order, charge.order, "as the last that was charged has it: {told:?}");
        }
        assert!(after.iter().all(|(e, r)| is_cancel(e) || is_rejected(r)), "{told:?}");

        let counted = results.iter().filter(|(entry, result)| {
            entry.redriven_from.is_none() && !is_cancel(entry) && !is_rejected(result)
        });
        let versions: Vec<i32> = counted.map(|(entry, _)| entry.event.version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "a change was lost: {told:?}");
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let methods = prop::sample::select(vec![
        "pm_card_visa",
        "pm_card_chargeDeclined",
        "pm_sandbox_charge_then_drop",
        "pm_sandbox_drop_once",
        "pm_sandbox_error500_once",
    ]);
    let what = prop_oneof![
        2 => prop::sample::select(vec![0, 500, 1_200]).prop_map(What::Lines),
        3 => methods.prop_map(What::Method),
        3 => (0..2u8).prop_map(What::Note),
        1 => Just(What::Cancel),
    ];
    let unseen = || prop_oneof![3 => Just(0usize), 2 => 1..3usize];
    let ask = (what, unseen(), unseen()).prop_map(|(what, unseen_events, unseen_results)| {
        Act::Ask { what, unseen_events, unseen_results }
    });
    let handle = prop::bool::weighted(0.2).prop_map(|dies| Act::Handle { dies });
    let act = prop_oneof![6 => ask, 1 => Just(Act::Repeat), 4 => handle, 1 => Just(Act::Redrive)];
    prop::collection::vec(act, 1..14)
}

#[test]
fn however_clients_race_the_books_the_log_and_the_order_agree() {
    let runtime = Runtime::new().unwrap();
    let provider = sandbox::Service::bind(([127, 0, 0, 1], 0).into(), Default::default());
    let provider = runtime.block_on(provider).unwrap();
    let (url, books) = (provider.url(), provider.handle());
    runtime.spawn(provider.run_until_stopped(CancellationToken::new()));
    let payment = Payment::new(options(&url)).unwrap();
    let first = prop::sample::select(vec!["pm_card_visa", "pm_card_chargeDeclined"]);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let life = |(method, acts): (&'static str, Vec<Act>)| {
        let mut world = World { payment: &payment, books: books.clone(), log: Vec::new(), next: 0 };
        let order_id = OrderId::random();
        let mut placed = OrderEvent {
            event_id: OrderEvent::derive_id(order_id, 1, OrderEventType::Placed),
            order_id,
            ..placed()
        };
        placed.order.payment_method = method.into();
        world.write(placed, None);
        runtime.block_on(async {
            for act in &acts {
                match act {
                    Act::Ask { what, unseen_events, unseen_results } => {
                        world.ask(what, *unseen_events, *unseen_results);
                    }
                    Act::Repeat => world.repeat(),
                    Act::Handle { dies } => world.handle(*dies).await,
                    Act::Redrive => world.redrive(),
                }
            }
            while world.next < world.log.len() {
                world.handle(false).await;
            }
        });
        world.check();
        Ok(())
    };
    runner.run(&(first, acts()), life).unwrap();
}
