//! `comanda dlq`: dead letters are listed, shown, and put back once.

mod letters;
mod notifier;

use std::time::Duration;

use comanda_schemas::{Encoder, PaymentEvent, PaymentEventType, Stage, Timestamp, Topic, headers};
use rdkafka::Message as _;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, FutureProducer, FutureRecord, Producer as _, ThreadedProducer,
};
use rdkafka::util::Timeout;
use serde_json::{Value, json};

use crate::dead_letters::placed;
use crate::harness::installation::Installation;
use crate::harness::process::{self, Finished};
use crate::harness::{self, eventually};
use letters::Letters;

/// The first byte is not the wire format's.
const POISON: &[u8] = b"\x07no order at all";

async fn dlq(installation: &Installation, arguments: &[&str]) -> Finished {
    process::run(&installation.arguments(&[&["dlq"], arguments].concat())).await
}

async fn listed(installation: &Installation, arguments: &[&str]) -> Vec<Value> {
    let list = dlq(installation, &[&["list", "--json"], arguments].concat()).await;
    assert!(list.status.success(), "{list:#?}");
    list.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn position(letter: &Value) -> String {
    format!("{}@{}", letter["partition"], letter["offset"])
}

#[tokio::test]
async fn after_the_repair_a_redriven_letter_gets_its_one_result() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "redrive").await;
    let orders = installation.names.name(Topic::Orders);
    let producer: FutureProducer =
        parts.kafka.options().client_config("it-poison").create().unwrap();
    let event = placed();
    let key = event.order_id.to_string();
    let encoder = Encoder::new(installation.schema_id(Topic::Orders).await);
    let value = encoder.encode(&event).unwrap();
    let traced = OwnedHeaders::new().insert(Header { key: "from", value: Some("a stranger") });
    let good = FutureRecord::to(&orders).key(&key).payload(&value).headers(traced);
    let good = producer.send(good, Duration::from_secs(10)).await.unwrap();
    let poison = FutureRecord::to(&orders).key("no order").payload(POISON);
    producer.send(poison, Duration::from_secs(10)).await.unwrap();

    // Something answers, but no payment provider; and one try is all there is.
    installation.set(format!("payment.provider_url={}", parts.registry.url()));
    installation.set("notifier.max_attempts=1".into());
    installation.set("engine.max_attempts=1".into());
    let mut payment = installation.start(&["payment"]);
    let open = eventually("two letters", Duration::from_secs(60), async || {
        let letters = listed(&installation, &[]).await;
        (letters.len() == 2).then_some(letters)
    })
    .await;
    payment.terminate();
    payment.exit_within(Duration::from_secs(20)).await;

    let of_kind = |kind: &str| {
        open.iter().find(|letter| letter["kind"] == kind).unwrap_or_else(|| panic!("{open:#?}"))
    };
    let (refused, unread) = (of_kind("payment_provider_refuses"), of_kind("decode"));
    assert_eq!(refused["stage"], "payment");
    assert_eq!(refused["order_id"], key);
    assert_eq!(
        refused["origin"],
        json!({ "topic": orders, "partition": good.partition, "offset": good.offset })
    );
    assert_eq!(refused["attempts"], 1);
    assert_eq!(refused["redriven"], Value::Null);
    let text = dlq(&installation, &["list", "--stage", "payment"]).await;
    assert_eq!(text.stdout.lines().count(), 2, "{text:#?}");
    assert!(text.stderr.contains("2 dead letters: "), "{text:#?}");
    assert_eq!(listed(&installation, &["--stage", "notifier"]).await.len(), 0);

    let shown = dlq(&installation, &["show", "payment", &position(refused)]).await;
    for part in ["not redriven", "comanda_dlq_error_kind", "a stranger", "event\n", "Jo Lind"] {
        assert!(shown.stdout.contains(part), "no {part:?} in {shown:#?}");
    }
    let shown = dlq(&installation, &["show", "payment", &position(unread)]).await;
    for part in ["07 6e 6f 20 6f", ".no order at all", "no event: not in the Confluent"] {
        assert!(shown.stdout.contains(part), "no {part:?} in {shown:#?}");
    }

    let (_provider, _) = installation.start_provider(&[]).await;
    let of_refused = ["redrive", "--kind", "payment_provider_refuses"];
    let unasked = dlq(&installation, &of_refused).await;
    assert!(!unasked.status.success() && unasked.stderr.contains("--yes"), "{unasked:#?}");
    let dry = dlq(&installation, &[&of_refused[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.stdout.lines().last(), Some("would redrive 1"), "{dry:#?}");
    assert_eq!(installation.records(&orders).await.len(), 2, "it was only to look");
    for said in ["redriven 1", "redriven 0; 1 redriven before"] {
        let redriven = dlq(&installation, &[&of_refused[..], &["--yes"]].concat()).await;
        assert!(redriven.status.success(), "{redriven:#?}");
        assert_eq!(redriven.stdout.lines().last(), Some(said), "{redriven:#?}");
    }

    let _payment = installation.start(&["payment"]);
    let results = eventually("a result", Duration::from_secs(60), async || {
        let results = installation.events::<PaymentEvent>().await;
        (!results.is_empty()).then_some(results)
    })
    .await;
    let records = installation.records(&orders).await;
    assert_eq!(records.len(), 3);
    let back = records.iter().rfind(|r| r.key() == Some(key.as_bytes())).unwrap();
    assert_eq!(results.len(), 1, "{results:#?}");
    assert_eq!(results[0].event_id, PaymentEvent::derive_id(event.event_id));
    assert_eq!(results[0].r#type, PaymentEventType::Succeeded);
    assert_eq!(results[0].source.offset, back.offset());

    assert_eq!(back.partition(), good.partition);
    assert!(back.offset() > good.offset);
    assert_eq!(back.payload(), Some(value.as_slice()));
    let told = back.headers().unwrap();
    assert!(told.iter().all(|h| !h.key.starts_with("comanda_dlq_")), "{told:?}");
    let header = |name: &str| headers::text(told, name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(header("from"), "a stranger");
    assert_eq!(header("comanda_redrive_of_topic"), installation.names.dead_letters(Stage::Payment));
    assert_eq!(header("comanda_redrive_of_partition"), refused["partition"].to_string());
    assert_eq!(header("comanda_redrive_of_offset"), refused["offset"].to_string());
    assert_eq!(header("comanda_redrive_count"), "1");
    assert_eq!(header("comanda_redrive_first_offset"), good.offset.to_string());
    assert!(Timestamp::parse_rfc3339(header("comanda_redrive_first_timestamp")).is_some());

    assert_eq!(listed(&installation, &[]).await.len(), 1);
    let all = listed(&installation, &["--all", "--kind", "payment_provider_refuses"]).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["redriven"]["to"]["offset"], back.offset());
    let shown = dlq(&installation, &["show", "payment", &position(refused)]).await;
    assert!(shown.stdout.contains(&format!("@{}", back.offset())), "{shown:#?}");
    let audit = process::run(&installation.arguments(&["audit", "--json"])).await.json();
    for (count, expected) in [
        ("order_events", 3),
        ("results", 1),
        ("lost", 0),
        ("duplicated", 0),
        ("out_of_order", 0),
        ("dead_letters", 2),
        ("unreadable", 0),
    ] {
        assert_eq!(audit[count], expected, "{count} in {audit}");
    }
}

#[tokio::test]
async fn letters_that_would_do_harm_are_refused_until_that_is_asked_for() {
    let Some(parts) = harness::real_parts().await else { return };
    let installation = Installation::new(parts, "refuse").await;
    let letters = Letters::new(&installation);
    let overtaken = letters.add("overtaken", Duration::ZERO).await;
    letters.order("overtaken").await;
    let old = letters.add("old", Duration::from_secs(25 * 3600)).await;
    let fine = letters.add("fine", Duration::ZERO).await;

    let redriven = dlq(&installation, &["redrive", "--yes"]).await;
    assert!(!redriven.status.success(), "{redriven:#?}");
    assert_eq!(redriven.stdout.lines().last(), Some("redriven 1; 2 refused"), "{redriven:#?}");
    for (at, hint) in [(&overtaken, "--out-of-order"), (&old, "--force")] {
        let mut lines = redriven.stderr.lines();
        let line = lines.find(|line| line.starts_with(&format!("payment {at} is not redriven")));
        assert!(line.is_some_and(|line| line.contains(hint)), "{at}: {redriven:#?}");
    }
    assert_eq!(letters.redriven().await, ["fine"]);

    for (at, flag) in [(&overtaken, "--out-of-order"), (&old, "--force")] {
        let named = ["redrive", "--yes", "--stage", "payment", "--letter", at.as_str(), flag];
        let redriven = dlq(&installation, &named).await;
        assert!(redriven.status.success(), "{redriven:#?}");
    }
    let mut all = letters.redriven().await;
    all.sort();
    assert_eq!(all, ["fine", "old", "overtaken"]);
    let nowhere = ["redrive", "--yes", "--stage", "payment", "--letter", "0@999"];
    let redriven = dlq(&installation, &nowhere).await;
    assert!(!redriven.status.success() && redriven.stderr.contains("0@999"), "{redriven:#?}");
    let done = dlq(&installation, &["redrive", "--stage", "payment", "--letter", &fine]).await;
    assert_eq!(done.stdout.lines().last(), Some("redriven 0; 1 redriven before"), "{done:#?}");
}

#[tokio::test]
async fn redrives_that_are_killed_and_run_side_by_side_put_each_letter_back_once() {
    let Some(parts) = harness::real_parts().await else { return };
    let _heavy = harness::heavy().await;
    let mut installation = Installation::new(parts, "once").await;
    installation.set("engine.transaction_timeout_ms=5000".into());
    let letters = Letters::new(&installation);
    const ORDERS: usize = 50;
    letters.add_many(ORDERS, 0..120).await;
    let redrive = || installation.start(&["dlq", "redrive", "--yes"]);
    let mut killed = redrive();
    eventually("it has begun", Duration::from_secs(60), async || {
        (!letters.redriven().await.is_empty()).then_some(())
    })
    .await;
    killed.kill9();
    println!("killed at {} of {}", letters.redriven().await.len(), ORDERS * 120);
    letters.add_many(ORDERS, 120..180).await;
    let mut side_by_side = [redrive(), redrive(), redrive()];
    let mut ended = Vec::new();
    for running in &mut side_by_side {
        let status = running.exit_within(Duration::from_secs(120)).await;
        ended.push((status.success(), running.output()));
    }
    // Nobody takes over from the one that came last, and it leaves nothing.
    assert!(ended.iter().any(|(success, _)| *success), "{ended:#?}");
    let last = dlq(&installation, &["redrive", "--yes"]).await;
    assert_eq!(last.stdout, "redriven 0; 9000 redriven before\n", "{last:#?}");

    let values = letters.redriven().await;
    assert_eq!(values.len(), ORDERS * 180);
    let mut next = vec![0; ORDERS];
    for value in values {
        let (order, event) = value.split_once('/').unwrap();
        let order: usize = order.parse().unwrap();
        assert_eq!(event.parse::<usize>().unwrap(), next[order], "order {order}");
        next[order] += 1;
    }
}

#[tokio::test]
async fn a_note_that_an_open_transaction_hides_is_waited_for() {
    let Some(parts) = harness::real_parts().await else { return };
    let installation = Installation::new(parts, "hidden").await;
    let letters = Letters::new(&installation);
    let at = letters.add("once", Duration::ZERO).await;
    let (partition, offset) = at.split_once('@').unwrap();
    let topic = installation.names.dead_letters(Stage::Payment);
    let partition: i32 = partition.parse().unwrap();

    let mut config = parts.kafka.options().client_config("it-hanging");
    config.set("transactional.id", format!("{topic}-hanging"));
    let hanging: ThreadedProducer<_> = config.create().unwrap();
    let record =
        |value: &'static str| BaseRecord::<(), str>::to(&topic).partition(partition).payload(value);
    hanging.init_transactions(Duration::from_secs(30)).unwrap();
    hanging.begin_transaction().unwrap();
    hanging.send(record("of a processor that hangs")).unwrap();
    hanging.flush(Duration::from_secs(30)).unwrap();
    letters.note(partition, offset.parse().unwrap()).await;
    let list = dlq(&installation, &["list"]).await;
    assert_eq!(list.stdout.lines().count(), 1, "the note is hidden: {list:#?}");
    assert!(list.stderr.contains("a transaction is open"), "{list:#?}");

    let mut redrive = installation.start(&["dlq", "redrive", "--yes"]);
    redrive.line("waits for a transaction").await;
    hanging.abort_transaction(Timeout::Never).unwrap();
    let status = redrive.exit_within(Duration::from_secs(60)).await;
    assert!(status.success(), "{}", redrive.output());
    assert!(redrive.output().contains("redriven 0; 1 redriven before"), "{}", redrive.output());
    assert_eq!(letters.redriven().await, [""; 0]);
}
