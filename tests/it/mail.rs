//! Mails as people get them: previews, and what a real Mailpit makes of what it is sent. `hostile`: what
//! strangers write; `retries`: a provider that does not take some.

mod hostile;
mod retries;

use std::collections::HashSet;
use std::time::Duration;

use comanda_processors::notifier::{Notifier, Options};
use comanda_processors::{Input, Outcome, Processor};
use comanda_schemas::{
    Contact, Currency, NotificationEvent, NotificationEventType, Order, OrderId, OrderLine,
    Payment, PaymentEvent, PaymentEventType, Source, Timestamp,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::eventually;
use crate::harness::graphql::{Gateway, order};
use crate::harness::mailpit::Mailpit;
use crate::harness::process::{Comanda, FREE_PORTS, run};
use crate::harness::run_dir;
use crate::harness::tools::{Tool, have};

const SENDER: &str = "\"Enzo, il \\\"capo\\\" é\" <orders@comanda.example>";

const KINDS: [&str; 5] = [
    "payment_succeeded",
    "payment_failed",
    "order_cancelled",
    "payment_refunded",
    "change_rejected",
];

#[tokio::test]
async fn a_preview_writes_every_kind_of_mail_in_every_language_and_prints_the_paths() {
    let languages = [
        ("en", "order 48FE1C36 is confirmed", "Total: 27.50 EUR"),
        ("de", "Bestellung 48FE1C36 ist bestätigt", "Summe: 27,50 EUR"),
        ("es", "pedido 48FE1C36 confirmado", "Total: 27,50 EUR"),
    ];
    let unknown = run(&["config", "check", "--set", "notifier.language=xx"]).await;
    let named = languages.map(|(language, ..)| format!("`{language}`")).join(", ");
    assert!(unknown.stderr.contains(&format!("one of {named}")), "{unknown:#?}");

    let mut seen = HashSet::new();
    for (language, subject, total) in languages {
        let out = run_dir::folder(&format!("preview-{language}")).join("mails");
        let folder = out.display().to_string();
        let language_is = format!("notifier.language={language}");
        let preview = ["mail", "preview", "--out", &folder, "--set", &language_is];
        let preview = run(&preview).await;
        assert!(preview.status.success(), "{preview:#?}");
        let read = |name: &str| {
            let path = out.join(name);
            let line = path.display().to_string();
            assert!(preview.stdout.lines().any(|l| l == line), "{}", preview.stdout);
            std::fs::read_to_string(path).unwrap()
        };
        for kind in KINDS {
            let (text, html) = (read(&format!("{kind}.txt")), read(&format!("{kind}.html")));
            assert!(text.starts_with("Subject: comanda: ") && text.contains(total), "{text}");
            assert!(html.contains(&format!("<html lang=\"{language}\">")), "{html}");
            assert!(html.contains(total.split_once(' ').unwrap().1), "{html}");
            for mail in [text, html] {
                assert!(!mail.contains(['{', '}']), "something is not filled in: {mail}");
                assert!(seen.insert(mail), "{kind} in {language} is like another one");
            }
        }
        let paid = read("payment_succeeded.txt");
        assert!(paid.starts_with(&format!("Subject: comanda: {subject}\n\n")), "{paid}");
    }
}

#[tokio::test]
async fn a_template_that_fails_is_refused_by_config_check() {
    let folder = run_dir::folder("templates");
    std::fs::write(folder.join("payment_failed.txt"), "Hello {{ nmae }}").unwrap();
    let templates = format!("notifier.templates={}", folder.display());
    let check = run(&["config", "check", "--set", &templates]).await;
    assert!(!check.status.success(), "{check:#?}");
    assert!(check.stderr.contains("payment_failed.txt:1"), "{check:#?}");
    std::fs::write(folder.join("payment_failed.txt"), "Hello {{ name }}").unwrap();
    let check = run(&["config", "check", "--set", &templates]).await;
    assert!(check.status.success(), "{check:#?}");
}

/// The default settings with Mailpit as provider.
fn options(mailpit: &Mailpit) -> Options {
    let defaults = include_str!("../../config/default.toml").parse::<toml::Table>().unwrap();
    let mut notifier = defaults["notifier"].as_table().unwrap().clone();
    for (key, value) in [("provider", "mailpit"), ("provider_url", mailpit.url()), ("from", SENDER)]
    {
        notifier.insert(key.into(), value.into());
    }
    notifier.insert("reply_to".into(), "Cucina <kitchen@comanda.example>".into());
    toml::Value::Table(notifier).try_into().unwrap()
}

fn event(r#type: PaymentEventType) -> PaymentEvent {
    let currency = Currency::parse("EUR").unwrap();
    let line = OrderLine {
        sku: "PIZ-1".into(),
        name: "<img src=x onerror=y>\nPizza \u{2066}Margherita".into(),
        quantity: 2,
        unit_price_minor: 1150,
    };
    PaymentEvent {
        event_id: Uuid::new_v4(),
        r#type,
        order_id: OrderId::derive("c-1", &Uuid::new_v4().to_string()),
        version: 1,
        occurred_at: Timestamp::now(),
        order: Order {
            currency,
            total_minor: 2300,
            lines: vec![line],
            contact: Contact { name: hostile::NAME.into(), email: "ana@example.com".into() },
            payment_method: "pm_card_visa".into(),
            note: Some("a\nBcc: evil@e.invalid".into()),
        },
        payment: Payment {
            provider: "stripe".into(),
            payment_id: Some("pi_1".into()),
            amount_minor: 2300,
            currency,
            reason: None,
            detail: None,
            attempts: 1,
        },
        source: Source { topic: "orders".into(), partition: 0, offset: 1 },
    }
}

async fn sent(notifier: &Notifier, event: &PaymentEvent) -> NotificationEvent {
    let source = Source { topic: "payments".into(), partition: 0, offset: 1 };
    match notifier.handle(&Input::new(event.clone(), source)).await {
        Outcome::Emit(event) if event.r#type == NotificationEventType::Sent => event,
        other => panic!("not sent: {other:?}"),
    }
}

#[tokio::test]
async fn hostile_names_arrive_harmless_in_a_real_mailbox() {
    if !have(&[Tool::Go]) {
        return;
    }
    let mailpit = Mailpit::start(&[]).await;
    let notifier = Notifier::new(options(&mailpit)).unwrap();
    let kinds = [
        (PaymentEventType::Succeeded, "payment_succeeded"),
        (PaymentEventType::Failed, "payment_failed"),
        (PaymentEventType::Voided, "order_cancelled"),
        (PaymentEventType::Refunded, "payment_refunded"),
        (PaymentEventType::ChangeRejected, "change_rejected"),
    ];
    for (r#type, template) in kinds {
        let cause = event(r#type);
        let told = sent(&notifier, &cause).await;
        let mails = mailpit.mails().await;
        let mail = mails.iter().find(|mail| mail["ID"].as_str() == told.message_id.as_deref());
        let mail = mail.unwrap_or_else(|| panic!("no mail {:?} in {mails:#?}", told.message_id));
        hostile::assert_harmless(&mailpit, mail).await;
        let enzo = json!({ "Address": "orders@comanda.example", "Name": "Enzo, il \"capo\" é" });
        assert_eq!(mail["From"], enzo);
        assert_eq!(mail["ReplyTo"][0]["Address"], "kitchen@comanda.example");
        assert_eq!(mail["Tags"], json!([template]));
        let message_id = format!("{}@comanda.example", cause.event_id);
        assert_eq!(mail["MessageID"], json!(message_id));
    }
    assert_eq!(mailpit.mails().await.len(), kinds.len());
}

#[tokio::test]
async fn a_second_mail_has_the_first_ones_message_id_by_which_mailpit_can_drop_it() {
    if !have(&[Tool::Go]) {
        return;
    }
    let ids = |mails: &[Value]| -> Vec<String> {
        mails.iter().map(|mail| mail["MessageID"].as_str().unwrap().to_owned()).collect()
    };
    let cause = event(PaymentEventType::Succeeded);
    let expected = format!("{}@comanda.example", cause.event_id);
    for (arguments, mails) in [(&[][..], 2), (&["--ignore-duplicate-ids"][..], 1)] {
        let mailpit = Mailpit::start(arguments).await;
        let notifier = Notifier::new(options(&mailpit)).unwrap();
        sent(&notifier, &cause).await;
        sent(&notifier, &cause).await;
        assert_eq!(ids(&mailpit.mails().await), vec![expected.clone(); mails], "{arguments:?}");
    }
}

#[tokio::test]
async fn an_order_ends_in_a_mail_in_mailpit() {
    if !have(&[Tool::Go]) {
        return;
    }
    let mailpit = Mailpit::start(&[]).await;
    let url = format!("notifier.provider_url={}", mailpit.url());
    let settings = ["--set", "notifier.provider=mailpit", "--set", &url];
    let mut up = Comanda::start(&[&["up"], &FREE_PORTS[..], &settings].concat());
    let gateway = Gateway::of(&mut up).await;
    let id = gateway.accepted(order("mailpit-1")).await;
    let mails = eventually("a mail", Duration::from_secs(30), async || {
        let mails = mailpit.mails().await;
        (!mails.is_empty()).then_some(mails)
    })
    .await;
    assert_eq!(mails.len(), 1, "{mails:#?}");
    assert_eq!(mails[0]["To"][0]["Address"], "noor@example.com");
    let text = mails[0]["Text"].as_str().unwrap();
    assert!(text.contains(&id) && text.contains("Total: 19.20 EUR"), "{text}");
}
