use super::super::kind::Kind;
use super::super::mail::{Mail, Writer};
use super::*;

fn mail(event: &PaymentEvent) -> Mail {
    mail_with(&options("http://localhost"), event)
}

pub(super) fn mail_with(options: &Options, event: &PaymentEvent) -> Mail {
    let kind = Kind::of(event.r#type).unwrap();
    let writer = Writer::new(options, !options.reply_to.is_empty()).unwrap();
    writer.write(kind, event).unwrap()
}

#[test]
fn the_mail_for_a_paid_order_reads_well() {
    let mail = mail(&event(PaymentEventType::Succeeded));
    assert_eq!(mail.subject, "Trattoria Comanda: order 48FE1C36 is confirmed");
    assert_eq!(
        mail.text,
        "Thank you, your order is confirmed

Hello Ana Ruiz,

We have charged 27.50 EUR, and the kitchen has your order.

Order 48FE1C36

2 x Pizza Margherita: 23.00 EUR
1 x Acqua frizzante: 4.50 EUR
Total: 27.50 EUR

Questions? Just answer this mail.

Trattoria Comanda
Full order number: 20bc3846-7355-561b-8c27-aea348fe1c36"
    );
    for part in [
        "<title>Thank you, your order is confirmed</title>",
        "Hello <bdi>Ana Ruiz</bdi>,",
        "We have charged 27.50 EUR, and the kitchen has your order.",
        "Order 48FE1C36</h2>",
        "<bdi>Pizza Margherita</bdi>",
        ">23.00 EUR</td>",
        "<bdi>Acqua frizzante</bdi>",
        ">4.50 EUR</td>",
        ">27.50 EUR</td>",
        "20bc3846-7355-561b-8c27-aea348fe1c36",
    ] {
        assert!(mail.html.contains(part), "{part} is missing in {}", mail.html);
    }
}

#[test]
fn the_mail_for_a_failed_payment_says_why_and_what_to_do() {
    for (event, why, what) in [
        (
            failed(FailureReason::Declined, "insufficient_funds"),
            "Your payment was declined: the account has insufficient funds. Nothing was charged.",
            "another payment method",
        ),
        (
            failed(FailureReason::Unreachable, "timeout"),
            "We could not reach our payment provider. Nothing was charged.",
            "try again in a few minutes",
        ),
        (
            failed(FailureReason::Invalid, "amount_too_small"),
            "Our payment provider did not accept the payment details. Nothing was charged.",
            "check the payment method",
        ),
        (
            failed(FailureReason::Unknown, "idempotency_key_reused"),
            "The payment could not be completed",
            "Please try again.",
        ),
    ] {
        let mail = mail(&event);
        assert_eq!(mail.subject, "Trattoria Comanda: order 48FE1C36 could not be paid");
        for body in [&mail.text, &mail.html] {
            assert!(body.contains("Your order could not be paid"), "{body}");
            assert!(body.contains(why), "{why} is missing in {body}");
            assert!(body.contains(what), "{what} is missing in {body}");
        }
    }
}

#[test]
fn a_stolen_card_looks_like_any_decline() {
    let text = |detail| mail(&failed(FailureReason::Declined, detail)).text;
    assert_eq!(text("stolen_card"), text("generic_decline"));
    assert_ne!(text("stolen_card"), text("expired_card"), "some reasons are told");
}

#[test]
fn the_other_outcomes_have_their_own_mails() {
    for (r#type, subject, says) in [
        (PaymentEventType::Voided, "is cancelled", "Nothing was charged"),
        (PaymentEventType::Refunded, "is cancelled and refunded", "given back 27.50 EUR"),
        (PaymentEventType::ChangeRejected, "could not be changed", "already paid (27.50 EUR)"),
    ] {
        let mail = mail(&event(r#type));
        assert_eq!(mail.subject, format!("Trattoria Comanda: order 48FE1C36 {subject}"));
        assert!(mail.text.contains(says), "{}", mail.text);
        assert!(mail.html.contains(says), "{}", mail.html);
    }
}

#[test]
fn a_change_that_was_not_made_says_why() {
    for (detail, says, not) in [
        ("already_charged", "already paid (27.50 EUR)", "Another change"),
        ("version_taken", "Another change of your order was there before yours", "already paid"),
        ("overtaken", "Another change of your order was there before yours", "already paid"),
        ("order_cancelled", "already cancelled when your change", "please cancel it"),
    ] {
        let mut event = event(PaymentEventType::ChangeRejected);
        event.payment.detail = Some(detail.into());
        let mail = mail(&event);
        assert!(mail.text.contains(says), "{}", mail.text);
        assert!(mail.html.contains("it was not applied and not charged"), "{}", mail.html);
        assert!(!mail.text.contains(not), "{}", mail.text);
    }
}

#[test]
fn a_change_that_was_paid_before_tells_of_no_second_charge() {
    let mut event = event(PaymentEventType::Succeeded);
    event.payment.detail = Some("charged_before".into());
    let mail = mail(&event);
    assert!(mail.text.contains("It was paid before (27.50 EUR), and nothing more is charged."));
    assert!(!mail.text.contains("We have charged"), "{}", mail.text);
}

#[test]
fn an_order_for_nothing_does_not_talk_of_a_charge() {
    let mut event = event(PaymentEventType::Succeeded);
    event.payment.payment_id = None;
    let mail = mail(&event);
    assert!(mail.text.contains("There is nothing to pay"), "{}", mail.text);
    assert!(!mail.text.contains("charged"), "{}", mail.text);
}

#[test]
fn amounts_have_the_decimals_of_their_currency() {
    let mut event = event(PaymentEventType::Succeeded);
    event.order.currency = Currency::parse("JPY").unwrap();
    event.payment.currency = event.order.currency;
    let mail = mail(&event);
    assert!(mail.text.contains("2 x Pizza Margherita: 2300 JPY\n"), "{}", mail.text);
    assert!(mail.text.contains("Total: 2750 JPY\n"), "{}", mail.text);
}

#[test]
fn hostile_text_arrives_harmless() {
    let mut event = event(PaymentEventType::Succeeded);
    event.order.contact.name = "x\r\nBcc: evil@e.invalid\r\n\r\n<script>alert(1)</script>".into();
    event.order.lines[0].name =
        "a\u{202E}b\u{2066}c\u{200B}<img src=x onerror=y>\n1 x Free: 0".into();
    event.order.note = Some("\"><a href='http://e.invalid'>\u{200F}{{ 7*7 }}\u{7}".into());
    let restaurant_name = "Evil\r\nBcc: a@e.invalid".into();
    let mail = mail_with(&Options { restaurant_name, ..options("http://localhost") }, &event);

    assert_eq!(mail.subject, "Evil Bcc: a@e.invalid: order 48FE1C36 is confirmed");
    for mark in ["<script", "<img", "<a href", "\"><a"] {
        assert!(!mail.html.contains(mark), "{mark} in {}", mail.html);
    }
    assert!(mail.html.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;"), "{}", mail.html);
    assert!(mail.text.contains("abc<img src=x onerror=y> 1 x Free: 0"), "{}", mail.text);
    assert!(mail.text.contains("{{ 7*7 }}"), "templates are not run twice: {}", mail.text);
    assert!(!mail.text.lines().any(|l| l.starts_with("Bcc")), "{}", mail.text);
    for body in [&mail.subject, &mail.text, &mail.html] {
        let bad = |c: char| {
            (c.is_control() && c != '\n') || "\u{202E}\u{2066}\u{200B}\u{200F}".contains(c)
        };
        assert!(!body.contains(bad), "{body:?}");
    }
}

#[test]
fn everything_in_a_mail_is_bounded() {
    let mut event = event(PaymentEventType::Succeeded);
    event.order.contact.name = "N".repeat(10_000);
    event.order.note = Some("T".repeat(10_000));
    event.order.lines[0].name = "D".repeat(10_000);
    event.order.lines = vec![event.order.lines[0].clone(); 1_000];
    let mail = mail(&event);
    assert_eq!(mail.text.matches("2 x D").count(), 100);
    assert!(mail.text.contains("\nand 900 more\nTotal: 27.50 EUR\n"), "{}", mail.text);
    assert!(mail.html.contains("and 900 more"));
    assert!(mail.text.contains(&format!("Hello {}…,\n", "N".repeat(59))), "{}", mail.text);
    assert!(mail.html.len() < 60_000, "{} bytes", mail.html.len());
}

#[test]
fn nobody_is_asked_to_answer_where_answers_go_nowhere() {
    let event = event(PaymentEventType::Succeeded);
    let options = Options { reply_to: String::new(), ..options("http://localhost") };
    let mail = mail_with(&options, &event);
    assert!(!mail.text.contains("answer") && !mail.html.contains("answer"));
}

#[test]
fn a_nameless_customer_is_greeted_all_the_same() {
    let mut event = event(PaymentEventType::Succeeded);
    event.order.contact.name = "\u{200B}\r\n".into();
    let mail = mail(&event);
    assert!(mail.text.contains("\nHello,\n"), "{}", mail.text);
    assert!(mail.html.contains(">Hello,</p>"), "{}", mail.html);
}

#[test]
fn each_language_has_its_words_and_its_decimal_mark() {
    for (language, tag, subject, parts) in [
        (
            Language::De,
            "de",
            "Trattoria Comanda: Bestellung 48FE1C36 konnte nicht bezahlt werden",
            [
                "Guten Tag Ana Ruiz,",
                "Ihre Zahlung wurde abgelehnt: die Karte ist abgelaufen. Es wurde nichts abgebucht.",
                "Summe: 27,50 EUR",
                "Vollständige Bestellnummer: 20bc3846",
            ],
        ),
        (
            Language::Es,
            "es",
            "Trattoria Comanda: no se pudo pagar el pedido 48FE1C36",
            [
                "Hola, Ana Ruiz:",
                "Su pago fue rechazado: la tarjeta ha caducado. No se ha cobrado nada.",
                "Total: 27,50 EUR",
                "Número completo del pedido: 20bc3846",
            ],
        ),
    ] {
        let options = Options { language, ..options("http://localhost") };
        let mail = mail_with(&options, &failed(FailureReason::Declined, "expired_card"));
        assert_eq!(mail.subject, subject);
        for part in parts {
            assert!(mail.text.contains(part), "{part} is missing in {}", mail.text);
        }
        assert!(mail.html.contains(&format!("<html lang=\"{tag}\">")), "{}", mail.html);
        assert!(mail.html.contains("27,50 EUR"), "{}", mail.html);
    }
}

#[test]
fn a_nameless_customer_is_greeted_in_every_language() {
    for (language, greeting) in
        [(Language::En, "Hello,"), (Language::De, "Guten Tag,"), (Language::Es, "Hola:")]
    {
        let mut event = event(PaymentEventType::Voided);
        event.order.contact.name = String::new();
        let options = Options { language, ..options("http://localhost") };
        let mail = mail_with(&options, &event);
        assert!(mail.text.contains(&format!("\n{greeting}\n")), "{}", mail.text);
        assert!(mail.html.contains(&format!(">{greeting}</p>")), "{}", mail.html);
    }
}
