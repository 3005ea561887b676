//! The payment provider's misbehaviour, and the server's when it stops.

use std::time::Duration;

use anyhow::Result;
use comanda_sandbox::payment::{Options, Outcome};
use serde_json::json;

use crate::payment::{answer, start};
use crate::support::eventually;

const LONG: u64 = 3_600_000;

#[tokio::test]
async fn a_dropped_request_gets_no_answer_and_charges_nothing() -> Result<()> {
    let provider = start(Options::default()).await?;
    for _ in 0..3 {
        let error = answer(provider.charge_with_key("pm_sandbox_drop", "k")).await.unwrap_err();
        assert!(error.is_request() && !error.is_timeout() && error.status().is_none(), "{error:?}");
    }
    let ledger = provider.handle.ledger();
    assert_eq!((ledger.charges.len(), ledger.totals.hung_up), (0, 3));
    assert_eq!(ledger.not_charged.len(), 1);
    assert_eq!((ledger.not_charged[0].outcome, ledger.not_charged[0].requests), (Outcome::Open, 3));
    Ok(())
}

#[tokio::test]
async fn a_fault_that_strikes_once_spares_the_second_try() -> Result<()> {
    let provider = start(Options::default()).await?;
    let charge = |token: &str| provider.charge_with_key(token, token);
    assert!(answer(charge("pm_sandbox_drop_once")).await.is_err());
    assert_eq!(answer(charge("pm_sandbox_error500_once")).await?.0, 500);
    let limited = charge("pm_sandbox_rate_limited_once").send().await?;
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (429, &"1".parse()?)
    );
    assert_eq!(provider.handle.ledger().totals.charges, 0);
    for token in
        ["pm_sandbox_drop_once", "pm_sandbox_error500_once", "pm_sandbox_rate_limited_once"]
    {
        let (status, replayed, _) = answer(charge(token)).await?;
        assert_eq!((status, replayed), (200, false), "{token}");
    }
    let totals = provider.handle.ledger().totals;
    assert_eq!((totals.charges, totals.hung_up), (3, 1));
    assert_eq!((totals.server_errors, totals.rate_limited), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_replayed_not_repeated() -> Result<()> {
    let provider = start(Options::default()).await?;
    let charge = || answer(provider.charge_with_key("pm_sandbox_charge_then_drop", "k"));
    assert!(charge().await.is_err());
    assert_eq!(provider.handle.ledger().totals.charges, 1);
    let (status, replayed, intent) = charge().await?;
    assert_eq!((status, replayed, &intent["status"]), (200, true, &json!("succeeded")));
    assert_eq!(provider.handle.ledger().totals.charges, 1);
    Ok(())
}

#[tokio::test]
async fn a_stored_500_is_final() -> Result<()> {
    let provider = start(Options::default()).await?;
    for replayed in [false, true, true] {
        let answered = answer(provider.charge_with_key("pm_sandbox_error500", "k")).await?;
        assert_eq!((answered.0, answered.1), (500, replayed));
        assert_eq!(answered.2["error"]["type"], "api_error");
    }
    assert_eq!(provider.handle.ledger().totals.charges, 0);
    Ok(())
}

#[tokio::test]
async fn a_slow_charge_holds_its_key_and_outlives_its_client() -> Result<()> {
    let provider = start(Options { slow_ms: 1500, ..Options::default() }).await?;
    let charge = || provider.charge_with_key("pm_sandbox_slow", "k");
    let impatient = answer(charge().timeout(Duration::from_millis(300))).await.unwrap_err();
    assert!(impatient.is_timeout());
    let (status, _, body) = answer(charge()).await?;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("idempotency_key_in_use")));
    assert_eq!(provider.handle.ledger().totals.charges, 0);
    eventually("the charge", || provider.handle.ledger().totals.charges == 1).await;
    let (status, replayed, _) = answer(charge()).await?;
    assert_eq!((status, replayed), (200, true));
    assert_eq!(provider.handle.ledger().charges[0].requests, 3);
    Ok(())
}

#[tokio::test]
async fn a_share_strikes_charges_of_any_token_and_look_ups() -> Result<()> {
    let all = Options { charge_then_drop_percent: 100, ..Options::default() };
    let provider = start(all).await?;
    assert!(answer(provider.charge_with_key("pm_card_visa", "a")).await.is_err());
    assert_eq!(answer(provider.charge_with_key("pm_card_visa", "a")).await?.0, 200);
    assert!(answer(provider.charge_with_key("pm_card_chargeDeclined", "b")).await.is_err());
    assert_eq!(answer(provider.charge_with_key("pm_card_chargeDeclined", "b")).await?.0, 402);
    let search = || answer(provider.search("metadata['order_id']:'o'"));
    assert!(search().await.is_err());
    let totals = provider.handle.ledger().totals;
    assert_eq!((totals.charges, totals.look_ups, totals.hung_up), (1, 1, 3));
    let broken = start(Options { error500_percent: 100, ..Options::default() }).await?;
    for _ in 0..2 {
        assert_eq!(answer(broken.charge_with_key("pm_card_visa", "a")).await?.0, 500);
    }
    assert_eq!(broken.handle.ledger().totals.server_errors, 2);
    let refused = start(Options { drop_percent: 90, slow_percent: 11, ..Options::default() }).await;
    assert!(refused.is_err());
    Ok(())
}

#[tokio::test]
async fn stopping_finishes_what_runs_and_accepts_no_more() -> Result<()> {
    let provider = start(Options { latency_ms: 300, ..Options::default() }).await?;
    let running = tokio::spawn(answer(provider.charge_with_key("pm_card_visa", "k")));
    eventually("the request", || provider.handle.ledger().totals.requests == 1).await;
    provider.stop.cancel();
    assert_eq!(running.await??.0, 200);
    let (refused, served) = (provider.charge("pm_card_visa", "late"), provider.served);
    tokio::time::timeout(Duration::from_secs(10), served).await??;
    assert!(answer(refused).await.unwrap_err().is_connect());
    Ok(())
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_the_stop() -> Result<()> {
    let provider = start(Options { latency_ms: LONG, ..Options::default() }).await?;
    let running = tokio::spawn(answer(provider.charge_with_key("pm_card_visa", "k")));
    eventually("the request", || provider.handle.ledger().totals.requests == 1).await;
    provider.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), provider.served).await??;
    assert!(running.await?.is_err());
    Ok(())
}
