//! What becomes of records.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comanda_schemas::{
    Encoder, OrderEvent, OrderId, PaymentEvent, PaymentReport, Redrive, Source, Timestamp,
    TraceContext, headers,
};
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use tokio_util::sync::CancellationToken;

use super::super::Error;
use super::{Bench, DEADLINE, Options, Scripted, event, options, running};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_one_result_in_the_order_of_its_key_and_keys_overlap() {
    let bench = Bench::new().await;
    let processor = std::sync::Arc::new(Scripted::default());
    for version in 1..=5 {
        for key in 0..20 {
            bench.place(&event(&format!("k{key}"), version, ""));
        }
    }
    running(&bench, processor.clone(), async || {
        let results = bench.payments(100).await;
        let mut versions: HashMap<OrderId, Vec<i32>> = HashMap::new();
        for result in &results {
            versions.entry(result.order_id).or_default().push(result.version);
        }
        assert_eq!(versions.len(), 20);
        assert!(versions.values().all(|v| *v == [1, 2, 3, 4, 5]), "{versions:?}");
    })
    .await;
    assert_eq!(processor.calls.load(Ordering::SeqCst), 100);
    assert_eq!(processor.overlapped.load(Ordering::SeqCst), 0);
    // Two partitions, so anything wider shows that keys run side by side.
    assert!(processor.widest.load(Ordering::SeqCst) > 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_goes_to_the_dead_letters_as_it_came() {
    let bench = Bench::new().await;
    let original = rdkafka::message::OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "mine", value: Some("kept") });
    bench.send("not-an-id", b"{\"not\":\"avro\"}", original);
    bench.place(&event("good", 1, ""));
    running(&bench, Default::default(), async || {
        assert_eq!(bench.payments(1).await.len(), 1);
        let dead = tokio::task::block_in_place(|| bench.read("orders.payment.dlq", 1));
        let [dead] = dead.as_slice() else { panic!("one dead letter") };
        assert_eq!(dead.payload(), Some(b"{\"not\":\"avro\"}".as_slice()));
        assert_eq!(dead.key(), Some(b"not-an-id".as_slice()));
        let headers = dead.headers().unwrap();
        let header = |key| headers::text(headers, key).unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(header("mine"), "kept");
        assert_eq!(header("comanda_dlq_topic"), "orders");
        assert!(["0", "1"].contains(&header("comanda_dlq_partition")));
        assert_eq!(header("comanda_dlq_offset"), "0");
        assert_eq!(header("comanda_dlq_group"), "comanda-payment");
        assert_eq!(header("comanda_dlq_error_kind"), "decode");
        assert!(header("comanda_dlq_error_chain").contains("first byte"));
        assert_eq!(header("comanda_dlq_attempts"), "1");
        assert!(Timestamp::parse_rfc3339(header("comanda_dlq_timestamp")).is_some());
        assert!(Timestamp::parse_rfc3339(header("comanda_dlq_first_failed_at")).is_some());
        assert_eq!(header("comanda_dlq_build"), env!("CARGO_PKG_VERSION"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_the_log_before_may_have_been_begun_by_another() {
    let bench = Bench::new().await;
    let processor = Arc::new(Scripted::default());
    let before = [event("a", 1, ""), event("b", 1, "")];
    before.iter().for_each(|event| bench.place(event));
    running(&bench, processor.clone(), async || {
        bench.payments(2).await;
        bench.place(&event("c", 1, ""));
        bench.payments(3).await;
    })
    .await;
    let mut suspects = processor.suspects.lock().unwrap().clone();
    let mut expected = before.map(|event| event.order_id);
    suspects.sort();
    expected.sort();
    assert_eq!(suspects, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_carried_out() {
    let bench = Bench::new().await;
    let processor = std::sync::Arc::new(Scripted::default());
    for note in ["skip", "panic", "dead", "dead with result", "retry once", "retry for ever"] {
        bench.place(&event(note, 1, note));
    }
    running(&bench, processor.clone(), async || {
        let results = bench.payments(2).await;
        let attempts: HashMap<OrderId, i32> =
            results.iter().map(|r| (r.order_id, r.payment.attempts)).collect();
        assert_eq!(attempts[&OrderId::derive("c", "retry once")], 2);
        assert_eq!(attempts[&OrderId::derive("c", "dead with result")], 1);
        let dead = tokio::task::block_in_place(|| bench.read("orders.payment.dlq", 4));
        let mut kinds: Vec<(String, String)> = dead
            .iter()
            .map(|d| {
                let header = |key| headers::text(d.headers().unwrap(), key).unwrap().to_owned();
                (header("comanda_dlq_error_kind"), header("comanda_dlq_attempts"))
            })
            .collect();
        kinds.sort();
        let expected = [("panic", "1"), ("scripted", "1"), ("scripted", "1"), ("scripted", "3")];
        let kinds: Vec<_> = kinds.iter().map(|(k, a)| (k.as_str(), a.as_str())).collect();
        assert_eq!(kinds, expected);
    })
    .await;
    // One call each for four of them, two and three for the retried ones.
    assert_eq!(processor.calls.load(Ordering::SeqCst), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_record_outlives_the_caps_and_its_note_comes_before_its_result() {
    let bench = Bench::new().await;
    for note in ["hold", "hold for ever"] {
        bench.place(&event(note, 1, note));
    }
    bench.place(&event("hold for ever", 2, ""));
    bench.place(&event("other", 1, ""));
    running(&bench, Default::default(), async || {
        let results = bench.payments(2).await;
        let attempts: HashMap<OrderId, i32> =
            results.iter().map(|r| (r.order_id, r.payment.attempts)).collect();
        assert_eq!(attempts[&OrderId::derive("c", "hold")], 6);
        assert!(attempts.contains_key(&OrderId::derive("c", "other")));
        let notes = tokio::task::block_in_place(|| bench.read("payment-reports", 2));
        for note in &notes {
            let report: PaymentReport = bench.registry.read(note.payload().unwrap()).await.unwrap();
            assert_eq!(note.key(), Some(report.order_id.to_string().as_bytes()));
            let header = |key| headers::text(note.headers().unwrap(), key).unwrap().to_owned();
            assert_eq!(header("ce_id"), report.event_id.to_string());
            assert_eq!(header("ce_type"), "comanda.payment_report.in_doubt");
            assert_eq!(header("ce_source"), "/comanda/payment");
        }
    })
    .await;
    assert_eq!(bench.read_all("payment-reports").len(), 2, "one a record, not one a call");
    assert_eq!(bench.read_all("payments").len(), 2, "what is held for ever keeps its key");
    assert_eq!(bench.read_all("orders.payment.dlq").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_record_is_handled_again_as_soon_as_there_is_news_of_it() {
    let bench = Bench::new().await;
    bench.place(&event("held", 1, "hold for news"));
    bench.place(&event("held for ever", 1, "hold for news"));
    let processor = Arc::new(Scripted::default());
    running(&bench, processor.clone(), async || {
        processor.news.notify_one();
        let results = bench.payments(1).await;
        assert_eq!(results[0].payment.attempts, 2);
        let both = async {
            while processor.calls.load(Ordering::SeqCst) < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, both).await.expect("the other one is held");
    })
    .await;
    assert_eq!(bench.read_all("payments").len(), 1, "the engine stops all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_comes_with_what_its_key_has_before_it_from_where_it_says() {
    let bench = Bench::new().await;
    let processor = std::sync::Arc::new(Scripted::default());
    let version = |version, seen_offset| OrderEvent { seen_offset, ..event("k", version, "") };
    bench.place(&version(1, None));
    for n in 0..20 {
        bench.place(&event(&format!("other-{n}"), 1, ""));
    }
    bench.send(
        &version(1, None).order_id.to_string(),
        b"no event",
        rdkafka::message::OwnedHeaders::new(),
    );
    bench.place(&version(2, None));
    bench.place(&version(3, Some(0)));
    bench.place(&version(4, Some(1)));
    bench.place(&version(5, Some(1_000)));
    let redriven = version(6, None);
    let of = Source { topic: "orders.payment.dlq".into(), partition: 0, offset: 0 };
    let redrive = Redrive { of, count: 1, first_offset: 1, first_timestamp: None };
    let original = headers::event_headers(&redriven, "/test", &TraceContext::new_root());
    let value = Encoder::new(1).encode(&redriven).unwrap();
    bench.send(&redriven.order_id.to_string(), &value, redrive.headers(Some(&original)));
    running(&bench, processor.clone(), async || {
        assert_eq!(bench.payments(26).await.len(), 26);
    })
    .await;
    let looked_back = processor.looked_back.lock().unwrap().clone();
    let expected = [
        (3, vec![1, 2], false),
        (4, vec![2, 3], false),
        (5, vec![], false),
        (6, vec![2, 3, 4, 5], true),
    ];
    assert_eq!(looked_back, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_fails_at_everything_is_stopped() {
    let bench = Bench::new().await;
    for key in 0..100 {
        bench.place(&event(&format!("k{key}"), 1, "dead"));
    }
    let engine = bench.engine(Default::default());
    let ended = tokio::time::timeout(DEADLINE, engine.run_until_stopped(CancellationToken::new()));
    let error = ended.await.expect("stops by itself").expect_err("is an error");
    assert!(matches!(error, Error::TooManyDeadLetters { window: 40, .. }), "{error}");
    let dead = tokio::task::block_in_place(|| bench.read_all("orders.payment.dlq"));
    assert!(dead.len() < 100, "{} dead letters: it went on", dead.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_carries_its_cause_and_continues_the_trace() {
    let bench = Bench::new().await;
    bench.place(&event("traced", 1, ""));
    running(&bench, Default::default(), async || {
        let order = tokio::task::block_in_place(|| bench.read("orders", 1)).remove(0);
        let record = tokio::task::block_in_place(|| bench.read("payments", 1)).remove(0);
        let result: PaymentEvent = bench.registry.read(record.payload().unwrap()).await.unwrap();
        assert_eq!(result.source.topic, "orders");
        assert_eq!(result.source.partition, order.partition());
        assert_eq!(result.source.offset, order.offset());
        assert_eq!(record.key(), order.key());
        let header =
            |of: &OwnedMessage, key| headers::text(of.headers().unwrap(), key).unwrap().to_owned();
        assert_eq!(header(&record, "ce_id"), result.event_id.to_string());
        assert_eq!(header(&record, "ce_type"), "comanda.payment.succeeded");
        assert_eq!(header(&record, "ce_source"), "/comanda/payment");
        assert_eq!(header(&record, "ce_specversion"), "1.0");
        assert_eq!(header(&record, "ce_time"), result.occurred_at.to_rfc3339());
        let trace = |of| header(of, "traceparent").split('-').nth(1).unwrap().to_owned();
        assert_eq!(trace(&record), trace(&order));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_a_neighbour_count_towards_no_cap() {
    let bench = Bench::new().await;
    let processor = std::sync::Arc::new(Scripted::default());
    bench.place(&event("wait", 1, "wait"));
    running(&bench, processor.clone(), async || {
        let results = bench.payments(1).await;
        assert_eq!(results[0].payment.attempts, 1, "no wait was an attempt");
    })
    .await;
    assert_eq!(processor.calls.load(Ordering::SeqCst), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_beyond_the_age_ends_in_a_last_try() {
    let bench = Bench::new().await;
    let processor = std::sync::Arc::new(Scripted::default());
    bench.place(&event("late", 1, "retry late"));
    let options = Options { max_retry_age_ms: 300, max_attempts: 100, ..options() };
    let shutdown = CancellationToken::new();
    let engine = bench.engine_with(options, processor.clone());
    let engine = tokio::spawn(engine.run_until_stopped(shutdown.clone()));
    let dead = tokio::task::block_in_place(|| bench.read("orders.payment.dlq", 1));
    let attempts = headers::text(dead[0].headers().unwrap(), "comanda_dlq_attempts");
    assert_eq!(attempts, Some("2"));
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, engine).await.expect("stops in time").unwrap().unwrap();
    assert_eq!(processor.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_for_a_neighbours_fault_do_not_stop_the_engine() {
    let bench = Bench::new().await;
    for n in 0..60 {
        bench.place(&event(&format!("n{n}"), 1, "refused"));
    }
    running(&bench, Default::default(), async || {
        tokio::task::block_in_place(|| bench.read("orders.payment.dlq", 60));
        bench.place(&event("good", 1, ""));
        assert_eq!(bench.payments(1).await.len(), 1);
    })
    .await;
}
