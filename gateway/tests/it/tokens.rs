//! JSON Web Tokens as bearer tokens.

use std::time::Duration;

use anyhow::Result;
use comanda_gateway::Options;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::house::{ANA, House, OPERATOR, code, eventually, order};
use crate::issuer::{Issuer, Signer, key_set};
use crate::ws_client::WsClient;

const LIST: &str = "{ orders { nodes { customerId } } }";

/// A house that takes the tokens of an issuer.
async fn house(issuer: &Issuer, edit: impl FnOnce(&mut Options)) -> Result<House> {
    let url = issuer.url();
    House::with(|options| {
        options.jwt.jwks_url = url;
        edit(options);
    })
    .await
}

/// The status and code of a query with a credential.
async fn ask(house: &House, shown: &str) -> Result<(StatusCode, String)> {
    let (status, answer) = house.ask(Some(shown), LIST, json!({})).await?;
    Ok((status, code(&answer).to_owned()))
}

fn fine() -> (StatusCode, String) {
    (StatusCode::OK, String::new())
}

fn refused() -> (StatusCode, String) {
    (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED".into())
}

fn away() -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, "AUTH_UNAVAILABLE".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_whose_orders_are_placed_and_seen() -> Result<()> {
    let (rsa, ec) = (Signer::rsa("r")?, Signer::ec("e")?);
    let issuer = Issuer::publishing(&[&rsa, &ec]).await?;
    let house = house(&issuer, |_| {}).await?;
    let _projector = house.projector().await?;
    let (ana, bob) = (rsa.token("ana", "customer")?, ec.token("bob", "customer")?);
    let operator = ec.token("someone", "operator")?;
    let read = "query($id: ID!, $receipt: String) {
        order(id: $id, receipt: $receipt) { customerId } }";
    let (id, token) = house.placed(&ana, order("ana", None)).await?;
    let variables = json!({ "id": id, "receipt": token });
    for allowed in [&ana, &operator, ANA, OPERATOR] {
        let read = house.data(allowed, read, variables.clone()).await?;
        assert_eq!(read["order"]["customerId"], "ana");
    }
    assert_eq!(house.data(&bob, read, variables).await?["order"], Value::Null);
    let foreign = json!({ "input": order("ana", None) });
    let (status, answer) = house.ask(Some(&bob), crate::house::PLACE, foreign).await?;
    assert_eq!((status, code(&answer)), (StatusCode::FORBIDDEN, "FORBIDDEN"));
    house.placed(&operator, order("bob", None)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_in_order_is_refused() -> Result<()> {
    let (ec, other) = (Signer::ec("e")?, Signer::ec("e")?);
    let issuer = Issuer::publishing(&[&ec]).await?;
    let house = house(&issuer, |_| {}).await?;
    let good = ec.token("ana", "customer")?;
    assert_eq!(ask(&house, &good).await?, fine());
    assert_eq!(ask(&house, &other.token("ana", "operator")?).await?, refused());
    assert_eq!(ask(&house, &ec.token_for("ana", "customer", Duration::ZERO)?).await?, refused());
    assert_eq!(ask(&house, &good[..good.len() - 4]).await?, refused());
    let no_role = ask(&house, &ec.token("ana", "cook")?).await?;
    assert_eq!(no_role, (StatusCode::FORBIDDEN, "FORBIDDEN".into()));
    let request = house.http.post(house.url()).header("x-api-key", &good);
    let response = request.json(&json!({ "query": LIST })).send().await?;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "that header is for keys");
    let mut client = WsClient::speaking(house.addr).await?;
    let payload = json!({ "Authorization": format!("Bearer {}", ec.token("ana", "cook")?) });
    client.say(json!({ "type": "connection_init", "payload": payload })).await?;
    assert_eq!(client.closed().await?, 4403);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_without_a_role_are_limited_and_expired_ones_are_no_guesses() -> Result<()> {
    let ec = Signer::ec("e")?;
    let issuer = Issuer::publishing(&[&ec]).await?;
    let house = house(&issuer, |options| {
        options.wrong_keys_per_minute = 1;
        options.wrong_keys_burst = 5;
    })
    .await?;
    let limited = (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED".to_owned());
    let cook = ec.token("ana", "cook")?;
    for _ in 0..5 {
        assert_eq!(ask(&house, &cook).await?, (StatusCode::FORBIDDEN, "FORBIDDEN".into()));
    }
    assert_eq!(ask(&house, &cook).await?, limited);
    assert_eq!(ask(&house, "wrong").await?, limited, "they count together");
    let expired = ec.token_for("ana", "customer", Duration::ZERO)?;
    for _ in 0..20 {
        assert_eq!(ask(&house, &expired).await?, refused());
    }
    let forged = Signer::ec("e")?.token_for("ana", "customer", Duration::ZERO)?;
    assert_eq!(ask(&house, &forged).await?, limited, "its signature is a guess");
    assert_eq!(ask(&house, &ec.token("ana", "customer")?).await?, fine());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_too_long_is_told_so() -> Result<()> {
    let house = House::open().await?;
    for (length, is_too_long) in [(8 << 10, false), ((8 << 10) + 1, true), (30 << 10, true)] {
        let (status, answer) = house.ask(Some(&"x".repeat(length)), LIST, json!({})).await?;
        assert_eq!((status, code(&answer)), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"));
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert_eq!(message.contains("8 KiB"), is_too_long, "{length}: {message}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_fetched_when_it_is_first_used_and_not_again_for_a_while() -> Result<()> {
    let [first, second, third] = ["1", "2", "3"].map(Signer::ec);
    let (first, second, third) = (first?, second?, third?);
    let issuer = Issuer::publishing(&[&first]).await?;
    let house = house(&issuer, |_| {}).await?;
    assert_eq!(ask(&house, &first.token("ana", "customer")?).await?, fine());
    assert_eq!(ask(&house, &first.token("bob", "customer")?).await?, fine());
    assert_eq!(issuer.asked().await, 1, "at the start");

    issuer.publish(&[&second]).await?;
    let tokens: Vec<_> =
        (0..20).map(|n| second.token(&format!("c-{n}"), "customer")).collect::<Result<_>>()?;
    let answers = join_all(tokens.iter().map(|token| ask(&house, token))).await;
    for answer in answers {
        assert_eq!(answer?, fine());
    }
    assert_eq!(issuer.asked().await, 1, "once for all of them");
    let gone = first.token("ana", "customer")?;
    assert_eq!(ask(&house, &gone).await?, refused(), "its key is gone");

    issuer.publish(&[&third]).await?;
    assert_eq!(ask(&house, &third.token("ana", "customer")?).await?, refused());
    assert_eq!(issuer.asked().await, 0, "that was a moment ago");
    assert_eq!(ask(&house, &second.token("ana", "customer")?).await?, fine());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_withdrawn_verifies_nothing_any_more() -> Result<()> {
    let (old, new) = (Signer::ec("old")?, Signer::ec("new")?);
    let issuer = Issuer::publishing(&[&old, &new]).await?;
    let house = house(&issuer, |options| options.jwt.jwks_refresh_ms = 20).await?;
    let token = old.token("ana", "customer")?;
    assert_eq!(ask(&house, &token).await?, fine());
    issuer.publish(&[&new]).await?;
    let is_refused = || async { Ok((ask(&house, &token).await? == refused()).then_some(())) };
    eventually("the end of the old key", is_refused).await?;
    assert_eq!(ask(&house, &new.token("ana", "customer")?).await?, fine());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_is_waited_for_and_its_keys_outlive_the_next_time() -> Result<()> {
    let (ec, unknown) = (Signer::ec("e")?, Signer::ec("u")?);
    let issuer = Issuer::publishing(&[&ec]).await?;
    issuer.answer(ResponseTemplate::new(500)).await;
    let house = house(&issuer, |options| options.jwt.jwks_cooldown_ms = 20).await?;
    let token = ec.token("ana", "customer")?;
    assert_eq!(ask(&house, ANA).await?, fine());
    let request = house.http.post(house.url()).bearer_auth(&token);
    let response = request.json(&json!({ "query": LIST })).send().await?;
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(!response.headers().contains_key("www-authenticate"));
    let answer: Value = response.json().await?;
    let expected = json!({ "code": "AUTH_UNAVAILABLE", "retriable": true });
    assert_eq!(answer["errors"][0]["extensions"], expected);
    let mut client = WsClient::speaking(house.addr).await?;
    let payload = json!({ "Authorization": format!("Bearer {token}") });
    client.say(json!({ "type": "connection_init", "payload": payload })).await?;
    assert_eq!(client.closed().await?, 1013);

    issuer.publish(&[&ec]).await?;
    let is_fine = || async { Ok((ask(&house, &token).await? == fine()).then_some(())) };
    eventually("the issuer's keys", is_fine).await?;
    assert_eq!(ask(&house, &unknown.token("ana", "customer")?).await?, refused());

    issuer.answer(ResponseTemplate::new(500)).await;
    let is_away = || async {
        let answer = ask(&house, &unknown.token("ana", "customer")?).await?;
        Ok((answer == away()).then_some(()))
    };
    eventually("a look at the issuer that failed", is_away).await?;
    assert_eq!(ask(&house, &ec.token("ana", "customer")?).await?, fine());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_taken_from_a_plain_short_and_quick_answer_alone() -> Result<()> {
    let ec = Signer::ec("e")?;
    let token = ec.token("ana", "operator")?;
    let target = Issuer::publishing(&[&ec]).await?;
    let direct = house(&target, |_| {}).await?;
    assert_eq!(ask(&direct, &token).await?, fine());
    let asked = target.asked().await;
    assert!(asked > 0);

    let redirect = ResponseTemplate::new(302).insert_header("location", target.url());
    let keys = ResponseTemplate::new(200).set_body_json(key_set(&[&ec])?);
    let mut large = key_set(&[&ec])?;
    large["padding"] = json!("x".repeat(1 << 20));
    let large = ResponseTemplate::new(200).set_body_json(large);
    let slow = keys.clone().set_delay(Duration::from_secs(3600));
    let html = ResponseTemplate::new(200).set_body_string("<html>");
    for answer in [redirect, large, slow, html] {
        let issuer = Issuer::publishing(&[&ec]).await?;
        issuer.answer(answer).await;
        let house = house(&issuer, |options| options.jwt.jwks_timeout_ms = 500).await?;
        assert_eq!(ask(&house, &token).await?, away());
        assert!(issuer.asked().await > 0);
    }
    assert_eq!(target.asked().await, asked, "nobody was sent there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_keys_in_files_are_followed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (secrets, keys) = (folder.path().join("secret"), folder.path().join("jwks.json"));
    let [old, new] = ["an-old-secret-of-at-least-32-bytes", "a-new-secret-of-at-least-32-bytes!"];
    let (first, second) = (Signer::ec("1")?, Signer::ec("2")?);
    std::fs::write(&secrets, old)?;
    std::fs::write(&keys, key_set(&[&first])?.to_string())?;
    let by_secret = House::with(|options| {
        options.jwt.secret_file = secrets.display().to_string();
        options.jwt.jwks_refresh_ms = 20;
    })
    .await?;
    let by_key = House::with(|options| {
        options.jwt.jwks_file = keys.display().to_string();
        options.jwt.jwks_refresh_ms = 20;
    })
    .await?;
    let becomes = async |house: &House, token: String, expected: (StatusCode, String)| {
        let look = || async { Ok((ask(house, &token).await? == expected).then_some(())) };
        eventually("another answer", look).await
    };
    let (old, new) = (Signer::secret(old), Signer::secret(new));
    assert_eq!(ask(&by_secret, &old.token("ana", "customer")?).await?, fine());
    assert_eq!(ask(&by_key, &first.token("ana", "customer")?).await?, fine());
    std::fs::write(&secrets, "a-new-secret-of-at-least-32-bytes!\n")?;
    std::fs::write(&keys, key_set(&[&second])?.to_string())?;
    becomes(&by_secret, new.token("ana", "customer")?, fine()).await?;
    becomes(&by_secret, old.token("ana", "customer")?, refused()).await?;
    becomes(&by_key, second.token("ana", "customer")?, fine()).await?;
    becomes(&by_key, first.token("ana", "customer")?, refused()).await?;

    let refused = async |edit: &dyn Fn(&mut Options)| {
        let mut options = crate::house::options();
        edit(&mut options);
        by_key.another(options).await.err().unwrap().to_string()
    };
    let error = refused(&|o| o.jwt.secret_file = "/nowhere".into()).await;
    assert!(error.starts_with("gateway.jwt.secret_file can't be used"), "{error}");
    let error = refused(&|o| o.jwt.jwks_file = secrets.display().to_string()).await;
    assert!(error.starts_with("gateway.jwt.jwks_file can't be used"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_closed_when_its_token_expires() -> Result<()> {
    let ec = Signer::ec("e")?;
    let issuer = Issuer::publishing(&[&ec]).await?;
    let house = house(&issuer, |_| {}).await?;
    let mut lasting = WsClient::of(house.addr, &ec.token("ana", "customer")?).await?;
    let short = ec.token_for("ana", "customer", Duration::from_secs(5))?;
    let mut client = WsClient::of(house.addr, &short).await?;
    client.subscribe("1", LIST, json!({})).await?;
    assert_eq!(client.data("1").await?["orders"]["nodes"], json!([]));
    client.hear().await?;
    client.subscribe("2", "subscription { orderUpdates { cursor } }", json!({})).await?;
    assert_eq!(client.closed().await?, 4403);
    assert_eq!(ask(&house, &short).await?, refused());
    lasting.subscribe("1", LIST, json!({})).await?;
    lasting.data("1").await?;
    Ok(())
}
