//! What the plans are tried on.

use std::sync::atomic::{AtomicI64, Ordering};

use async_graphql::parser::types::OperationType;
use comanda_producer as producer;
use comanda_schemas::{OrderEvent, Timestamp};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::documents::Documents;
use crate::execute::{Answer, Executor};
use crate::params::Params;
use crate::rate::Rates;
use crate::samples::parts;
use crate::service::house;
use crate::{Options, Publisher};

/// A gateway without transport. Orders of the customers that `store` names fail.
pub(super) struct Bench {
    executor: Executor,
    runtime: tokio::runtime::Runtime,
    _folder: TempDir,
}

fn options() -> Options {
    let all: toml::Table = toml::from_str(include_str!("../../../../config/default.toml")).unwrap();
    let options = all["gateway"].clone().try_into::<Options>().unwrap();
    Options { max_batch: 4, max_lines: 4, max_variable_values: 90, ..options }
}

fn store(event: &OrderEvent) -> Result<producer::Receipt, producer::Error> {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    match event.customer_id.as_str() {
        "overloaded" => Err(producer::Error::Overloaded { records: 1, bytes: 1 }),
        "unknown" => Err(producer::Error::OutcomeUnknown(None)),
        _ => Ok(producer::Receipt {
            topic: "orders".into(),
            partition: 3,
            offset: if event.order_id.is_derived() {
                NEXT.fetch_add(1, Ordering::Relaxed)
            } else {
                0
            },
            timestamp: Timestamp::from_millis(event.occurred_at.as_millis()),
        }),
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = options();
        let parts = runtime.block_on(parts(&folder, Publisher::Instead(Arc::new(store))));
        let rates = Arc::new(Rates::new(&options));
        let documents = Documents::new(&options).unwrap();
        let _context = runtime.enter();
        let house = house(parts, &options, rates, CancellationToken::new());
        let executor = Executor::new(house, documents, &options);
        drop(_context);
        Self { executor, runtime, _folder: folder }
    }

    /// The answer of the general way; the document is known after it.
    pub(super) fn generally(&self, body: &Value, caller: &Caller) -> String {
        let params = Params::read(body.to_string().as_bytes()).unwrap();
        let answer: Answer = match self.executor.prepare_here(params, caller) {
            Err(answer) => answer,
            Ok(prepared) => {
                assert_eq!(prepared.operation, OperationType::Mutation);
                self.runtime.block_on(self.executor.execute(prepared, asker(caller)))
            }
        };
        serde_json::to_string(&answer).unwrap()
    }

    /// The answer of the plan, where there is one for this.
    pub(super) fn by_plan(&self, body: &Value, caller: &Caller) -> Option<String> {
        let body = body.to_string();
        let planned = self.executor.plan(serde_json::from_str(&body).unwrap(), caller)?;
        let asker = asker(caller);
        let answer = self.runtime.block_on(self.executor.execute_plan(planned, &asker));
        Some(match answer {
            Ok(json) => String::from_utf8(json).unwrap(),
            Err(answer) => serde_json::to_string(&answer).unwrap(),
        })
    }

    /// Sends `body` both ways; the two have to be answered alike. Whether there was a plan.
    pub(super) fn compare(&self, body: &Value, caller: &Caller) -> bool {
        let generally = self.generally(body, caller);
        let Some(by_plan) = self.by_plan(body, caller) else { return false };
        if body.to_string().matches("\"idempotencyKey\":\"").count() > 0 {
            assert_eq!(by_plan, generally, "{body}");
        } else {
            assert_eq!(without_chance(&by_plan), without_chance(&generally), "{body}");
        }
        true
    }
}

/// Orders without a key are two where they are sent twice; what has to differ then is left out.
fn without_chance(answer: &str) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(strip),
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::String(text) if uuid::Uuid::parse_str(text).is_ok() => *text = "id".into(),
            Value::String(text) if Timestamp::parse_rfc3339(text).is_some() => {
                *text = "time".into();
            }
            _ => {}
        }
    }
    let mut answer = serde_json::from_str(answer).unwrap();
    strip(&mut answer);
    answer
}
