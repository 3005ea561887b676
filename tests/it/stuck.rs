//! Payments whose outcome nobody knows: seen everywhere, and ended by those who know.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use comanda_schemas::{PaymentEvent, PaymentReport, PaymentReportType};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::Installation;
use crate::harness::process::{self, Finished};
use crate::harness::{self, eventually};

const LIMIT: Duration = Duration::from_secs(60);

/// A provider that charges and hangs up, and whose search fails until it is mended.
#[derive(Clone, Default)]
pub struct HangsUp(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    /// What was charged, as the search shows it, by idempotency key.
    charges: Vec<(String, Value)>,
    look_ups: usize,
    is_mended: bool,
}

impl HangsUp {
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let own = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().answer(stream));
            }
        });
        url
    }

    pub fn mend(&self) {
        self.0.lock().unwrap().is_mended = true;
    }

    /// The idempotency keys of its charges.
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().charges.iter().map(|(key, _)| key.clone()).collect()
    }

    /// How often it was asked what it has.
    pub fn look_ups(&self) -> usize {
        self.0.lock().unwrap().look_ups
    }

    /// One request; the connection ends with it.
    async fn answer(self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream).await else { return };
        if request.starts_with("POST") {
            self.charge(&request);
            return;
        }
        let answer = {
            let mut books = self.0.lock().unwrap();
            books.look_ups += 1;
            let found = books.charges.iter().map(|(_, charge)| charge);
            let found =
                found.filter(|c| request.contains(c["metadata"]["order_id"].as_str().unwrap()));
            match books.is_mended {
                true => ("200 OK", json!({ "data": found.collect::<Vec<_>>() }).to_string()),
                false => ("503 Service Unavailable", String::new()),
            }
        };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            answer.0,
            answer.1.len()
        );
        // The processor may have been stopped.
        let _ = stream.write_all((head + &answer.1).as_bytes()).await;
    }

    fn charge(&self, request: &str) {
        let key = request.to_ascii_lowercase();
        let key = key.split_once("idempotency-key: ").unwrap().1.lines().next().unwrap();
        let (order, version) = key.split_once(':').unwrap();
        let charge = json!({
            "id": format!("pi_{}", &order[..8]), "status": "succeeded", "amount": 1920,
            "currency": "eur", "metadata": { "order_id": order, "version": version },
        });
        let mut books = self.0.lock().unwrap();
        if !books.charges.iter().any(|(known, _)| known == key) {
            books.charges.push((key.to_owned(), charge));
        }
    }
}

/// The text of a request; `None` where the connection ends before it.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    loop {
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest);
            let length: usize = length.lines().next()?.trim().parse().ok()?;
            if body.len() >= length {
                return Some(request);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => request.push_str(std::str::from_utf8(&buffer[..n]).ok()?),
        }
    }
}

async fn run(installation: &Installation, command: &[&str]) -> Finished {
    process::run(&installation.arguments(command)).await
}

async fn listed(installation: &Installation, command: &[&str]) -> Vec<Value> {
    let list = run(installation, &[command, &["--json"]].concat()).await;
    assert!(list.status.success(), "{list:#?}");
    list.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The order once its payment has this status.
pub async fn payment_is(gateway: &Gateway, id: &str, status: &str) -> Value {
    const QUERY: &str = "query($id: ID!) { order(id: $id) { status payment { status paymentId \
        provider reason detail } timeline { type } } }";
    eventually(&format!("payment of {id} is {status}"), LIMIT, async || {
        let order = gateway.ask(QUERY, json!({ "id": id })).await["order"].take();
        (order["payment"]["status"] == status).then_some(order)
    })
    .await
}

async fn text(gateway: &Gateway, url: &str) -> String {
    gateway.http.get(url).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_nobody_knows_is_seen_and_ends_as_the_provider_or_the_operator_says() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "stuck").await;
    let provider = HangsUp::default();
    installation.set(format!("payment.provider_url={}", provider.serve().await));
    for setting in [
        "payment.max_attempts=2",
        "payment.give_up_after_ms=1",
        "payment.backoff_initial_ms=20",
        "payment.retry_unresolved_ms=300",
        "watchdog.deadline_ms=500",
        "watchdog.interval_ms=100",
        // Whatever is held is no case for these.
        "engine.max_attempts=3",
        "engine.max_retry_age_ms=2000",
        "notifier.max_attempts=1",
    ] {
        installation.set(setting.to_owned());
    }
    let mut house = installation.start(&["run", "gateway", "projector", "payment"]);
    let gateway = installation.gateway(&mut house).await;
    let admin = house.logged("admin port listens", "addr").await;
    // What is there before the payment processor is would be looked up before it is sent.
    eventually("all roles are ready", LIMIT, async || {
        let ready = gateway.http.get(format!("http://{admin}/readyz")).send().await.ok()?;
        let is_ready = ready.status().is_success();
        let parts: Value = ready.json().await.ok()?;
        for role in ["gateway", "payment", "projector"] {
            assert!(parts["parts"][role].is_string(), "{role} is missing: {parts}");
        }
        is_ready.then_some(())
    })
    .await;

    let [found, paid, failed] = ["stuck-1", "stuck-2", "stuck-3"].map(order);
    let found = gateway.accepted(found).await;
    let paid = gateway.accepted(paid).await;
    let failed = gateway.accepted(failed).await;
    for id in [&found, &paid, &failed] {
        let order = payment_is(&gateway, id, "UNKNOWN").await;
        assert_eq!(order["status"], "PENDING");
        assert_eq!(order["payment"]["provider"], "sandbox");
        assert_eq!(
            order["timeline"],
            json!([{ "type": "ORDER_PLACED" }, { "type": "PAYMENT_IN_DOUBT" }])
        );
    }

    let stuck = eventually("all are stuck", LIMIT, async || {
        let stuck = listed(&installation, &["orders", "stuck"]).await;
        (stuck.len() == 3).then_some(stuck)
    })
    .await;
    let of = |list: &[Value], id: &str| {
        let found = list.iter().find(|line| line["order_id"] == id);
        found.unwrap_or_else(|| panic!("{id} is not in {list:#?}")).clone()
    };
    let line = of(&stuck, &found);
    assert_eq!(line["customer_id"], "table-12");
    assert_eq!((&line["status"], &line["payment_status"]), (&json!("PENDING"), &json!("UNKNOWN")));
    assert_eq!((&line["version"], line["since"].is_string()), (&json!(1), true));
    let later = listed(&installation, &["orders", "stuck", "--older-than", "1d"]).await;
    assert_eq!(later, Vec::<Value>::new());
    let doubts = listed(&installation, &["payments", "stuck"]).await;
    assert_eq!(doubts.len(), 3, "{doubts:#?}");
    let line = of(&doubts, &paid);
    assert_eq!((&line["kind"], &line["version"]), (&json!("IN_DOUBT"), &json!(1)));
    assert_eq!((&line["provider"], &line["resolved_as"]), (&json!("sandbox"), &Value::Null));
    let plain = run(&installation, &["payments", "stuck"]).await;
    assert!(plain.stdout.contains(&paid) && plain.stderr.contains("3 in doubt"), "{plain:#?}");

    eventually("the watchdog barks", LIMIT, async || {
        let metrics = text(&gateway, &format!("http://{admin}/metrics")).await;
        let all = ["comanda_orders_stuck 3", "comanda_engine_held_records{stage=\"payment\"} 3"];
        all.iter().all(|line| metrics.contains(line)).then_some(())
    })
    .await;
    let ready = gateway.http.get(format!("http://{admin}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["details"]["stuck_orders"]["orders"], 3, "{ready}");

    // A processor that is started anew knows that it must not send or give up.
    house.kill9();
    let mut house = installation.start(&["run", "gateway", "projector", "payment"]);
    let gateway = installation.gateway(&mut house).await;
    let admin = house.logged("admin port listens", "addr").await;

    let detail = ["--detail", "seen in the dashboard"];
    let resolve = async |id: &str, how: &[&str]| {
        run(&installation, &[&["payments", "resolve", id], how, &detail[..]].concat()).await
    };
    let no_order = "00000000-0000-7000-8000-000000000000";
    let refused = resolve(no_order, &["--failed"]).await;
    assert!(!refused.status.success() && refused.stderr.contains("in doubt"), "{refused:#?}");
    let done = resolve(&paid, &["--succeeded", "pi_by_hand"]).await;
    assert!(done.status.success(), "{done:#?}");
    let done = resolve(&failed, &["--failed", "--version", "1"]).await;
    assert!(done.status.success(), "{done:#?}");
    let order = payment_is(&gateway, &paid, "SUCCEEDED").await;
    assert_eq!(
        (&order["status"], &order["payment"]["paymentId"]),
        (&json!("PAID"), &json!("pi_by_hand"))
    );
    let order = payment_is(&gateway, &failed, "FAILED").await;
    assert_eq!(order["payment"]["reason"], "UNKNOWN");
    assert_eq!(order["payment"]["detail"], "seen in the dashboard");
    let refused = resolve(&paid, &["--failed"]).await;
    assert!(!refused.status.success(), "{refused:#?}");
    assert!(refused.stderr.contains("result already: SUCCEEDED, pi_by_hand"), "{refused:#?}");

    let order = payment_is(&gateway, &found, "UNKNOWN").await;
    assert_eq!(order["status"], "PENDING");
    provider.mend();
    let order = payment_is(&gateway, &found, "SUCCEEDED").await;
    assert_eq!(order["payment"]["paymentId"], format!("pi_{}", &found[..8]));
    assert_eq!(listed(&installation, &["payments", "stuck"]).await, Vec::<Value>::new());
    let all = ["orders", "stuck", "--older-than", "0s"];
    assert_eq!(listed(&installation, &all).await, Vec::<Value>::new());
    eventually("the watchdog is calm", LIMIT, async || {
        let metrics = text(&gateway, &format!("http://{admin}/metrics")).await;
        metrics.contains("comanda_orders_stuck 0").then_some(())
    })
    .await;

    assert_eq!(provider.keys().len(), 3, "{:?}", provider.keys());
    assert_eq!(installation.events::<PaymentEvent>().await.len(), 3);
    let reports = installation.events::<PaymentReport>().await;
    let of = |kind| reports.iter().filter(|report| report.r#type == kind).count();
    assert_eq!((of(PaymentReportType::InDoubt), of(PaymentReportType::Resolved)), (3, 2));
    let audit = run(&installation, &["audit", "--json"]).await;
    let counts = audit.json();
    for clean in ["lost", "duplicated", "out_of_order", "unreadable"] {
        assert_eq!(counts[clean], 0, "{audit:#?}");
    }
    let shown = ["tail", "payment-reports", "--from", "beginning", "--count", "5"];
    let shown = run(&installation, &shown).await;
    assert!(shown.stdout.contains("IN_DOUBT") && shown.stdout.contains("RESOLVED"), "{shown:#?}");
}
