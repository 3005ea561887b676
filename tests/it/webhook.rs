//! What Stripe reports of a payment whose outcome nobody knows, on a real Kafka.

use std::time::Duration;

use comanda_schemas::{PaymentEvent, PaymentReport, PaymentReportType, Timestamp};
use futures_util::{StreamExt as _, stream};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::StatusCode;
use serde_json::json;
use sha2::Sha256;

use crate::harness::graphql::{Gateway, order};
use crate::harness::installation::Installation;
use crate::harness::{self, eventually};
use crate::stuck::{HangsUp, payment_is};

const LIMIT: Duration = Duration::from_secs(60);
const SECRET: &str = "whsec_it";

/// Stripe's word that the order was charged.
fn succeeded(event: &str, order_id: &str) -> String {
    let object = json!({
        "id": format!("pi_{}", &order_id[..8]),
        "metadata": { "order_id": order_id, "version": "1" },
    });
    let created = Timestamp::now().as_millis() / 1000;
    json!({ "id": event, "object": "event", "type": "payment_intent.succeeded",
        "created": created, "data": { "object": object } })
    .to_string()
}

/// Delivers `body`, signed by `secret`, `off` seconds from now.
async fn deliver(gateway: &Gateway, secret: &str, body: &str, off: i64) -> StatusCode {
    let at = Timestamp::now().as_millis() / 1000 + off;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let signature = format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes()));
    let url = gateway.url.replace("/graphql", "/webhooks/stripe");
    let request = gateway.http.post(url).header("content-type", "application/json");
    let request = request.header("stripe-signature", signature).body(body.to_owned());
    request.send().await.unwrap().status()
}

/// Delivers `body` a hundred times, ten at a time.
async fn deliver_often(gateway: &Gateway, body: &str) {
    let deliveries = (0..100).map(|_| deliver(gateway, SECRET, body, 0));
    let answers: Vec<StatusCode> = stream::iter(deliveries).buffer_unordered(10).collect().await;
    assert_eq!(answers, [StatusCode::OK; 100]);
}

/// Types of the reports on the log.
async fn reports(installation: &Installation) -> Vec<PaymentReportType> {
    let reports = installation.events::<PaymentReport>().await;
    reports.into_iter().map(|report| report.r#type).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_stored_once_and_has_an_open_payment_looked_up_at_once() {
    use PaymentReportType::{InDoubt, Reported};
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "webhook").await;
    let provider = HangsUp::default();
    for setting in [
        format!("payment.provider_url={}", provider.serve().await),
        format!("gateway.webhook.stripe_secrets=[\"{SECRET}\"]"),
        "payment.max_attempts=1".to_owned(),
        // Of its own accord it is not looked up again while the test runs.
        "payment.retry_unresolved_ms=3600000".to_owned(),
    ] {
        installation.set(setting);
    }
    let mut house = installation.start(&["run", "gateway", "projector", "payment"]);
    let first = installation.gateway(&mut house).await;
    let (_process, second) = installation.start_gateway().await;
    let id = first.accepted(order("webhook-1")).await;
    payment_is(&first, &id, "UNKNOWN").await;
    assert_eq!(reports(&installation).await, [InDoubt]);

    let body = succeeded("evt_1", &id);
    for gateway in [&first, &second] {
        for (secret, off) in [("whsec_wrong", 0), (SECRET, -3600), (SECRET, 3600)] {
            let status = deliver(gateway, secret, &body, off).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{secret}, {off} s off");
        }
    }
    assert_eq!(reports(&installation).await, [InDoubt], "forged or stale");

    let look_ups = provider.look_ups();
    deliver_often(&first, &body).await;
    // In vain: after its one try it asks a last time.
    eventually("the payment is looked up", LIMIT, async || {
        (provider.look_ups() == look_ups + 2).then_some(())
    })
    .await;
    eventually("the order store has the report", LIMIT, async || {
        let order = payment_is(&second, &id, "UNKNOWN").await;
        let timeline = order["timeline"].as_array().unwrap();
        timeline.iter().any(|entry| entry["type"] == "PAYMENT_REPORTED").then_some(())
    })
    .await;
    deliver_often(&second, &body).await;
    assert_eq!(reports(&installation).await, [InDoubt, Reported]);
    assert_eq!(installation.events::<PaymentEvent>().await, [], "the look-up has the last word");

    provider.mend();
    assert_eq!(deliver(&second, SECRET, &succeeded("evt_2", &id), 0).await, StatusCode::OK);
    let order = payment_is(&first, &id, "SUCCEEDED").await;
    assert_eq!(order["status"], "PAID");
    assert_eq!(order["payment"]["paymentId"], format!("pi_{}", &id[..8]));
    // Now the result says the same as any report of it.
    for (gateway, event) in [(&first, "evt_2"), (&first, "evt_3"), (&second, "evt_3")] {
        let body = succeeded(event, &id);
        assert_eq!(deliver(gateway, SECRET, &body, 0).await, StatusCode::OK, "{event}");
    }
    assert_eq!(reports(&installation).await, [InDoubt, Reported, Reported]);
    assert_eq!(installation.events::<PaymentEvent>().await.len(), 1);
    assert_eq!(provider.keys(), [format!("{id}:1")], "charged once");
}
