use anyhow::Result;
use comanda_sandbox::mailbox::{Handle, Service};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{LOCAL, Running};

async fn start() -> Result<Running<Handle>> {
    let service = Service::bind(LOCAL).await?;
    let (url, handle) = (service.url(), service.handle());
    Ok(Running::new(url, handle, |stop| service.run_until_stopped(stop)))
}

fn mail(to: &str, subject: &str) -> Value {
    json!({
        "from": "Trattoria <orders@example.com>",
        "to": [to],
        "subject": subject,
        "text": "plain words",
        "html": "<p>marked-up words</p>",
    })
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

impl Running<Handle> {
    fn post(&self, body: &Value) -> RequestBuilder {
        self.client.post(self.at("/emails")).bearer_auth("re_test").json(body)
    }

    async fn send(&self, body: &Value) -> String {
        let (status, body) = answer(self.post(body)).await;
        assert_eq!(status, 200, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    async fn list(&self, query: &str) -> Value {
        answer(self.client.get(self.at(&format!("/api/mails{query}")))).await.1
    }

    async fn page(&self, path: &str) -> Result<(String, String)> {
        let response = self.client.get(self.at(path)).send().await?.error_for_status()?;
        let policy = response.headers()["content-security-policy"].to_str()?.to_owned();
        Ok((policy, response.text().await?))
    }
}

fn ids(listing: &Value) -> Vec<&str> {
    listing["mails"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_mail_is_kept_as_it_was_sent() -> Result<()> {
    let mailbox = start().await?;
    let mut body = mail("Ada <ada@example.com>", "Paid");
    body["reply_to"] = json!("help@example.com");
    let sent = mailbox.post(&body).header("idempotency-key", "key-1").send().await?;
    let id = sent.json::<Value>().await?["id"].as_str().unwrap().to_owned();

    let (status, kept) = answer(mailbox.client.get(mailbox.at(&format!("/api/mails/{id}")))).await;
    assert_eq!(status, 200);
    assert_eq!(kept["id"], json!(id));
    assert_eq!(kept["from"], "Trattoria <orders@example.com>");
    assert_eq!(kept["to"], json!(["Ada <ada@example.com>"]));
    assert_eq!(kept["reply_to"], json!(["help@example.com"]));
    assert_eq!(kept["cc"], json!([]));
    assert_eq!(kept["subject"], "Paid");
    assert_eq!(kept["text"], "plain words");
    assert_eq!(kept["html"], "<p>marked-up words</p>");
    assert_eq!(kept["idempotency_key"], "key-1");
    assert!(kept["received_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(mailbox.handle.mails()[0].to[0].mail(), "ada@example.com");
    Ok(())
}

#[tokio::test]
async fn a_key_sends_one_mail() -> Result<()> {
    let mailbox = start().await?;
    let send = |body: Value| answer(mailbox.post(&body).header("idempotency-key", "k"));
    let first = send(mail("a@example.com", "One")).await;
    assert_eq!(first.0, 200);
    assert_eq!(send(mail("a@example.com", "One")).await, first);
    let (status, body) = send(mail("a@example.com", "Two")).await;
    assert_eq!((status, &body["name"]), (409, &json!("invalid_idempotent_request")));
    let counts = mailbox.handle.counts();
    assert_eq!((counts.received, counts.kept, counts.replayed), (1, 1, 1));

    let deleted = mailbox.client.delete(mailbox.at("/api/mails")).send().await?;
    assert_eq!(deleted.status(), 200);
    assert_eq!(send(mail("a@example.com", "One")).await, first);
    assert_eq!(mailbox.list("").await["counts"]["kept"], 0);
    Ok(())
}

#[tokio::test]
async fn what_resend_refuses_is_refused() -> Result<()> {
    let mailbox = start().await?;
    let with = |field: &str, value: Value| {
        let mut body = mail("a@example.com", "s");
        body[field] = value;
        body
    };
    let without = |fields: &[&str]| {
        let mut body = mail("a@example.com", "s");
        fields.iter().for_each(|field| drop(body.as_object_mut().unwrap().remove(*field)));
        body
    };
    let cases = [
        (without(&["from"]), "missing_required_field"),
        (without(&["to"]), "missing_required_field"),
        (without(&["subject"]), "missing_required_field"),
        (without(&["text", "html"]), "missing_required_field"),
        (with("from", json!("nobody")), "invalid_from_address"),
        (with("to", json!("not an address")), "validation_error"),
        (with("to", json!([])), "missing_required_field"),
        (with("to", json!(vec!["a@example.com"; 51])), "validation_error"),
        (with("to", json!(5)), "validation_error"),
        (with("to", json!("Ada <ada@Bounce.invalid>")), "validation_error"),
        (with("to", json!("x\r\nBcc: evil@example.com <a@example.com>")), "validation_error"),
        (with("subject", json!("a\r\nBcc: evil@example.com")), "validation_error"),
    ];
    for (body, name) in cases {
        let (status, refusal) = answer(mailbox.post(&body)).await;
        assert_eq!((status, &refusal["name"]), (422, &json!(name)), "{body}");
        assert_eq!(refusal["statusCode"], 422);
        assert!(refusal["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let unauthenticated = mailbox.client.post(mailbox.at("/emails")).json(&without(&[]));
    assert_eq!(answer(unauthenticated).await.0, 401);
    let key = mailbox.post(&without(&[])).header("idempotency-key", "k".repeat(257));
    assert_eq!(answer(key).await.1["name"], "invalid_idempotency_key");
    assert_eq!(mailbox.handle.counts().received, 0);
    mailbox.send(&without(&[])).await;
    assert_eq!(mailbox.handle.counts().received, 1);
    Ok(())
}

#[tokio::test]
async fn mails_are_listed_by_recipient_and_page() -> Result<()> {
    let mailbox = start().await?;
    let mut sent = Vec::new();
    for i in 0..5 {
        let to = if i % 2 == 0 { "Even <even@example.com>" } else { "odd@example.com" };
        sent.push(mailbox.send(&mail(to, "s")).await);
    }
    let first = mailbox.list("?limit=2").await;
    assert_eq!(ids(&first), [&sent[0], &sent[1]]);
    assert_eq!(first["has_more"], true);
    let rest = mailbox.list(&format!("?after={}", sent[1])).await;
    assert_eq!(ids(&rest), [&sent[2], &sent[3], &sent[4]]);
    assert_eq!(rest["has_more"], false);
    let even = mailbox.list("?to=EVEN@example.com").await;
    assert_eq!(ids(&even), [&sent[0], &sent[2], &sent[4]]);
    assert_eq!(mailbox.list("?limit=0").await["statusCode"], 422);
    assert_eq!(mailbox.list("?after=x").await["statusCode"], 422);
    Ok(())
}

#[tokio::test]
async fn the_page_lists_the_newest_first_and_refreshes_itself() -> Result<()> {
    let mailbox = start().await?;
    assert!(mailbox.page("/").await?.1.contains("No mail yet"));
    let mut sent = Vec::new();
    for i in 0..101 {
        sent.push(mailbox.send(&mail("a@example.com", &format!("subject {i}"))).await);
    }
    let (_, page) = mailbox.page("/").await?;
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at(">subject 100<") < at(">subject 1<"));
    assert!(!page.contains(">subject 0<"));
    assert!(page.contains("http-equiv=\"refresh\""));
    let older = format!("/?before={}", sent[1]);
    assert!(page.contains(&older));
    let (_, page) = mailbox.page(&older).await?;
    assert!(page.contains(">subject 0<") && !page.contains("http-equiv=\"refresh\""));
    Ok(())
}

#[tokio::test]
async fn hostile_mails_are_shown_without_harm() -> Result<()> {
    let mailbox = start().await?;
    let evil = r#""><script>alert(1)</script>"#;
    let mut body = mail("\"><b>x</b> <a@example.com>", evil);
    body["text"] = json!(evil);
    body["html"] = json!(r#"<p title="x">it's</p><script>alert(2)</script>"#);
    let id = mailbox.send(&body).await;

    let (policy, list) = mailbox.page("/").await?;
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(list.contains("alert(1)") && !list.contains("<script"), "{list}");
    let (policy, page) = mailbox.page(&format!("/mails/{id}")).await?;
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"));
    assert!(page.contains("<iframe sandbox=\"\""));
    let (_, framed) = page.split_once("srcdoc=\"").unwrap();
    let (framed, _) = framed.split_once('"').unwrap();
    assert!(framed.contains("alert(2)") && !framed.contains('<'), "{framed}");
    assert!(!page.contains("<script") && !page.contains("<b>x"), "{page}");
    let missing = mailbox.at("/mails/00000000-0000-0000-0000-000000000000");
    assert_eq!(mailbox.client.get(missing).send().await?.status(), 404);
    Ok(())
}
