//! A mail provider that does not take some mails: they wait, or are over, and the others go out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use comanda_schemas::{
    NotificationEvent, NotificationEventType, OrderEvent, OrderId, PaymentEvent,
};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::dead_letters::placed;
use crate::harness::installation::{Installation, Place};
use crate::harness::process;
use crate::harness::{self, eventually};

const LIMIT: Duration = Duration::from_secs(60);
const BUSY: &str = "busy@example.com";
const AWAY: &str = "away@example.com";
const BAD: &str = "bad@example.com";
const OTHERS: usize = 30;
/// What the provider asks for, in seconds.
const RETRY_AFTER: u64 = 1;

/// Takes mails, but none for [`BAD`], and until it is mended none for [`BUSY`] and [`AWAY`].
#[derive(Clone, Default)]
struct Provider(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    is_mended: bool,
    /// When each recipient's mail came, and under which key.
    asked: HashMap<String, Vec<(Instant, String)>>,
    taken: Vec<String>,
}

impl Provider {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    fn asked(&self, to: &str) -> usize {
        self.book().asked.get(to).map_or(0, Vec::len)
    }
}

impl Respond for Provider {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = request.body_json().unwrap();
        let to = body["to"][0].as_str().unwrap().to_owned();
        let key = request.headers["idempotency-key"].to_str().unwrap().to_owned();
        let error = |status, name| {
            ResponseTemplate::new(status).set_body_json(json!({ "name": name, "message": "no" }))
        };
        let mut book = self.book();
        book.asked.entry(to.clone()).or_default().push((Instant::now(), key));
        match to.as_str() {
            BAD => error(422, "validation_error"),
            BUSY if !book.is_mended => error(429, "rate_limit_exceeded")
                .insert_header("retry-after", RETRY_AFTER.to_string()),
            AWAY if !book.is_mended => error(503, "application_error"),
            _ => {
                book.taken.push(to);
                ResponseTemplate::new(200).set_body_json(json!({ "id": "49a3999c-0ce1" }))
            }
        }
    }
}

/// Its id follows from the address, and with it its partition: each run has the same ones together.
fn order_of(email: &str) -> OrderEvent {
    let mut event = placed();
    event.order_id = OrderId::derive("mail retries", email);
    event.event_id = OrderEvent::derive_id(event.order_id, event.version, event.r#type);
    event.order.contact.email = email.into();
    event
}

#[tokio::test]
async fn a_mail_that_has_to_wait_holds_no_other_order_up_and_is_sent_once() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "waiting").await;
    let (_payments, _) = installation.start_provider(&[]).await;
    let provider = Provider::default();
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(provider.clone()).mount(&server).await;
    for setting in [
        format!("notifier.provider_url={}", server.uri()),
        "notifier.max_attempts=10000".to_owned(),
        "engine.max_attempts=10000".to_owned(),
        // So that a longer pause can only be the one that was asked for.
        "notifier.backoff_initial_ms=100".to_owned(),
        "notifier.backoff_max_ms=100".to_owned(),
    ] {
        installation.set(setting);
    }
    let [busy, away, bad] = [BUSY, AWAY, BAD].map(order_of);
    let others = (0..OTHERS).map(|n| order_of(&format!("guest-{n}@example.com")));
    let others: Vec<_> = others.collect();
    let _roles = installation.start(&["run", "payment", "notifier"]);
    // The first ones first, in each partition.
    installation.publish(&[busy.clone(), away.clone(), bad.clone()]).await;
    eventually("the provider is asked", LIMIT, async || {
        [BUSY, AWAY, BAD].iter().all(|to| provider.asked(to) > 0).then_some(())
    })
    .await;
    installation.publish(&others).await;

    let told = told_once(&installation, OTHERS + 1).await;
    let ids: HashSet<_> = others.iter().map(|event| event.order_id).collect();
    for (order_id, event) in &told {
        let expected = match ids.contains(order_id) {
            true => (NotificationEventType::Sent, None),
            false => (NotificationEventType::Failed, Some("validation_error")),
        };
        assert_eq!((event.r#type, event.detail.as_deref()), expected, "{event:#?}");
    }
    assert!(told.contains_key(&bad.order_id));
    for (event, to) in [(&busy, BUSY), (&away, AWAY)] {
        let tries = provider.asked(to);
        eventually("it is tried again", LIMIT, async || {
            (provider.asked(to) > tries.max(1)).then_some(())
        })
        .await;
        let waiting = payment_of(&installation, event.order_id).await;
        let passed = told.values().filter(|told| told.source.partition == waiting.0);
        let passed = passed.filter(|told| told.source.offset > waiting.1);
        assert!(passed.count() > 0, "none of its partition is behind {to}");
    }

    provider.book().is_mended = true;
    let told = told_once(&installation, OTHERS + 3).await;
    for event in [&busy, &away] {
        assert_eq!(told[&event.order_id].r#type, NotificationEventType::Sent);
    }
    installation.has_no_dead_letters().await;
    let audit = process::run(&installation.arguments(&["audit", "--json"])).await;
    assert!(audit.status.success(), "{audit:#?}");
    let mut book = provider.book();
    for (to, asked) in &book.asked {
        let keys: HashSet<_> = asked.iter().map(|(_, key)| key).collect();
        assert_eq!(keys.len(), 1, "{to}: {keys:?}");
    }
    assert_eq!(book.asked[BAD].len(), 1, "no storm");
    for pair in book.asked[BUSY].windows(2) {
        let pause = pair[1].0 - pair[0].0;
        assert!(pause >= Duration::from_secs(RETRY_AFTER), "tried again after {pause:?}");
    }
    book.taken.sort_unstable();
    let mut expected: Vec<_> = (0..OTHERS).map(|n| format!("guest-{n}@example.com")).collect();
    expected.extend([BUSY, AWAY].map(str::to_owned));
    expected.sort_unstable();
    assert_eq!(book.taken, expected, "each mail once");
}

/// The notifications by order, as soon as there are `number` of them.
async fn told_once(
    installation: &Installation,
    number: usize,
) -> HashMap<OrderId, NotificationEvent> {
    let told = eventually(&format!("{number} notifications"), LIMIT, async || {
        let told = installation.events::<NotificationEvent>().await;
        (told.len() >= number).then_some(told)
    })
    .await;
    assert_eq!(told.len(), number, "{told:#?}");
    let told: HashMap<_, _> = told.into_iter().map(|told| (told.order_id, told)).collect();
    assert_eq!(told.len(), number, "an order was told twice");
    told
}

async fn payment_of(installation: &Installation, order_id: OrderId) -> Place {
    let payments = installation.stored::<PaymentEvent>().await;
    let own = payments.iter().find(|(_, event)| event.order_id == order_id);
    own.unwrap_or_else(|| panic!("{order_id} has no payment")).0
}
