use std::collections::BTreeMap;

use anyhow::Result;
use comanda_sandbox::payment::{Handle, Ledger, Options, Outcome, Service};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{LOCAL, Running};

pub async fn start(options: Options) -> Result<Running<Handle>> {
    let service = Service::bind(LOCAL, options).await?;
    let (url, handle) = (service.url(), service.handle());
    Ok(Running::new(url, handle, |stop| service.run_until_stopped(stop)))
}

/// Status, `Idempotent-Replayed`, body.
pub async fn answer(request: RequestBuilder) -> reqwest::Result<(u16, bool, Value)> {
    let response = request.send().await?;
    let replayed = response.headers().get("idempotent-replayed").is_some_and(|v| v == "true");
    Ok((response.status().as_u16(), replayed, response.json().await?))
}

impl Running<Handle> {
    fn post(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        self.client.post(self.at(path)).bearer_auth("sk_test").form(form)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.at(path)).bearer_auth("sk_test")
    }

    pub fn search(&self, query: &str) -> RequestBuilder {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        self.get(&format!("/v1/payment_intents/search?query={query}"))
    }

    /// A charge of 12.50 EUR for version 1 of an order.
    pub fn charge(&self, token: &str, order: &str) -> RequestBuilder {
        let form = [
            ("amount", "1250"),
            ("currency", "eur"),
            ("payment_method", token),
            ("confirm", "true"),
            ("metadata[order_id]", order),
            ("metadata[version]", "1"),
        ];
        self.post("/v1/payment_intents", &form)
    }

    pub fn charge_with_key(&self, token: &str, key: &str) -> RequestBuilder {
        self.charge(token, "order-1").header("idempotency-key", key)
    }
}

#[tokio::test]
async fn an_approved_payment_is_charged_and_found_again() -> Result<()> {
    let provider = start(Options::default()).await?;
    for token in ["pm_card_visa", "pm_card_mastercard", "pm_card_amex"] {
        let (status, replayed, intent) = answer(provider.charge(token, token)).await?;
        assert_eq!((status, replayed), (200, false));
        assert_eq!(intent["object"], "payment_intent");
        assert_eq!(intent["status"], "succeeded");
        assert_eq!(intent["amount"], 1250);
        assert_eq!(intent["amount_received"], 1250);
        assert_eq!(intent["currency"], "eur");
        assert_eq!(intent["payment_method"], token);
        assert_eq!(intent["metadata"], json!({ "order_id": token, "version": "1" }));
        assert!(intent["latest_charge"].as_str().unwrap().starts_with("ch_"));
        let id = intent["id"].as_str().unwrap();
        let (_, _, again) = answer(provider.get(&format!("/v1/payment_intents/{id}"))).await?;
        assert_eq!(again, intent);
    }
    Ok(())
}

#[tokio::test]
async fn a_declined_payment_says_why_and_charges_nothing() -> Result<()> {
    let provider = start(Options::default()).await?;
    let cases = [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ];
    for (token, code, decline_code) in cases {
        let (status, _, body) = answer(provider.charge(token, "o")).await?;
        assert_eq!(status, 402);
        let error = &body["error"];
        assert_eq!(error["type"], "card_error");
        assert_eq!(error["code"], code);
        assert_eq!(error["decline_code"], decline_code);
        assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
        assert!(error["message"].is_string());
    }
    let (status, _, body) = answer(provider.charge("pm_card_authenticationRequired", "o")).await?;
    assert_eq!((status, &body["status"]), (200, &json!("requires_action")));
    let ledger = provider.handle.ledger();
    assert_eq!((ledger.charges.len(), ledger.not_charged.len()), (0, 4));
    assert_eq!((ledger.totals.charges, ledger.totals.declines), (0, 3));
    Ok(())
}

#[tokio::test]
async fn a_key_charges_once_and_replays_its_answer() -> Result<()> {
    let provider = start(Options::default()).await?;
    for token in ["pm_card_visa", "pm_card_chargeDeclined", "pm_sandbox_error500"] {
        let (status, replayed, body) = answer(provider.charge_with_key(token, token)).await?;
        assert!(!replayed);
        let again = answer(provider.charge_with_key(token, token)).await?;
        assert_eq!(again, (status, true, body), "{token}");
    }
    let (status, _, body) =
        answer(provider.charge_with_key("pm_card_amex", "pm_card_visa")).await?;
    assert_eq!((status, &body["error"]["type"]), (400, &json!("idempotency_error")));
    let ledger = provider.handle.ledger();
    assert_eq!(ledger.charges.len(), 1);
    assert_eq!(ledger.charges[0].requests, 3);
    assert_eq!(ledger.totals.replayed, 3);
    Ok(())
}

#[tokio::test]
async fn requests_without_a_key_are_charged_each() -> Result<()> {
    let provider = start(Options::default()).await?;
    for _ in 0..2 {
        answer(provider.charge("pm_card_visa", "twice")).await?;
    }
    answer(provider.charge("pm_card_visa", "once")).await?;
    let ledger: Ledger = provider.client.get(provider.at("/ledger")).send().await?.json().await?;
    assert_eq!(ledger, provider.handle.ledger());
    assert_eq!((ledger.totals.charges, ledger.totals.orders_charged_twice), (3, 1));
    assert_eq!(ledger.totals.charged_minor, BTreeMap::from([("eur".to_owned(), 3750)]));
    let one = provider.client.get(provider.at("/ledger?order_id=once")).send().await?;
    let one: Ledger = one.json().await?;
    assert_eq!(one.charges.len(), 1);
    assert_eq!(one.charges[0].order_id.as_deref(), Some("once"));
    assert_eq!(one.charges[0].version.as_deref(), Some("1"));
    assert_eq!(one.charges[0].outcome, Outcome::Charged);
    Ok(())
}

#[tokio::test]
async fn search_finds_payments_by_order_version_and_status() -> Result<()> {
    let provider = start(Options::default()).await?;
    answer(provider.charge("pm_card_chargeDeclined", "o'1")).await?;
    let (_, _, paid) = answer(provider.charge("pm_card_visa", "o'1")).await?;
    answer(provider.charge("pm_card_visa", "o2")).await?;
    let search = |query| answer(provider.search(query));
    let (status, _, found) =
        search(r"metadata['order_id']:'o\'1' AND metadata['version']:'1' AND status:'succeeded'")
            .await?;
    assert_eq!((status, &found["object"]), (200, &json!("search_result")));
    assert_eq!(found["data"], json!([paid]));
    let (_, _, found) = search(r"metadata['order_id']:'o\'1'").await?;
    let states: Vec<_> =
        found["data"].as_array().unwrap().iter().map(|intent| &intent["status"]).collect();
    assert_eq!(states, ["succeeded", "requires_payment_method"]);
    assert_eq!(search("metadata['order_id']:'o3'").await?.2["data"], json!([]));
    assert_eq!(search("amount>5").await?.0, 400);

    let page = provider.get("/v1/payment_intents/search?limit=2&query=metadata['version']:'1'");
    let (_, _, first) = answer(page).await?;
    assert_eq!((first["data"].as_array().unwrap().len(), &first["has_more"]), (2, &json!(true)));
    let next = first["next_page"].as_str().unwrap();
    let path = format!("/v1/payment_intents/search?page={next}&query=metadata['version']:'1'");
    let (_, _, rest) = answer(provider.get(&path)).await?;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (1, &json!(false)));
    Ok(())
}

#[tokio::test]
async fn a_search_that_lags_does_not_hide_the_payment_itself() -> Result<()> {
    let provider = start(Options { search_lag_ms: 3_600_000, ..Options::default() }).await?;
    let (_, _, paid) = answer(provider.charge("pm_card_visa", "o")).await?;
    let search = provider.search("metadata['order_id']:'o'");
    assert_eq!(answer(search).await?.2["data"], json!([]));
    let path = format!("/v1/payment_intents/{}", paid["id"].as_str().unwrap());
    assert_eq!(answer(provider.get(&path)).await?.2, paid);
    Ok(())
}

#[tokio::test]
async fn a_charge_is_refunded_once_and_never_beyond_its_amount() -> Result<()> {
    let provider = start(Options::default()).await?;
    let (_, _, paid) = answer(provider.charge("pm_card_visa", "o")).await?;
    let intent = paid["id"].as_str().unwrap();
    let refund = |amount: Option<&'static str>, key: &str| {
        let mut form = vec![("payment_intent", intent)];
        form.extend(amount.map(|amount| ("amount", amount)));
        answer(provider.post("/v1/refunds", &form).header("idempotency-key", key))
    };
    let (status, _, part) = refund(Some("250"), "r1").await?;
    assert_eq!((status, &part["status"], &part["amount"]), (200, &json!("succeeded"), &json!(250)));
    assert_eq!(refund(Some("250"), "r1").await?, (200, true, part.clone()));
    let (status, _, body) = refund(Some("1001"), "r2").await?;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("amount_too_large")));
    let (_, _, rest) = refund(None, "r3").await?;
    assert_eq!(rest["amount"], 1000);
    let (status, _, body) = refund(None, "r4").await?;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("charge_already_refunded")));

    let (_, _, list) =
        answer(provider.get(&format!("/v1/refunds?payment_intent={intent}"))).await?;
    assert_eq!(list["data"], json!([rest, part]));
    let ledger = provider.handle.ledger_of("o");
    assert_eq!(ledger.charges[0].refunded, 1250);
    assert_eq!(ledger.refunds.len(), 2);
    assert_eq!(ledger.totals.refunded_minor, BTreeMap::from([("eur".to_owned(), 1250)]));
    Ok(())
}

#[tokio::test]
async fn what_was_not_charged_can_not_be_refunded() -> Result<()> {
    let provider = start(Options::default()).await?;
    let (_, _, declined) = answer(provider.charge("pm_card_chargeDeclined", "o")).await?;
    let intent = declined["error"]["payment_intent"]["id"].as_str().unwrap();
    let refund = provider.post("/v1/refunds", &[("payment_intent", intent)]);
    let (status, _, body) = answer(refund).await?;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("payment_intent_unexpected_state")));
    let refund = provider.post("/v1/refunds", &[("payment_intent", "pi_none")]);
    assert_eq!(answer(refund).await?.2["error"]["code"], "resource_missing");
    Ok(())
}

#[tokio::test]
async fn bad_requests_get_stripes_errors_and_leave_no_trace() -> Result<()> {
    let provider = start(Options::default()).await?;
    let base = [("amount", "5"), ("currency", "eur"), ("payment_method", "pm_card_visa")];
    let with = |name: &'static str, value: &'static str| {
        let mut form: Vec<_> = base.into_iter().filter(|(key, _)| *key != name).collect();
        form.push((name, value));
        provider.post("/v1/payment_intents", &form)
    };
    let cases = [
        (with("amount", "0"), "parameter_invalid_integer"),
        (with("amount", "-5"), "parameter_invalid_integer"),
        (with("amount", "1.5"), "parameter_invalid_integer"),
        (with("amount", "100000000"), "amount_too_large"),
        (with("currency", "xxy"), "parameter_invalid"),
        (with("payment_method", "pm_none"), "resource_missing"),
        (with("confirm", "yes"), "parameter_invalid"),
        (with("number", "4242424242424242"), "parameter_unknown"),
        (provider.post("/v1/payment_intents", &base[..1]), "parameter_missing"),
    ];
    for (request, code) in cases {
        let (status, _, body) = answer(request).await?;
        assert_eq!(status, 400, "{body}");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], code);
    }
    let unauthenticated = provider.client.post(provider.at("/v1/payment_intents")).form(&base);
    assert_eq!(answer(unauthenticated).await?.0, 401);
    let unknown = answer(provider.get("/v1/payment_intents/pi_0000000000000000")).await?;
    assert_eq!((unknown.0, &unknown.2["error"]["code"]), (404, &json!("resource_missing")));
    assert_eq!(answer(provider.get("/v1/balance")).await?.0, 404);
    let ledger = provider.handle.ledger();
    assert!(ledger.charges.is_empty() && ledger.not_charged.is_empty());

    let unconfirmed = answer(provider.post("/v1/payment_intents", &base)).await?;
    assert_eq!((unconfirmed.0, &unconfirmed.2["status"]), (200, &json!("requires_confirmation")));
    assert_eq!(provider.handle.ledger().not_charged[0].outcome, Outcome::Unconfirmed);
    Ok(())
}
