//! A payment event that the notifier gave up.

use std::time::Duration;

use comanda_schemas::{NotificationEvent, NotificationEventType, PaymentEvent, Stage};

use super::{dlq, listed};
use crate::dead_letters::placed;
use crate::harness::installation::Installation;
use crate::harness::process;
use crate::harness::{self, eventually};

#[tokio::test]
async fn a_redriven_payment_is_told_once_and_is_no_second_result() {
    let Some(parts) = harness::real_parts().await else { return };
    let mut installation = Installation::new(parts, "untold").await;
    let (_provider, _) = installation.start_provider(&[]).await;
    // Something answers, but no mail provider; and one try is all there is.
    installation.set(format!("notifier.provider_url={}", parts.registry.url()));
    installation.set("notifier.max_attempts=1".into());
    installation.set("engine.max_attempts=1".into());
    installation.publish(&[placed()]).await;

    let mut roles = installation.start(&["run", "payment", "notifier"]);
    eventually("a letter", Duration::from_secs(60), async || {
        (!listed(&installation, &["--stage", "notifier"]).await.is_empty()).then_some(())
    })
    .await;
    roles.terminate();
    roles.exit_within(Duration::from_secs(20)).await;

    let (_mailbox, _) = installation.start_mailbox().await;
    let redriven = dlq(&installation, &["redrive", "--stage", "notifier", "--yes"]).await;
    assert_eq!(redriven.stdout, "redriven 1\n", "{redriven:#?}");
    let _roles = installation.start(&["run", "payment", "notifier"]);
    let told = eventually("a mail", Duration::from_secs(60), async || {
        let told = installation.events::<NotificationEvent>().await;
        (!told.is_empty()).then_some(told)
    })
    .await;
    let results = installation.events::<PaymentEvent>().await;
    assert_eq!(results.len(), 2);
    assert_eq!(results[0], results[1], "the same event, twice");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].r#type, NotificationEventType::Sent);
    assert_eq!(told[0].payment_event_id, results[0].event_id);
    let dead = installation.records(&installation.names.dead_letters(Stage::Notifier)).await;
    assert_eq!(dead.len(), 2, "the letter and the note");

    let audit = process::run(&installation.arguments(&["audit", "--json"])).await;
    assert!(audit.status.success(), "{audit:#?}");
    let audit = audit.json();
    for (count, expected) in
        [("results", 1), ("notifications", 1), ("duplicated", 0), ("dead_letters", 1)]
    {
        assert_eq!(audit[count], expected, "{count} in {audit}");
    }
}
