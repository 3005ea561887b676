//! A client that places orders as one should: the same key again until it works.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::graphql::{Gateway, PLACE};
use crate::harness::installation::Place;

/// Pause before the same order is sent again: what `Retry-After` says.
const AGAIN: Duration = Duration::from_secs(1);

/// What a gateway answered to one request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The order has this id, and stands at this partition and offset.
    Placed { id: String, at: Place, total: i64 },
    /// Another order has its key.
    Conflict,
    /// A failure that can pass, by its code.
    Failed(String),
}

impl Answer {
    /// Whether it is a failure with this code.
    pub fn is_failure(&self, wanted: &str) -> bool {
        matches!(self, Self::Failed(code) if code == wanted)
    }

    /// The order's id and the place of its event.
    pub fn placed(&self) -> Option<(&str, Place)> {
        match self {
            Self::Placed { id, at, .. } => Some((id, *at)),
            Self::Conflict | Self::Failed(_) => None,
        }
    }
}

/// Sends an order once. Whatever comes back has to be one of the answers that are promised.
pub async fn place(gateway: &Gateway, input: &Value) -> Answer {
    let body = json!({ "query": PLACE, "variables": { "input": input } }).to_string();
    let (status, answer) = gateway.post(body).await;
    let payload = &answer["data"]["placeOrder"];
    if let Some(id) = payload["order"]["id"].as_str() {
        assert_eq!(payload["errors"], json!([]), "{answer}");
        let number = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("{answer}"));
        let receipt = &payload["receipt"];
        let partition = i32::try_from(number(&receipt["partition"])).unwrap();
        let (at, total) =
            ((partition, number(&receipt["offset"])), number(&payload["order"]["totalMinor"]));
        return Answer::Placed { id: id.to_owned(), at, total };
    }
    if payload["errors"][0]["code"] == "IDEMPOTENCY_CONFLICT" {
        assert_eq!(payload["order"], Value::Null, "{answer}");
        return Answer::Conflict;
    }
    let extensions = &answer["errors"][0]["extensions"];
    assert_eq!(extensions["retriable"], json!(true), "{status}: {answer}");
    let code = extensions["code"].as_str().unwrap_or_else(|| panic!("{status}: {answer}"));
    Answer::Failed(code.to_owned())
}

/// Sends an order until it is placed, or another one has its key; all that was answered.
pub async fn insist(gateway: &Gateway, input: &Value) -> Vec<Answer> {
    let mut answers = Vec::new();
    loop {
        let answer = place(gateway, input).await;
        let is_over = matches!(answer, Answer::Placed { .. } | Answer::Conflict);
        answers.push(answer);
        if is_over {
            return answers;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
