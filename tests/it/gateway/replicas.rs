//! Two gateways on the same topics and the same store get the same keys at one time.

use std::collections::HashMap;

use comanda_schemas::{NotificationEvent, OrderEvent, PaymentEvent};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::LIMIT;
use super::client::{Answer, insist};
use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::{Installation, Place};
use crate::harness::process::{self, Comanda, ledger};
use crate::harness::{self, eventually};

const KEYS: usize = 1_000;
/// Keys at one time.
const AT_ONCE: usize = 32;

/// Two gateways and all that works on their orders.
struct House {
    installation: Installation,
    gateways: [Gateway; 2],
    provider: String,
    mailbox: String,
    _processes: Vec<Comanda>,
}

impl House {
    async fn open(name: &str) -> Option<Self> {
        let parts = harness::real_parts().await?;
        let mut installation = Installation::new(parts, name).await;
        let (provider, provider_url) = installation.start_provider(&[]).await;
        let (mailbox, mailbox_url) = installation.start_mailbox().await;
        let others = installation.start(&["run", "payment", "notifier", "projector"]);
        let ((one, first), (two, second)) =
            tokio::join!(installation.start_gateway(), installation.start_gateway());
        Some(Self {
            installation,
            gateways: [first, second],
            provider: provider_url,
            mailbox: mailbox_url,
            _processes: vec![provider, mailbox, others, one, two],
        })
    }

    async fn json(&self, url: String) -> Value {
        self.gateways[0].http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Sends the orders of each key, one to each gateway at the same time.
    async fn race(&self, wanted: impl Fn(usize) -> [Value; 2]) -> Vec<Outcome> {
        let send = async |n: usize| {
            let [one, two] = wanted(n);
            let [first, second] = &self.gateways;
            let (one, two) = tokio::join!(insist(first, &one), insist(second, &two));
            Outcome { n, answers: [one, two].map(|mut all| all.pop().expect("an answer")) }
        };
        stream::iter(0..KEYS).map(send).buffer_unordered(AT_ONCE).collect().await
    }

    /// How much was taken for each order; one charge each.
    async fn charges(&self) -> HashMap<String, i64> {
        let ledger = ledger(&self.provider).await;
        let mut charges = HashMap::new();
        for charge in ledger.charges {
            let order = charge.order_id.expect("metadata[order_id]");
            let earlier = charges.insert(order, charge.amount);
            assert_eq!(earlier, None, "a second charge");
        }
        charges
    }

    /// The text of each mail, by its recipient; one each.
    async fn mails(&self) -> HashMap<String, String> {
        let all = self.json(format!("{}/api/mails?limit=1000", self.mailbox)).await;
        assert_eq!(all["has_more"], json!(false));
        let mut mails = HashMap::new();
        for mail in all["mails"].as_array().unwrap() {
            let to = mail["to"][0].as_str().unwrap_or_else(|| panic!("{mail}")).to_owned();
            let earlier = mails.insert(to, mail["text"].as_str().unwrap().to_owned());
            assert_eq!(earlier, None, "a second mail");
        }
        mails
    }

    /// Waits until each order event has its result and its mail, which `comanda audit` says.
    async fn settled(&self) -> Value {
        eventually("every order is paid and told", LIMIT, async || {
            let audit = process::run(&self.installation.arguments(&["audit", "--json"])).await;
            audit.status.success().then(|| audit.json())
        })
        .await
    }
}

/// An order under the key of `n`, as one of two clients wants it: `dishes` of the first line.
fn wanted(n: usize, dishes: usize) -> Value {
    let mut input = order(&format!("key-{n}"));
    input["contact"]["email"] = json!(email(n));
    input["contact"]["name"] = json!(format!("Guest {dishes}"));
    input["lines"][0]["quantity"] = json!(dishes);
    input
}

fn email(n: usize) -> String {
    format!("guest-{n}@example.com")
}

/// What one key came to.
struct Outcome {
    n: usize,
    answers: [Answer; 2],
}

impl Outcome {
    fn placed(&self) -> (&str, Place) {
        self.answers.iter().find_map(Answer::placed).expect("one of them is placed")
    }
}

/// What all of them agree on: the first record of each order.
async fn agree(house: &House, outcomes: &[Outcome]) {
    let audit = house.settled().await;
    let stored = house.installation.stored::<OrderEvent>().await;
    let mut records: HashMap<String, Vec<(Place, OrderEvent)>> = HashMap::new();
    for (at, event) in stored {
        records.entry(event.order_id.to_string()).or_default().push((at, event));
    }
    let seconds: usize = records.values().map(|of_order| of_order.len() - 1).sum();
    eprintln!("{} orders, {seconds} of them twice in the log: {audit}", records.len());
    assert_eq!(records.len(), KEYS);
    let (charges, mails) = (house.charges().await, house.mails().await);
    let mut payments: HashMap<String, Vec<PaymentEvent>> = HashMap::new();
    for event in house.installation.events::<PaymentEvent>().await {
        payments.entry(event.order_id.to_string()).or_default().push(event);
    }
    let mut told: HashMap<String, Vec<NotificationEvent>> = HashMap::new();
    for event in house.installation.events::<NotificationEvent>().await {
        told.entry(event.order_id.to_string()).or_default().push(event);
    }
    for outcome in outcomes {
        let (id, at) = outcome.placed();
        let of_order = &records[id];
        let (first_at, first) = of_order.iter().min_by_key(|(at, _)| *at).unwrap();
        assert_eq!(at, *first_at, "the receipt is that of the first record");
        let total = first.order.total_minor;
        for answer in &outcome.answers {
            if let Answer::Placed { total: answered, .. } = answer {
                assert_eq!(*answered, total, "{:?}", outcome.answers);
            }
        }
        assert_eq!(charges[id], total, "charged what the first record says");
        let mail = &mails[&email(outcome.n)];
        let name = &first.order.contact.name;
        assert!(mail.contains(&format!("Hello {name},")), "{mail}");
        // One event each, however often it stands there.
        let (results, notes) = (&payments[id], &told[id]);
        assert_eq!((results.len(), notes.len()), (of_order.len(), of_order.len()), "{id}");
        assert!(results.iter().all(|result| result.event_id == results[0].event_id));
        assert!(results.iter().all(|result| result.order == first.order), "{results:#?}");
        assert!(notes.iter().all(|note| note.event_id == notes[0].event_id));
        for gateway in &house.gateways {
            let order = gateway.order_once(id, "PAID").await;
            assert_eq!(order["payment"]["amountMinor"], json!(total));
            let timeline = order["timeline"].as_array().unwrap().len();
            assert_eq!((timeline, &order["version"]), (3, &json!(1)), "{order}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_order_sent_to_two_gateways_at_once_is_one_order_with_one_receipt() {
    let Some(house) = House::open("same").await else { return };
    let _alone = harness::heavy().await;
    let outcomes = house.race(|n| [wanted(n, 2), wanted(n, 2)]).await;
    for Outcome { answers: [one, two], .. } in &outcomes {
        assert_eq!(one.placed(), two.placed(), "the same order and receipt");
    }
    agree(&house, &outcomes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_orders_with_one_key_the_first_counts_and_the_other_is_told_of_the_conflict() {
    let Some(house) = House::open("other").await else { return };
    let _alone = harness::heavy().await;
    let outcomes = house.race(|n| [wanted(n, 1), wanted(n, 9)]).await;
    for Outcome { answers, .. } in &outcomes {
        let conflicts = answers.iter().filter(|a| matches!(a, Answer::Conflict)).count();
        let placed = answers.iter().filter(|a| a.placed().is_some()).count();
        assert_eq!((placed, conflicts), (1, 1), "{answers:?}");
    }
    agree(&house, &outcomes).await;
}
