//! Topics that are deleted and made anew, while parts run and while they are away.

use std::time::Duration;

use comanda_schemas::{PaymentEvent, Topic};
use serde_json::Value;

use crate::engine::place;
use crate::harness::graphql::order;
use crate::harness::installation::Installation;
use crate::harness::process::{self, Comanda};
use crate::harness::{self, eventually};

const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `/readyz` says this, or nothing of it.
async fn ready_has(process: &mut Comanda, words: &str, has: bool) {
    let admin = process.logged("admin port listens", "addr").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    eventually(&format!("/readyz: {words:?} is {has}"), LIMIT, async || {
        let answer = http.get(format!("http://{admin}/readyz")).send().await.ok()?;
        let status = answer.status();
        let report: Value = answer.json().await.ok()?;
        assert_eq!(report["ready"] == true, status.is_success());
        let is_told = report["parts"].to_string().contains(words);
        (is_told == has && (has || report["ready"] == true)).then_some(())
    })
    .await;
}

async fn results(installation: &Installation, count: usize) {
    eventually(&format!("{count} results"), LIMIT, async || {
        (installation.events::<PaymentEvent>().await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_is_handled_from_its_beginning_and_told() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "anew").await;
    let (_provider, _) = installation.start_provider(&[]).await;
    let orders = installation.names.name(Topic::Orders);
    let (mut gateway, client) = installation.start_gateway().await;
    let mut payment = installation.start(&["payment"]);
    let mut projector = installation.start(&["projector"]);
    let first = client.accepted(order("anew-1")).await;
    place(&installation, 40).await;
    results(&installation, 41).await;
    client.order_once(&first, "PAID").await;

    // While they run: fewer orders than there were.
    parts.kafka.make_anew(&orders, 6).await.unwrap();
    for process in [&mut gateway, &mut payment, &mut projector] {
        process.line("the topic was deleted and made anew").await;
    }
    place(&installation, 12).await;
    results(&installation, 53).await;
    let advice = format!("comanda store reread {orders}");
    ready_has(&mut projector, &advice, true).await;
    ready_has(&mut gateway, &advice, true).await;
    let reread = process::run(&installation.arguments(&["store", "reread", &orders])).await;
    assert!(reread.status.success(), "{reread:#?}");
    ready_has(&mut projector, &advice, false).await;
    ready_has(&mut gateway, &advice, false).await;
    let second = client.accepted(order("anew-2")).await;
    client.order_once(&second, "PAID").await;
    client.order_once(&first, "PAID").await;

    // While they are away: more orders than there were.
    for process in [&mut payment, &mut projector] {
        process.kill9();
    }
    parts.kafka.make_anew(&orders, 6).await.unwrap();
    place(&installation, 60).await;
    let mut projector = installation.start(&["projector"]);
    let _payment = installation.start(&["payment"]);
    results(&installation, 114).await;
    ready_has(&mut projector, &advice, true).await;
    let wrong = process::run(&installation.arguments(&["store", "reread", "nothing"])).await;
    assert!(!wrong.status.success() && wrong.stderr.contains(&orders), "{wrong:#?}");
}
