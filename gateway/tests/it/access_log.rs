//! The log, as far as it is about single requests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::house::{ANA, House, PLACE, order};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines that have `word` in them.
    fn about(&self, word: &str) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains(word));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_logged_under_its_name_without_what_is_nobodys_business() -> Result<()> {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("comanda_gateway=debug,comanda::access=info")
        .json()
        .flatten_event(true)
        .with_writer(kept.clone())
        .finish();
    // For the whole of the test's process: the gateway's tasks run on threads of their own.
    tracing::subscriber::set_global_default(subscriber)?;
    let house = House::with(|options| options.access_log = true).await?;
    let ask = async |id: &str, key: &str, body: Value| -> Result<()> {
        let request = house.http.post(house.url()).header("x-request-id", id).bearer_auth(key);
        request.json(&body).send().await?;
        Ok(())
    };
    let variables = json!({ "input": order("ana", None) });
    let query = PLACE.replace("mutation(", "mutation Dinner(");
    let place = json!({ "query": query, "operationName": "Dinner", "variables": variables });
    ask("log-placed", ANA, place).await?;
    ask("log-broken", ANA, json!({ "query": "{", "operationName": "a\nb" })).await?;
    ask("log-stranger", "a-wrong-key-0001", json!({ "query": "{ __typename }" })).await?;
    let page = house.http.get(format!("http://{}/?secret=1", house.addr));
    page.header("x-request-id", "log-page").send().await?;

    let line = |id: &str| {
        let lines = kept.about(&format!("\"request_id\":\"{id}\""));
        let access = lines.into_iter().find(|line| line["target"] == "comanda::access");
        access.unwrap_or_else(|| panic!("{id} is not in {}", kept.text()))
    };
    let placed = line("log-placed");
    for (field, expected) in [
        ("level", json!("INFO")),
        ("method", json!("POST")),
        ("path", json!("/graphql")),
        ("status", json!(200)),
        ("address", json!("127.0.0.1")),
        ("role", json!("customer")),
        ("customer", json!("ana")),
        ("operation", json!("mutation")),
        ("name", json!("Dinner")),
    ] {
        assert_eq!(placed[field], expected, "{field} of {placed}");
    }
    assert!(placed["bytes"].as_u64().unwrap() > 100 && placed["micros"].is_u64());
    assert_eq!(placed["code"], Value::Null);
    let broken = line("log-broken");
    assert_eq!(broken["code"], "GRAPHQL_PARSE_FAILED");
    assert_eq!((&broken["name"], &broken["operation"]), (&Value::Null, &Value::Null));
    let stranger = line("log-stranger");
    assert_eq!((&stranger["status"], &stranger["role"]), (&json!(401), &Value::Null));
    assert_eq!(stranger["code"], "UNAUTHENTICATED");
    assert_eq!(line("log-page")["path"], "/");

    let accepted = kept.about("log-placed");
    let accepted = accepted.iter().find(|line| line["message"] == "order accepted");
    let span = &accepted.expect("a line from within the request")["span"];
    assert_eq!(span["request_id"], "log-placed");
    for secret in [ANA, "a-wrong-key", "secret", "Patatas", "ana@example.com"] {
        assert!(!kept.text().contains(secret), "{secret}");
    }
    Ok(())
}
