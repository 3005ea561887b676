//! What a stranger wrote into an order, on its way from the payment event to each provider's request.

use comanda_schemas::{PaymentEvent, PaymentEventType};

use super::*;
use crate::notifier::kind::Kind;
use crate::notifier::text::is_hidden;
use crate::notifier::{Notifier, Options, samples, tests::options};

const NAME: &str = "x\r\nBcc: evil@e.invalid\r\n\r\n<script>alert(1)</script>\u{202E}";

fn event(r#type: PaymentEventType) -> PaymentEvent {
    let mut event = samples::event(r#type);
    event.order.contact.name = NAME.into();
    event.order.lines[0].name = NAME.into();
    event.order.note = Some(NAME.into());
    event
}

#[tokio::test]
async fn a_hostile_name_stands_in_the_bodies_alone_and_is_harmless_there() {
    for provider in ALL {
        let notifier =
            Notifier::new(Options { provider, ..options("http://mail.example") }).unwrap();
        for r#type in [
            PaymentEventType::Succeeded,
            PaymentEventType::Failed,
            PaymentEventType::Voided,
            PaymentEventType::Refunded,
            PaymentEventType::ChangeRejected,
        ] {
            let (event, kind) = (event(r#type), Kind::of(r#type).unwrap());
            let mail = notifier.writer.write(kind, &event).unwrap();
            let request = notifier.client.request(&event, kind.name(), &recipient(), &mail);
            let body = body(request.build().unwrap()).await;

            let mut recipients = Vec::new();
            texts_under(&body, &["to", "To", "cc", "Cc", "bcc", "Bcc"], &mut recipients);
            assert_eq!(recipients, ["ana@example.com"], "{body:#}");
            let mut all = Vec::new();
            texts(&body, &mut all);
            let (bodies, rest): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|text| *text == mail.text || *text == mail.html);
            assert_eq!(bodies.len(), 2, "{body:#}");
            for text in rest {
                assert!(!text.contains("evil"), "{provider:?}: {text:?}");
                assert!(!text.contains(|c: char| c.is_control() || is_hidden(c)), "{text:?}");
            }
            let shown = "x Bcc: evil@e.invalid <script>alert(1)</script>";
            assert!(mail.text.contains(shown), "{}", mail.text);
            assert!(mail.html.contains("x Bcc: evil@e.invalid &lt;script&gt;"), "{}", mail.html);
            for text in [&mail.text, &mail.html] {
                assert!(!text.contains(['\r', '\u{202E}']), "{text:?}");
            }
            assert!(!mail.html.contains("<script"), "{}", mail.html);
            assert_described(provider, body);
        }
    }
}
