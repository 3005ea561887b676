//! `comanda up` on the sandbox: an order from the request to the e-mail, and how it stops.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::eventually;
use crate::harness::graphql::{Gateway, order};
use crate::harness::process::{Comanda, FREE_PORTS};

fn up(more: &[&str]) -> Comanda {
    Comanda::start(&[&["up"], &FREE_PORTS[..], more].concat())
}

#[tokio::test]
async fn an_order_is_charged_mailed_once_and_readable() {
    let mut up = up(&[]);
    let gateway = Gateway::of(&mut up).await;
    let id = gateway.accepted(order("sandbox-1")).await;
    assert_eq!(gateway.accepted(order("sandbox-1")).await, id, "the same key, another order");

    let paid = gateway.order_once(&id, "PAID").await;
    assert_eq!(paid["customerId"], "table-12");
    assert_eq!(paid["version"], 1);
    assert_eq!(paid["payment"]["status"], "SUCCEEDED");
    assert_eq!(paid["payment"]["amountMinor"], 1920);
    assert_eq!(paid["payment"]["currency"], "EUR");
    assert_eq!(paid["payment"]["attempts"], 1);
    assert!(paid["payment"]["paymentId"].is_string(), "{paid}");
    let kinds: Vec<&str> =
        paid["timeline"].as_array().unwrap().iter().filter_map(|t| t["type"].as_str()).collect();
    assert_eq!(kinds[..2], ["ORDER_PLACED", "PAYMENT_SUCCEEDED"]);

    let mailbox = up.banner("Mailbox").await;
    let mails = eventually("a mail", Duration::from_secs(30), async || {
        let mails = mails_for(&gateway, &mailbox, &id).await;
        (!mails.is_empty()).then_some(mails)
    })
    .await;
    assert_eq!(mails.len(), 1, "{mails:#?}");
    assert!(mails[0].to_string().contains("noor@example.com"), "{mails:#?}");

    up.terminate();
    let ended = up.exit_within(Duration::from_secs(30)).await;
    assert_eq!(ended.code(), Some(0), "{}", up.output());
}

/// The mails in the mailbox at `url` that tell of the order.
async fn mails_for(gateway: &Gateway, url: &str, id: &str) -> Vec<Value> {
    let url = format!("{}/api/mails", url.trim_end_matches('/'));
    let all: Value = gateway.http.get(url).send().await.unwrap().json().await.unwrap();
    let all = all["mails"].as_array().expect("a list of mails");
    all.iter().filter(|mail| mail.to_string().contains(id)).cloned().collect()
}

#[tokio::test]
async fn a_declined_card_fails_the_order_and_the_customer_is_told() {
    let mut up = up(&[]);
    let gateway = Gateway::of(&mut up).await;
    let mut input = order("sandbox-2");
    input["paymentMethod"] = json!("pm_card_chargeDeclined");
    let id = gateway.accepted(input).await;
    gateway.order_once(&id, "PAYMENT_FAILED").await;
    let mailbox = up.banner("Mailbox").await;
    eventually("a mail", Duration::from_secs(30), async || {
        (mails_for(&gateway, &mailbox, &id).await.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    // A payment provider that takes requests and never answers keeps the drain going.
    let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("payment.provider_url=http://{}", provider.local_addr().unwrap());
    let mut up = up(&["--set", &url]);
    let gateway = Gateway::of(&mut up).await;
    gateway.accepted(order("sandbox-3")).await;
    let _asked = provider.accept().await.unwrap();

    up.terminate();
    up.line("second signal").await;
    assert!(up.is_running());
    // Again and again, because signals of the same moment count as one.
    eventually("it ends at once", Duration::from_secs(3), async || {
        up.terminate();
        (!up.is_running()).then_some(())
    })
    .await;
    let ended = up.exit_within(Duration::from_secs(3)).await;
    assert_eq!(ended.code(), Some(143), "{}", up.output());
}
