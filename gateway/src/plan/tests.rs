use std::sync::atomic::{AtomicI64, Ordering};

use async_graphql::parser::parse_query;
use async_graphql::parser::types::OperationType;
use async_graphql::registry::{MetaType, Registry};
use comanda_producer as producer;
use comanda_schemas::{
    KafkaOptions, OrderEvent, RegistryOptions, Timestamp, TopicNames, TraceContext,
};
use comanda_store::Store;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::{Caller, Principal};
use crate::documents::Documents;
use crate::execute::{Answer, Executor};
use crate::rate::{Prepaid, Rates};
use crate::service::{house, limits};
use crate::{Options, Parts, Publisher, schema};

/// What is selected where nothing else is of interest.
const SELECTED: &str = "{ order { id status } receipt { topic partition offset token } \
                        errors { code message path retriable } }";

/// A gateway without transport. Orders of the customers that `store` names fail.
struct Bench {
    executor: Executor,
    runtime: tokio::runtime::Runtime,
    _folder: TempDir,
}

fn options() -> Options {
    let all: toml::Table = toml::from_str(include_str!("../../../config/default.toml")).unwrap();
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
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = options();
        let url = format!("sqlite://{}", folder.path().join("orders.db").display());
        let store_options = comanda_store::Options {
            url,
            max_connections: 2,
            busy_timeout_ms: 5_000,
            statement_timeout_ms: 5_000,
            auto_migrate: true,
        };
        let registry = RegistryOptions {
            url: "http://127.0.0.1:9".into(),
            username: String::new(),
            password: Default::default(),
            auto_register: false,
            timeout_ms: 1_000,
        };
        let parts = Parts {
            producer: Publisher::Instead(Arc::new(store)),
            reports: None,
            store: runtime.block_on(Store::open(&store_options)).unwrap(),
            registry: comanda_schemas::Registry::new(&registry).unwrap(),
            kafka: KafkaOptions {
                brokers: "127.0.0.1:9".into(),
                security_protocol: "plaintext".into(),
                sasl_mechanism: String::new(),
                sasl_username: String::new(),
                sasl_password: Default::default(),
                ssl_ca_location: String::new(),
                properties: Default::default(),
            },
            names: TopicNames {
                prefix: String::new(),
                orders: "orders".into(),
                payments: "payments".into(),
                notifications: "notifications".into(),
                payment_reports: "payment-reports".into(),
            },
        };
        let rates = Arc::new(Rates::new(&options));
        let documents = Documents::new(&options, limits(&options)).unwrap();
        let _context = runtime.enter();
        let house = house(parts, &options, rates, CancellationToken::new());
        let executor = Executor::new(house, documents, &options);
        drop(_context);
        Self { executor, runtime, _folder: folder }
    }

    /// The answer of the general way; the document is known after it.
    fn generally(&self, body: &Value, caller: &Caller) -> String {
        let params = serde_json::from_value(body.clone()).unwrap();
        let answer: Answer = match self.executor.prepare(params, caller) {
            Err(answer) => answer,
            Ok(prepared) => {
                assert_eq!(prepared.operation, OperationType::Mutation);
                self.runtime.block_on(self.executor.execute(prepared, asker(caller)))
            }
        };
        serde_json::to_string(&answer).unwrap()
    }

    /// The answer of the plan, where there is one for this.
    fn by_plan(&self, body: &Value, caller: &Caller) -> Option<String> {
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
    fn compare(&self, body: &Value, caller: &Caller) -> bool {
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

fn asker(caller: &Caller) -> Asker {
    let trace = TraceContext::new_root();
    Asker { caller: caller.clone(), trace, prepaid: Prepaid::default() }
}

fn operator() -> Caller {
    Some(Principal::Operator)
}

fn input(customer: &str, key: &str) -> Value {
    json!({
        "idempotencyKey": key,
        "customerId": customer,
        "contact": { "name": "Ana \"\\ \u{1F355}", "email": "ana@example.com" },
        "currency": "EUR",
        "lines": [
            { "sku": "TAP-03", "name": "Patatas bravas", "quantity": 2, "unitPriceMinor": 650 },
            { "sku": "VIN-11", "name": "Albariño", "quantity": 1, "unitPriceMinor": 480 },
        ],
        "paymentMethod": "pm_card_visa",
    })
}

fn one(selected: &str) -> String {
    format!("mutation($input: PlaceOrderInput!) {{ placeOrder(input: $input) {selected} }}")
}

fn many(selected: &str) -> String {
    format!("mutation($inputs: [PlaceOrderInput!]!) {{ placeOrders(inputs: $inputs) {selected} }}")
}

fn body(document: &str, variables: Value) -> Value {
    json!({ "query": document, "variables": variables })
}

/// Makes a document known.
fn learn(bench: &Bench, document: &str) {
    let nobody = &None;
    let variable = if document.contains("placeOrders") { "inputs" } else { "input" };
    let input = input("ana", "k");
    let value = if variable == "inputs" { json!([input]) } else { input };
    bench.generally(&body(document, json!({ variable: value })), nobody);
}

fn has_plan(document: &str) -> bool {
    Plan::compile(&parse_query(document).unwrap(), &crate::limits::generous()).is_some()
}

#[test]
fn documents_have_a_plan_that_place_orders_by_one_variable() {
    for document in [
        &one(SELECTED),
        &many(SELECTED),
        &one("{ __typename a: errors { __typename code } b: errors { code } }"),
        "mutation Name($x: PlaceOrderInput!) { t: __typename y: placeOrder(input: $x) {
            order { id } } __typename }",
    ] {
        assert!(has_plan(document), "{document}");
    }
    for document in [
        "{ orders { nodes { id } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { ...f } }
         fragment f on PlaceOrderPayload { order { id } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { ... { order { id } } } }",
        "mutation($i: PlaceOrderInput!) { ... { placeOrder(input: $i) { order { id } } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { order { id @skip(if: false) } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) @skip(if: false) { order { id } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { order { id } order { note } } }",
        "mutation($i: PlaceOrderInput = {}) { placeOrder(input: $i) { order { id } } }",
        "mutation($i: PlaceOrderInput!, $j: PlaceOrderInput!) { placeOrder(input: $i) {
            order { id } } }",
        "mutation($i: PlaceOrderInput!) { a: placeOrder(input: $i) { order { id } }
            b: placeOrder(input: $i) { order { id } } }",
        "mutation($i: PlaceOrderInput!) { placeOrders(inputs: [$i]) { order { id } } }",
        "mutation($i: CancelOrderInput!) { cancelOrder(input: $i) { order { id } } }",
        "mutation A($i: PlaceOrderInput!) { placeOrder(input: $i) { order { id } } }
         mutation B($i: PlaceOrderInput!) { placeOrder(input: $i) { order { id } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { order } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { nobody } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) }",
    ] {
        assert!(!has_plan(document), "{document}");
    }
}

#[test]
fn plans_know_every_field_of_the_schema() {
    let registry: Registry = schema::registry();
    assert!(has_plan(&one(&everything(&registry, "PlaceOrderPayload"))));
    let Some(MetaType::InputObject { input_fields, .. }) = registry.types.get("PlaceOrderInput")
    else {
        panic!("there is no input");
    };
    let contact = 2;
    assert_eq!(VALUES, 1 + input_fields.len() + contact);
}

/// All fields of a type, and of those within them, with an alias here and there.
fn everything(registry: &Registry, type_name: &str) -> String {
    let Some(MetaType::Object { fields, .. }) = registry.types.get(type_name) else {
        return String::new();
    };
    let field = |(n, name): (usize, &String)| {
        let of = fields[name].ty.trim_matches(|c| "[]!".contains(c));
        let alias = if n % 3 == 1 { format!("a{n}: ") } else { String::new() };
        format!("{alias}{name} {}", everything(registry, of))
    };
    let all: Vec<_> = fields.keys().enumerate().map(field).collect();
    format!("{{ __typename {} }}", all.join(" "))
}

/// Variables of one order: what is right, and what is wrong or needs coercion.
fn variables() -> Vec<Value> {
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut input = input("ana", "edited");
        edit(&mut input);
        json!({ "input": input })
    };
    let mut all = vec![
        json!({ "input": input("ana", "k-1") }),
        json!({ "input": input("bob", "k-1") }),
        json!({ "input": input("overloaded", "k-1") }),
        json!({ "input": input("unknown", "k-1") }),
        json!({ "input": input("ana", "k-1"), "other": 1 }),
        json!({ "Input": input("ana", "k-1") }),
        json!({ "input": null }),
        json!({ "input": [input("ana", "k-1")] }),
        json!({ "input": ["k", "ana", ["n", "e@example.com"], "EUR", [], "pm", null] }),
        json!({ "input": "x" }),
        json!({ "input": {} }),
        json!({}),
        Value::Null,
        edited(&|i| i["idempotencyKey"] = Value::Null),
        edited(&|i| drop(i.as_object_mut().unwrap().remove("idempotencyKey"))),
        edited(&|i| i["idempotencyKey"] = json!(7)),
        edited(&|i| i["idempotencyKey"] = json!("")),
        edited(&|i| i["note"] = json!("a\nb")),
        edited(&|i| i["note"] = json!("")),
        edited(&|i| i["note"] = json!("\u{0}")),
        edited(&|i| i["note"] = json!(["a"])),
        edited(&|i| i["extra"] = json!(1)),
        edited(&|i| i["customerId"] = json!(5)),
        edited(&|i| i["customerId"] = json!(5.5)),
        edited(&|i| i["customerId"] = json!(u64::MAX)),
        edited(&|i| i["customerId"] = json!("")),
        edited(&|i| i["contact"] = json!(["Ana", "ana@example.com"])),
        edited(&|i| i["contact"] = Value::Null),
        edited(&|i| i["contact"]["phone"] = json!("1")),
        edited(&|i| i["contact"]["email"] = json!("no address")),
        edited(&|i| i["currency"] = json!("EURO")),
        edited(&|i| i["currency"] = json!(true)),
        edited(&|i| i["paymentMethod"] = json!("4242 4242 4242 4242")),
        edited(&|i| drop(i.as_object_mut().unwrap().remove("paymentMethod"))),
        edited(&|i| i["lines"] = json!([])),
        edited(&|i| i["lines"] = Value::Null),
        edited(&|i| i["lines"] = json!([null])),
        edited(&|i| i["lines"] = i["lines"][0].take()),
        edited(&|i| i["lines"] = json!([["a", "b", 1, 1]])),
        edited(&|i| i["lines"] = json!([i["lines"][0], i["lines"][0], i["lines"][0]])),
        edited(&|i| i["lines"] = Value::Array(vec![i["lines"][0].clone(); 5])),
        edited(&|i| i["lines"] = Value::Array(vec![i["lines"][0].clone(); 30])),
        edited(&|i| i["lines"][0]["extra"] = json!({})),
    ];
    for number in ["0", "-0", "1.0", "1e2", "2147483648", "9223372036854775808", "\"1\"", "true"] {
        let number: Value = serde_json::from_str(number).unwrap();
        all.push(edited(&|i| i["lines"][0]["quantity"] = number.clone()));
        all.push(edited(&|i| i["lines"][0]["unitPriceMinor"] = number.clone()));
    }
    all
}

#[test]
fn a_plan_answers_as_graphql_does_or_leaves_it_to_it() {
    let bench = Bench::new();
    let registry = schema::registry();
    let everything = everything(&registry, "PlaceOrderPayload");
    let documents = [
        one(SELECTED),
        one(&everything),
        "mutation Name($input: PlaceOrderInput!) { a: __typename \n b: placeOrder(input: $input) {
            o: order { id __typename } } c: __typename }"
            .to_owned(),
        "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) { ...f } }
         fragment f on PlaceOrderPayload { order { id } errors { code path } }"
            .to_owned(),
    ];
    let callers = [operator(), Some(Principal::Customer("ana".into())), None];
    let (mut planned, mut all) = (0, 0);
    for document in &documents {
        learn(&bench, document);
        for variables in variables() {
            for caller in &callers {
                planned += usize::from(bench.compare(&body(document, variables.clone()), caller));
                all += 1;
            }
        }
    }
    // What there is no plan for is in the lists on purpose.
    assert!(planned > all / 4 && planned < all / 2, "{planned} of {all}");
}

#[test]
fn a_plan_answers_for_many_orders_as_graphql_does() {
    let bench = Bench::new();
    let selected = everything(&schema::registry(), "PlaceOrderPayload");
    let inputs = |names: &[&str]| {
        let all = names.iter().map(|name| input(name, &format!("m-{name}")));
        json!({ "inputs": all.collect::<Vec<_>>() })
    };
    let mut wrong = inputs(&["ana", "ana", "bob"]);
    wrong["inputs"][1]["lines"] = json!([]);
    wrong["inputs"][2]["contact"]["email"] = json!("x");
    let mut short = inputs(&["a", "b", "c", "d", "e"]);
    for input in short["inputs"].as_array_mut().unwrap() {
        input["lines"] = json!([]);
    }
    let conflict = [input("ana", "twice"), input("ana", "twice"), {
        let mut other = input("ana", "twice");
        other["note"] = json!("another");
        other
    }];
    for document in [many(SELECTED), many(&selected)] {
        learn(&bench, &document);
        for (variables, has_plan) in [
            (inputs(&[]), true),
            (inputs(&["ana"]), true),
            (inputs(&["bob", "overloaded", "unknown", "ana"]), true),
            // More than the variables may have, and more than the batch takes.
            (inputs(&["a"; 5]), false),
            (short.clone(), true),
            (wrong.clone(), true),
            (json!({ "inputs": conflict.clone() }), true),
            (json!({ "inputs": input("ana", "single") }), false),
            (json!({ "inputs": [null] }), false),
            (json!({ "inputs": null }), false),
        ] {
            for caller in [operator(), Some(Principal::Customer("ana".into())), None] {
                let body = body(&document, variables.clone());
                assert_eq!(bench.compare(&body, &caller), has_plan, "{body}");
            }
        }
    }
}

#[test]
fn names_and_persisted_documents_lead_to_the_same_plan() {
    let bench = Bench::new();
    let document = "mutation Name($input: PlaceOrderInput!) { placeOrder(input: $input) {
        order { id } errors { code } } }";
    let variables = json!({ "input": input("ana", "k-names") });
    let mut body = body(document, variables.clone());
    assert_eq!(bench.by_plan(&body, &operator()), None, "nobody has sent it before");
    assert!(bench.compare(&body, &operator()));
    body["operationName"] = json!("Name");
    assert!(bench.compare(&body, &operator()));
    body["operationName"] = json!("Other");
    assert!(!bench.compare(&body, &operator()));
    let hash = hex::encode(crate::digest::digest(document));
    let persisted = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
    let by_hash = json!({ "extensions": persisted, "variables": variables });
    assert!(bench.compare(&by_hash, &operator()));
    assert!(bench.compare(&json!({ "documentId": hash, "variables": variables }), &operator()));
}

/// Text of JSON: keys with escapes or twice, and what else a tree can't have.
#[test]
fn unusual_json_goes_the_general_way() {
    let good = json!({ "input": input("ana", "k-text") }).to_string();
    let read = |text: &str| {
        let input: Option<PlaceOrderInput> = input::only(text, "input");
        input.is_some()
    };
    assert!(read(&good));
    assert!(read(&format!(" {} ", good.replace(':', " : "))));
    for (from, to) in [
        ("\"input\"", "\"\\u0069nput\""),
        ("\"currency\":\"EUR\"", "\"currency\":\"EUR\",\"currency\":\"EUR\""),
        ("\"currency\":\"EUR\"", "\"currency\":\"\\ud800\""),
        ("\"quantity\":2", "\"quantity\":-0"),
        ("\"quantity\":2", "\"quantity\":2.0"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(!read(&good.replacen(from, to, 1)), "{to}");
    }
}

/// A value of JSON of any kind, most often one that fits.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2..3i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~é\u{1F355}]{0,6}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["a", 1])),
        Just(json!({ "name": "Ana", "email": "ana@example.com" })),
        Just(json!({ "sku": "a", "name": "b", "quantity": 1, "unitPriceMinor": 1 })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_is_sent_is_answered_alike(
        edits in prop::collection::vec((0..14usize, any_value()), 0..3),
        is_keyed in prop::bool::weighted(0.9),
        is_many: bool,
        caller in 0..3usize,
    ) {
        static BENCH: std::sync::LazyLock<Bench> = std::sync::LazyLock::new(Bench::new);
        let mut input = input("ana", &format!("{edits:?}"));
        if !is_keyed {
            input["idempotencyKey"] = Value::Null;
        }
        for (at, value) in edits {
            let pointers = [
                "/customerId", "/contact", "/contact/name", "/contact/email", "/currency", "/lines",
                "/lines/0", "/lines/0/sku", "/lines/1/name", "/lines/0/quantity",
                "/lines/1/unitPriceMinor", "/paymentMethod", "/idempotencyKey", "",
            ];
            if let Some(place) = input.pointer_mut(pointers[at]) {
                *place = value;
            }
        }
        let (document, variables) = if is_many {
            (many(SELECTED), json!({ "inputs": [input] }))
        } else {
            (one(SELECTED), json!({ "input": input }))
        };
        learn(&BENCH, &document);
        let caller = [operator(), Some(Principal::Customer("ana".into())), None][caller].clone();
        BENCH.compare(&body(&document, variables), &caller);
    }
}
