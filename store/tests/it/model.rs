//! An order's life told a second time, the plain way: event after event, with all that is known of
//! the ones before. Whatever the fold is given of it, in whatever sequence, it has to come to the
//! same.

use comanda_schemas::{
    Order, OrderEvent, OrderEventType, PaymentEvent, PaymentEventType, Timestamp,
};
use proptest::prelude::*;

use comanda_store::{OrderStatus, PaymentStatus, StoredEvent, fold};

use crate::samples::{Log, asked_for, doubt, order, result};

/// What a client asks for, and what it knows when it asks.
#[derive(Debug, Clone)]
struct Ask {
    what: What,
    /// How many of the latest versions it has not heard of.
    behind: i32,
    /// Whether the bank would decline.
    declines: bool,
    /// Whether the record is written twice.
    twice: bool,
    /// Whether its outcome is open for a while.
    doubted: bool,
}

#[derive(Debug, Clone)]
enum What {
    /// Other lines.
    Lines(i64),
    /// Another payment method, as a retry has it.
    Method(&'static str),
    /// Nothing that touches the money.
    Note(u8),
    Cancel,
}

/// Everything about the order after a part of its events.
#[derive(Debug, Clone, PartialEq)]
struct State {
    version: i32,
    status: OrderStatus,
    content: Order,
    latest: Order,
    /// Of the charge that was made last.
    charged: Option<i64>,
    /// When the first event came that waits for its result.
    waiting_since: Option<Timestamp>,
    /// Whether the outcome of one that waits is open.
    unknown: bool,
}

/// The log of an order, and what the payment processor says to each of its events.
#[derive(Debug, Default)]
struct Life {
    log: Vec<(OrderEvent, PaymentEvent)>,
    /// What was reported to be open: where in the log.
    doubted: Vec<usize>,
}

impl Life {
    fn of(asks: &[Ask]) -> Self {
        let mut life = Self::default();
        life.ask(asked_for("k", 1, OrderEventType::Placed, order(100)), asks[0].declines);
        life.doubted.extend(asks[0].doubted.then_some(0));
        for ask in asks {
            let known = life.known(life.log.len(), life.log.len(), false);
            let version = (known.version - ask.behind).max(1) + 1;
            let mut content = known.latest;
            let r#type = match ask.what {
                What::Lines(total) => {
                    let Order { note, payment_method, .. } = content;
                    content = Order { note, payment_method, ..order(total) };
                    OrderEventType::Updated
                }
                What::Method(method) => {
                    content.payment_method = method.into();
                    OrderEventType::Updated
                }
                What::Note(n) => {
                    content.note = Some(format!("note {n}"));
                    OrderEventType::Updated
                }
                What::Cancel => OrderEventType::Cancelled,
            };
            let event = asked_for("k", version, r#type, content);
            life.doubted.extend(ask.doubted.then_some(life.log.len()));
            for _ in 0..=u8::from(ask.twice) {
                life.ask(event.clone(), ask.declines);
            }
        }
        life
    }

    /// Appends an event and its result.
    fn ask(&mut self, event: OrderEvent, declines: bool) {
        use PaymentEventType::*;
        let before = self.log.iter().find(|(earlier, _)| earlier.event_id == event.event_id);
        if let Some((_, result)) = before {
            let again = (event, result.clone());
            return self.log.push(again);
        }
        let cancelled = self.log.iter().any(|(e, _)| e.r#type == OrderEventType::Cancelled);
        let late = self.log.iter().any(|(e, _)| e.version >= event.version);
        let charge = self.log.iter().find(|(_, r)| r.r#type == Succeeded);
        let (r#type, charged) = match (event.r#type, charge) {
            (OrderEventType::Cancelled, Some(charge)) => (Refunded, Some(charge)),
            (OrderEventType::Cancelled, None) => (Voided, None),
            _ if cancelled || late => (ChangeRejected, None),
            (_, Some(charge)) if charge.0.order.terms() == event.order.terms() => {
                (Succeeded, Some(charge))
            }
            (_, Some(charge)) => (ChangeRejected, Some(charge)),
            _ if declines => (Failed, None),
            _ => (Succeeded, None),
        };
        let mut result = result(&event, r#type);
        if let Some((_, charge)) = charged {
            result.payment = charge.payment.clone();
        }
        self.log.push((event, result));
    }

    /// The state where the first `asked` events and the first `told` results are known, and what
    /// is open where `reported`.
    fn known(&self, asked: usize, told: usize, reported: bool) -> State {
        use PaymentEventType::*;
        let (mut counted, mut version, mut cancelled) = (Vec::new(), 0, false);
        for (n, (event, result)) in self.log[..asked.max(told)].iter().enumerate() {
            let result = Some(result.r#type).filter(|_| n < told);
            let late = event.version <= version && event.r#type != OrderEventType::Cancelled;
            let again = self.log[..n].iter().any(|(e, _)| e.event_id == event.event_id);
            if !again && !late && (!cancelled || event.r#type == OrderEventType::Cancelled) {
                counted.push((event, result));
            }
            version = event.version.max(version);
            cancelled |= event.r#type == OrderEventType::Cancelled;
        }
        counted.retain(|(_, result)| *result != Some(ChangeRejected));
        let (latest, result) = *counted.last().unwrap();
        let having = |wanted| counted.iter().rfind(move |(_, result)| *result == Some(wanted));
        let paid = having(Succeeded);
        let (status, content) = if having(Refunded).is_some() {
            (OrderStatus::Refunded, paid.unwrap().0)
        } else if let Some((paid, _)) = paid {
            (OrderStatus::Paid, *paid)
        } else if let Some((void, _)) = counted.iter().find(|(_, r)| *r == Some(Voided)) {
            (OrderStatus::Cancelled, *void)
        } else {
            let failed = result == Some(Failed);
            (if failed { OrderStatus::PaymentFailed } else { OrderStatus::Pending }, latest)
        };
        let is_told = |n: usize| {
            let event_id = self.log[n].0.event_id;
            self.log[..told].iter().any(|(event, _)| event.event_id == event_id)
        };
        let waiting: Vec<usize> = (told..asked.max(told)).filter(|n| !is_told(*n)).collect();
        let open = |doubt: &usize| {
            let event_id = self.log[*doubt].0.event_id;
            waiting.iter().any(|n| self.log[*n].0.event_id == event_id)
        };
        State {
            version,
            status,
            waiting_since: waiting.first().map(|n| self.log[*n].0.occurred_at),
            unknown: reported && self.doubted.iter().any(open),
            content: content.order.clone(),
            latest: latest.order.clone(),
            charged: paid.map(|(paid, _)| paid.order.total_minor),
        }
    }

    fn facts(&self, asked: usize, told: usize, reported: bool) -> Vec<StoredEvent> {
        let mut log = Log::default();
        // The whole orders topic first: a result knows where its event stands.
        for (event, _) in &self.log {
            log.order(event.clone());
        }
        for (_, result) in &self.log {
            log.payment(result.clone());
        }
        for doubted in self.doubted.iter().filter(|_| reported) {
            log.report(doubt(&self.log[*doubted].0));
        }
        let facts = log.facts();
        let (orders, rest) = facts.split_at(self.log.len());
        let (results, reports) = rest.split_at(self.log.len());
        [&orders[..asked], &results[..told], reports].concat()
    }
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let what = prop_oneof![
        3 => (1..4i64).prop_map(|n| What::Lines(n * 100)),
        3 => prop::sample::select(vec!["pm_a", "pm_b"]).prop_map(What::Method),
        3 => (0..3u8).prop_map(What::Note),
        2 => Just(What::Cancel),
    ];
    let behind = prop_oneof![3 => Just(0), 2 => Just(1), 1 => 2..4i32];
    let ask = (what, behind, any::<bool>(), prop::bool::weighted(0.2), any::<bool>());
    let ask = ask.prop_map(|(what, behind, declines, twice, doubted)| Ask {
        what,
        behind,
        declines,
        twice,
        doubted,
    });
    prop::collection::vec(ask, 1..9)
}

fn folded(facts: &[StoredEvent]) -> State {
    let view = fold(facts).expect("an order event is among them");
    let charged = matches!(view.status, OrderStatus::Paid | OrderStatus::Refunded);
    State {
        version: view.version,
        status: view.status,
        waiting_since: view.waiting_since,
        unknown: view.payment.status == PaymentStatus::Unknown,
        charged: charged.then_some(view.payment.amount_minor),
        content: view.order,
        latest: view.latest,
    }
}

/// What is known of a life, each fact once and in order; the same facts each one to three times,
/// in any sequence; and the state that both tell of.
fn deliveries() -> impl Strategy<Value = (Vec<StoredEvent>, Vec<StoredEvent>, State)> {
    let known = (0..20usize, 0..20usize, any::<bool>());
    (asks(), known, prop::collection::vec(1..4usize, 40)).prop_flat_map(
        |(asks, (asked, told, reported), times)| {
            let life = Life::of(&asks);
            let (asked, told) = (asked % life.log.len() + 1, told % (life.log.len() + 1));
            let facts = life.facts(asked, told, reported);
            let repeated = facts.iter().zip(times.iter().cycle());
            let repeated: Vec<_> =
                repeated.flat_map(|(fact, times)| vec![fact.clone(); *times]).collect();
            (Just(facts), Just(repeated).prop_shuffle(), Just(life.known(asked, told, reported)))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_folded_order_is_the_models_whatever_has_come_of_it_and_in_whatever_sequence(
        (facts, delivered, expected) in deliveries(),
    ) {
        prop_assert_eq!(&folded(&facts), &expected);
        prop_assert_eq!(&folded(&delivered), &expected);
    }
}

/// `PROPTEST_CASES` asks for a longer run.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(2_000)
}
