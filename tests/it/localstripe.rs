//! The payment processor at localstripe, a double of Stripe that nobody here wrote and that knows no
//! idempotency keys, on a real Kafka: each path of an order; and, in `kills`, orders whose processors
//! are killed.

mod kills;

use std::collections::HashMap;
use std::time::Duration;

use comanda_schemas::PaymentEventType::{ChangeRejected, Failed, Refunded, Succeeded, Voided};
use comanda_schemas::{
    FailureReason, Order, OrderEvent, OrderEventType, OrderId, PaymentEvent, PaymentEventType,
};
use serde_json::{Value, json};

use crate::dead_letters::placed;
use crate::harness;
use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::Installation;
use crate::harness::localstripe::{INTENTS, Intent, LocalStripe, REFUNDS};
use crate::harness::tools::{self, Tool};

const LIMIT: Duration = Duration::from_secs(120);

const CHARGED: &str = "pm_card_visa";
/// Can be attached to a customer, and is declined when it is charged.
const DECLINED: &str = "pm_card_chargeCustomerFail";
/// Known to Stripe, not to localstripe.
const UNKNOWN: &str = "pm_card_mastercard";

/// Where an intent stands whose charge was declined.
const TRIED: &str = "requires_payment_method";
const DONE: &str = "succeeded";

/// The events of one order and what must come of them.
struct Life {
    what: &'static str,
    events: Vec<OrderEvent>,
    /// Type and detail of each result.
    results: Vec<(PaymentEventType, Option<&'static str>)>,
    /// Version, state and amount of each payment at the provider.
    intents: Vec<(&'static str, &'static str, i64)>,
    /// Amount of each refund.
    refunds: Vec<i64>,
}

impl Life {
    fn new(what: &'static str, method: &str) -> Self {
        let mut event = placed();
        event.order.payment_method = method.into();
        let (results, intents, refunds) = Default::default();
        Self { what, events: vec![event], results, intents, refunds }
    }

    fn then(mut self, r#type: OrderEventType, edit: impl FnOnce(&mut Order)) -> Self {
        let mut event = self.events.last().expect("it is placed").clone();
        event.version += 1;
        event.r#type = r#type;
        event.event_id = OrderEvent::derive_id(event.order_id, event.version, r#type);
        edit(&mut event.order);
        let total = event.order.lines.iter().map(|l| l.unit_price_minor * i64::from(l.quantity));
        event.order.total_minor = total.sum();
        self.events.push(event);
        self
    }

    fn updated(self, edit: impl FnOnce(&mut Order)) -> Self {
        self.then(OrderEventType::Updated, edit)
    }

    fn cancelled(self) -> Self {
        self.then(OrderEventType::Cancelled, |_| {})
    }

    fn gives(
        mut self,
        results: &[(PaymentEventType, Option<&'static str>)],
        intents: &[(&'static str, &'static str, i64)],
        refunds: &[i64],
    ) -> Self {
        (self.results, self.intents) = (results.to_vec(), intents.to_vec());
        self.refunds = refunds.to_vec();
        self
    }

    fn order_id(&self) -> OrderId {
        self.events[0].order_id
    }
}

fn twice(order: &mut Order) {
    order.lines[0].quantity = 2;
}

fn pay_with(method: &'static str) -> impl FnOnce(&mut Order) {
    move |order| order.payment_method = method.into()
}

fn lives() -> Vec<Life> {
    let declined = (Failed, Some("card_declined"));
    let rejected = (ChangeRejected, Some("already_charged"));
    let (paid, refunded) = ((Succeeded, None), (Refunded, None));
    let charge = ("1", DONE, 1150);
    let tried = ("1", TRIED, 1150);
    vec![
        Life::new("charged", CHARGED).gives(&[paid], &[charge], &[]),
        Life::new("declined", DECLINED).gives(&[declined], &[tried], &[]),
        Life::new("refused", UNKNOWN).gives(&[(Failed, Some("http_404"))], &[], &[]),
        Life::new("changed before the charge", DECLINED)
            .updated(|order| {
                twice(order);
                pay_with(CHARGED)(order);
            })
            .gives(&[declined, paid], &[tried, ("2", DONE, 2300)], &[]),
        Life::new("lines changed after the charge", CHARGED).updated(twice).gives(
            &[paid, rejected],
            &[charge],
            &[],
        ),
        Life::new("payment method changed after the charge", CHARGED)
            .updated(pay_with(DECLINED))
            .gives(&[paid, rejected], &[charge], &[]),
        Life::new("note changed after the charge", CHARGED)
            .updated(|order| order.note = Some("no onions".into()))
            .gives(&[paid, (Succeeded, Some("charged_before"))], &[charge], &[]),
        Life::new("cancelled before the charge", DECLINED).cancelled().gives(
            &[declined, (Voided, None)],
            &[tried],
            &[],
        ),
        Life::new("cancelled after the charge", CHARGED).cancelled().gives(
            &[paid, refunded],
            &[charge],
            &[1150],
        ),
        Life::new("cancelled twice", CHARGED).cancelled().cancelled().gives(
            &[paid, refunded, refunded],
            &[charge],
            &[1150],
        ),
        Life::new("retried, then cancelled", DECLINED)
            .updated(|_| {})
            .updated(pay_with(CHARGED))
            .cancelled()
            .gives(
                &[declined, declined, paid, refunded],
                &[tried, ("2", TRIED, 1150), ("3", DONE, 1150)],
                &[1150],
            ),
    ]
}

/// An installation that pays there.
async fn installation(name: &str, stripe: &LocalStripe) -> Option<Installation> {
    let mut installation = Installation::new(harness::real_parts().await?, name).await;
    installation.set("payment.provider=stripe".to_owned());
    installation.set(format!("payment.provider_url={}", stripe.url()));
    Some(installation)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_of_an_order_stands_in_the_events_and_in_localstripes_books() {
    if !tools::have(&[Tool::Python]) {
        return;
    }
    let stripe = LocalStripe::start(0).await;
    let Some(installation) = installation("paths", &stripe).await else { return };
    let lives = lives();
    let events: Vec<OrderEvent> = lives.iter().flat_map(|life| life.events.clone()).collect();
    installation.publish(&events).await;
    let _payment = installation.start(&["payment"]);
    installation.consumed_whole(LIMIT).await;

    installation.has_no_dead_letters().await;
    let results = installation.events::<PaymentEvent>().await;
    assert_eq!(results.len(), events.len());
    let (intents, refunds) = (stripe.intents().await, stripe.refunds().await);
    for life in &lives {
        let (what, id) = (life.what, life.order_id());
        let results: Vec<_> = results.iter().filter(|result| result.order_id == id).collect();
        let said: Vec<_> =
            results.iter().map(|r| (r.r#type, r.payment.detail.as_deref())).collect();
        assert_eq!(said, life.results, "{what}: {results:#?}");
        let own = |metadata: &HashMap<String, String>| metadata["order_id"] == id.to_string();
        let intents: Vec<&Intent> = intents.iter().filter(|i| own(&i.metadata)).collect();
        let found: Vec<_> =
            intents.iter().map(|i| (i.of("version"), i.status.as_str(), i.amount)).collect();
        assert_eq!(found, life.intents, "{what}: {intents:#?}");
        assert!(intents.iter().all(|intent| intent.currency == "eur"), "{what}");
        let charge = intents.iter().find(|intent| intent.is_charged());
        for result in results {
            let payment = &result.payment;
            let reason = (result.r#type == Failed).then_some(match payment.detail.as_deref() {
                Some("card_declined") => FailureReason::Declined,
                _ => FailureReason::Invalid,
            });
            assert_eq!((payment.provider.as_str(), payment.reason), ("stripe", reason), "{what}");
            if matches!(result.r#type, Succeeded | Refunded | ChangeRejected) {
                let charge = charge.unwrap_or_else(|| panic!("{what}: no charge for {result:#?}"));
                assert_eq!(payment.payment_id.as_ref(), Some(&charge.id), "{what}");
                assert_eq!(payment.amount_minor, charge.amount, "{what}");
            }
        }
        let refunds: Vec<_> = refunds.iter().filter(|refund| own(&refund.metadata)).collect();
        let given_back: Vec<i64> = refunds.iter().map(|refund| refund.amount).collect();
        assert_eq!(given_back, life.refunds, "{what}: {refunds:#?}");
        for refund in refunds {
            let charge = &charge.expect("something to give back").id;
            assert_eq!((&refund.payment_intent, refund.status.as_str()), (charge, DONE), "{what}");
        }
    }
    let books = (intents.len(), refunds.len());
    let expected = lives.iter().fold((0, 0), |(intents, refunds), life| {
        (intents + life.intents.len(), refunds + life.refunds.len())
    });
    assert_eq!(books, expected, "something of nobody's orders");
    // Of the order that was cancelled twice.
    let requests = stripe.requests();
    let refused = requests.iter().filter(|r| r.path == REFUNDS && r.status == 400).count();
    assert_eq!(refused, 1, "{requests:#?}");
}

/// The codes of the errors that a change is answered with.
async fn change(gateway: &Gateway, name: &str, input: Value) -> Value {
    let kind = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
    let query =
        format!("mutation($input: {kind}!) {{ {name}(input: $input) {{ errors {{ code }} }} }}");
    gateway.ask(&query, json!({ "input": input })).await[name]["errors"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_is_shown_of_its_order_stands_in_localstripes_books() {
    if !tools::have(&[Tool::Python]) {
        return;
    }
    let stripe = LocalStripe::start(0).await;
    let Some(installation) = installation("clients", &stripe).await else { return };
    let mut house = installation.start(&["run", "gateway", "projector", "payment"]);
    let gateway = &installation.gateway(&mut house).await;
    let place = async |key: &str| {
        let mut input = order(key);
        input["paymentMethod"] = json!(DECLINED);
        let id = gateway.accepted(input).await;
        gateway.order_once(&id, "PAYMENT_FAILED").await;
        id
    };
    let none = json!([]);

    let retried = place("retried").await;
    let input = json!({ "orderId": retried, "paymentMethod": CHARGED });
    assert_eq!(change(gateway, "retryPayment", input).await, none);
    let paid = gateway.order_once(&retried, "PAID").await;
    assert_eq!(change(gateway, "cancelOrder", json!({ "orderId": retried })).await, none);
    gateway.order_once(&retried, "REFUNDED").await;

    let changed = place("changed").await;
    let mut input = json!({ "orderId": changed, "paymentMethod": CHARGED });
    input["lines"] = json!([order("")["lines"][1]]);
    assert_eq!(change(gateway, "updateOrder", input).await, none);
    let changed_paid = gateway.order_once(&changed, "PAID").await;
    let input = json!({ "orderId": changed, "lines": order("")["lines"] });
    let refused = change(gateway, "updateOrder", input).await;
    assert_eq!(refused, json!([{ "code": "ORDER_PAID" }]));

    let cancelled = place("cancelled").await;
    assert_eq!(change(gateway, "cancelOrder", json!({ "orderId": cancelled })).await, none);
    gateway.order_once(&cancelled, "CANCELLED").await;

    let intents = stripe.intents().await;
    let of = |id: &str| -> Vec<(&str, &str, i64)> {
        let own = intents.iter().filter(|intent| intent.of("order_id") == id);
        own.map(|intent| (intent.of("version"), intent.status.as_str(), intent.amount)).collect()
    };
    assert_eq!(of(&retried), [("1", TRIED, 1920), ("2", DONE, 1920)]);
    assert_eq!(of(&changed), [("1", TRIED, 1920), ("2", DONE, 740)]);
    assert_eq!(of(&cancelled), [("1", TRIED, 1920)]);
    let charged: Vec<_> = intents.iter().filter(|intent| intent.is_charged()).collect();
    let shown = [&paid, &changed_paid].map(|order| order["payment"]["paymentId"].clone());
    assert_eq!(json!(charged.iter().map(|intent| &intent.id).collect::<Vec<_>>()), json!(shown));
    let [refund] = &stripe.refunds().await[..] else { panic!("not one refund") };
    assert_eq!((&refund.payment_intent, refund.amount), (&charged[0].id, 1920));
    let asked = stripe.requests().into_iter().filter(|r| r.path == INTENTS && r.charges());
    assert_eq!(asked.count(), intents.len(), "each request has its payment");
}
