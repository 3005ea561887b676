//! What strangers write into their orders, from the log to a real mailbox.

use std::time::Duration;

use comanda_schemas::{NotificationEvent, NotificationEventType, PaymentEvent};
use serde_json::{Value, json};

use crate::dead_letters::placed;
use crate::harness::graphql::order;
use crate::harness::installation::Installation;
use crate::harness::mailpit::Mailpit;
use crate::harness::tools::{Tool, have};
use crate::harness::{self, eventually};

/// More headers, a mail of its own, markup, and writing that turns around.
pub const NAME: &str = "x\r\nBcc: evil@e.invalid\r\n\r\n<script>alert(1)</script>\u{202E}";

/// Fails where the mail to somebody of this name goes to anybody else, or does anything.
pub async fn assert_harmless(mailpit: &Mailpit, mail: &Value) {
    assert_eq!(mail["To"], json!([{ "Address": "ana@example.com", "Name": "" }]));
    let nobody = |field: &str| mail[field].as_array().is_none_or(Vec::is_empty);
    assert!(nobody("Cc") && nobody("Bcc"), "{mail:#}");
    let text = mail["Text"].as_str().unwrap();
    let greeting = "x Bcc: evil@e.invalid <script>alert(1)</script>,";
    assert!(text.contains(greeting), "{text}");
    let html = mail["HTML"].as_str().unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    for shown in [text, html, mail["Subject"].as_str().unwrap()] {
        assert!(!shown.contains(['\u{202E}', '\u{2066}']), "{shown:?}");
    }
    let raw = mailpit.raw(mail).await;
    let (headers, _) = raw.split_once("\r\n\r\n").expect("headers and body");
    let names: Vec<_> = headers.lines().filter_map(|line| line.split_once(':')).collect();
    let named = |name: &str| names.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
    assert_eq!((named("To"), named("Bcc"), named("Message-ID")), (1, 0, 1), "{headers}");
}

/// The gateway does not take this name; others who write to the log might.
#[tokio::test]
async fn a_hostile_name_on_the_log_comes_as_it_is_to_the_notifier_and_harmless_to_the_mailbox() {
    let Some(parts) = harness::real_parts().await else { return };
    if !have(&[Tool::Go]) {
        return;
    }
    let mut installation = Installation::new(parts, "hostile").await;
    let (_provider, _) = installation.start_provider(&[]).await;
    let mailpit = Mailpit::start(&[]).await;
    installation.set("notifier.provider=mailpit".into());
    installation.set(format!("notifier.provider_url={}", mailpit.url()));
    let mut house = installation.start(&["run", "gateway", "payment", "notifier"]);
    let gateway = installation.gateway(&mut house).await;
    let mut input = order("hostile-1");
    input["contact"]["name"] = json!(NAME);
    let refused = gateway.place(input).await;
    assert_eq!(refused["errors"][0]["code"], "INVALID_FORMAT", "{refused}");

    let mut event = placed();
    event.order.contact.name = NAME.into();
    event.order.contact.email = "ana@example.com".into();
    event.order.lines[0].name = "<img src=x onerror=y>\nPizza \u{2066}Margherita".into();
    event.order.note = Some("a\nBcc: evil@e.invalid".into());
    installation.publish(std::slice::from_ref(&event)).await;
    let told = eventually("a notification", Duration::from_secs(60), async || {
        let told = installation.events::<NotificationEvent>().await;
        (!told.is_empty()).then_some(told)
    })
    .await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((told[0].r#type, told[0].order_id), (NotificationEventType::Sent, event.order_id));
    let paid = installation.events::<PaymentEvent>().await;
    assert_eq!(paid[0].order, event.order, "nothing is cleaned on the way");
    let mails = mailpit.mails().await;
    assert_eq!(mails.len(), 1, "{mails:#?}");
    assert_harmless(&mailpit, &mails[0]).await;
}
